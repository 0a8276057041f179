"""The state of all partitions on one page: which failed, are missing, lost or stale, and what mends each."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from assets_pkg.contracts.tables import EVENT_DATE, TABLES
from assets_pkg.orchestration.automation import REFRESH
from assets_pkg.orchestration.maintenance import MAINTENANCE_JOB
from assets_pkg.orchestration.metadata import records
from assets_pkg.orchestration.notifications import failed_runs
from assets_pkg.orchestration.partitions import no_partitions, run_command, span_name, spans_of
from assets_pkg.orchestration.verdicts import failing_days
from assets_pkg.orchestration.workplace import ACTIVITY_JOB, DAILY_JOB, WORKPLACE, workplace_of
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.arrivals import days_there, still_coming
from assets_pkg.steps.health import ailing_partitions
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.notices import NO_AXIS, NO_DAY

PARTITION_HEALTH: Final = "partition_health"
HEALTH_COLUMNS: Final = ("asset", "state", "days", "why", "mended by", "in the web UI")
_FAILED: Final = "failed"


def unhealthy(
    work: Workplace, instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckSpec]
) -> list[dict[str, str]]:
    """A row (HEALTH_COLUMNS) for each asset, state and reason, with its days. Raises LedgerError, LakeError.

    `checks`: of those that are blocking, the days count that they failed last.
    """
    found: dict[tuple[str, str, str, str], list[date]] = defaultdict(list)
    for problem in failed_runs(instance):
        whose = MAINTENANCE_JOB if problem.axis == NO_AXIS else f"all by {problem.axis}"
        found[whose, problem.axis, _FAILED, problem.text].append(problem.day)
    for check in checks:
        if check.blocking:
            asset = check.asset_key.to_user_string()
            why = f"check {check.name} stops what follows: Catalog → {asset} → Checks"
            found[asset, TABLES[asset].partition_by, _FAILED, why] += failing_days(instance, check.key)
    for each in ailing_partitions(work, datetime.now(UTC)):
        axis = TABLES[each.asset].partition_by if each.asset in TABLES else INGEST_DATE
        found[each.asset, axis, each.state, each.why].append(each.day)
    return [
        dict(zip(HEALTH_COLUMNS, (asset, state, _spans(days), why, *_mended(asset, axis, days)), strict=True))
        for (asset, axis, state, why), days in found.items()
        if days
    ]


def not_run_yet(work: Workplace) -> list[str]:
    """Sentences on days that have raw files and are not run, for nothing is wrong with them. Raises LedgerError."""
    now = datetime.now(UTC)
    waiting = [f"{day} is not run yet: {why}." for day, why in still_coming(work, now).items()]
    return waiting + no_partitions(work.settings, days_there(work, now.date())[1])


def _mended(asset: str, axis: str, days: list[date]) -> tuple[str, str]:
    """The command, and the place in the web UI."""
    if axis == NO_AXIS:
        return "python -m assets_pkg maintain", f"Jobs → {asset} → Launchpad"
    # The whole job: an asset that is made alone leaves those made from it as they were.
    job = ACTIVITY_JOB if axis == EVENT_DATE else DAILY_JOB
    place = f"Jobs → {job} → Materialize all, dates {_spans(days)}"
    if axis == EVENT_DATE:
        return f"the sensor {REFRESH}, by itself", place
    return "; ".join(run_command(first, last) for first, last in spans_of(days)), place


def _spans(days: list[date]) -> str:
    return ", ".join(span_name(first, last) for first, last in spans_of(days) if first > NO_DAY)


def build_health(
    checks: Iterable[dg.AssetCheckSpec], owners: Iterable[str]
) -> tuple[dg.AssetSpec, dg.AssetChecksDefinition]:
    """What stands for all partitions together, which nobody materializes, and the check that looks at them.

    `checks`: all others.
    """
    others = list(checks)
    spec = dg.AssetSpec(
        PARTITION_HEALTH,
        group_name="health",
        description="All partitions of all assets.",
        kinds={"deltalake"},
        owners=list(owners),
    )

    @dg.asset_check(
        name="all_up_to_date",
        asset=PARTITION_HEALTH,
        description="No partition failed, is missing, lost or stale, and no blocking check has failed.",
        required_resource_keys={WORKPLACE},
    )
    def all_up_to_date(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        rows = unhealthy(workplace_of(context), context.instance, others)
        return dg.AssetCheckResult(
            passed=not rows,
            severity=dg.AssetCheckSeverity.WARN,
            description=_sentence(rows),
            metadata={
                "partitions": records(rows, HEALTH_COLUMNS),
                "not run yet": " ".join(not_run_yet(workplace_of(context))) or "none",
            },
        )

    return spec, all_up_to_date


def _sentence(rows: list[dict[str, str]]) -> str:
    if not rows:
        return "Every partition is there and up to date."
    first = rows[0]
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    days = f" ({first['days']})" if first["days"] else ""
    return f"{first['asset']} is {first['state']}{days}{more}: the table says what mends each."
