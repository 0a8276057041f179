"""Sensors: what makes runs start by itself besides the clock."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.settings import Settings
from assets_pkg.storage.ledger import Ledger, is_there

PENDING_DAYS = "pending_days"


def build_pending_days(job: UnresolvedAssetJobDefinition, settings: Settings) -> dg.SensorDefinition:
    """Runs the job for days whose files must be judged again: another file brought, or gave up, their content."""

    @dg.sensor(
        name=PENDING_DAYS,
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs days again that the ledger names: content of their files came or went under another path.",
    )
    def pending_days() -> Iterator[dg.RunRequest | dg.SkipReason]:
        if not is_there(settings.ledger):
            yield dg.SkipReason("There is no ledger yet.")
            return
        pending = Ledger(settings.ledger, settings.ledger_wait_seconds).pending_days()
        for day, since in pending.items():
            # The same key is started once: a day whose run fails is not run over and over, but shown as failed.
            yield dg.RunRequest(run_key=f"{day} since {since.isoformat()}", partition_key=str(day))
        if not pending:
            yield dg.SkipReason("No day is pending.")

    return pending_days
