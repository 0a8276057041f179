"""The job that keeps the tables small: no asset, so that materializing everything does not run it."""

from typing import Final

import dagster as dg

from assets_pkg.orchestration.metadata import records
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.maintenance import maintain
from assets_pkg.steps.workplace import Workplace

MAINTENANCE_JOB: Final = "maintenance"


def build_maintenance_job(settings: Settings, policy: Policy) -> dg.JobDefinition:
    """Upkeep of all tables, beside whatever else runs."""
    keep = policy.maintenance.keep_versions_hours

    # No resource: that is for runs of days, and would take their locks for all of the run.
    @dg.op(description=f"Removes what no version of the last {keep} hours needs, and compacts tables and their logs.")
    def maintain_tables(context: dg.OpExecutionContext) -> dg.Output[None]:
        done = maintain(Workplace(settings, policy, context.run.run_id))
        rows = [{"table": each.table, **each.numbers(), "problem": each.problem} for each in done.tables]
        metadata = {
            **done.total,
            "MiB freed": round(done.freed / 2**20, 3),
            **{f"{name} removed": number for name, number in done.others.items()},
            "tables": records(rows, ["table", *done.total, "problem"]),
        }
        if done.problems:
            raise dg.Failure("Not everything could be maintained:\n" + "\n".join(done.problems), metadata)
        return dg.Output(None, metadata=metadata)

    @dg.job(
        name=MAINTENANCE_JOB,
        description="Upkeep of all tables: what is old or was left by killed runs goes; files and logs are compacted.",
    )
    def maintenance() -> None:
        maintain_tables()

    return maintenance
