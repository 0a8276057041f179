"""Sensors: what makes runs start by itself besides the clock."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.contracts.files import PENDING
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
        description="Runs days again whose files are PENDING in the ledger: content came or went under another path.",
    )
    def pending_days() -> Iterator[dg.RunRequest | dg.SkipReason]:
        if not is_there(settings.ledger):
            yield dg.SkipReason("There is no ledger yet.")
            return
        entries = Ledger(settings.ledger, settings.ledger_wait_seconds).entries(status=PENDING)
        of_day: dict[date, list[str]] = defaultdict(list)
        for entry in entries:
            of_day[entry["ingest_date"]].append(f"{entry['path']} {entry['attempts']}")
        for day, files in of_day.items():
            # A run that fails is not started over and over: the key changes when a file was taken up again.
            digest = hashlib.blake2b("\n".join(files).encode(), digest_size=8).hexdigest()
            yield dg.RunRequest(run_key=f"{day} {digest}", partition_key=str(day))
        if not entries:
            yield dg.SkipReason("No file is PENDING.")

    return pending_days
