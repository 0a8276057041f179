"""Sensors: what makes runs start by itself besides the clock."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.orchestration.partitions import no_partitions, runs_of
from assets_pkg.orchestration.workplace import days_at_work
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.arrivals import Arrivals, arrivals, days_there
from assets_pkg.steps.provenance import digest_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.ledger import Ledger, is_there
from assets_pkg.storage.raw_files import files_of_day
from assets_pkg.storage.records import UnreadableFileError

PENDING_DAYS = "pending_days"
RAW_FILES = "raw_files"


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


def build_raw_files(job: UnresolvedAssetJobDefinition, settings: Settings, policy: Policy) -> dg.SensorDefinition:
    """Runs the job for exactly the days whose raw files are new or hold other bytes, once they are complete.

    Its cursor has what the folder of each day that is done with looks like: only others are looked at.
    """

    @dg.sensor(
        name=RAW_FILES,
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.automatic else dg.DefaultSensorStatus.STOPPED,
        description="Runs days whose raw files are new or changed, when all feeds are there or past their deadline.",
    )
    def raw_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        work, now = Workplace(settings, policy, frozen=True), datetime.now(UTC)
        if not work.raw_root.is_dir():
            return dg.SensorResult(skip_reason=f"There is no raw folder {work.raw_root}.")
        before: dict[str, str] = json.loads(context.cursor or "{}")
        done, due, waiting = {}, list[Arrivals](), []
        at_work = days_at_work(context.instance)
        days, others = days_there(work, now.date())
        for day in days:
            looks = _looks(work, day)
            if before.get(str(day)) == looks:
                done[str(day)] = looks
            elif day in at_work:
                waiting.append(f"{day} is being processed")
            else:
                found = arrivals(work, day, now)
                why = found.waits_for(policy, now)
                if why is None:
                    due.append(found)
                elif found.awaits_something:
                    waiting.append(f"{day}: {why}")
                    continue
                done[str(day)] = looks
        return dg.SensorResult(
            run_requests=list(_requests(due)),
            cursor=json.dumps(done),
            skip_reason=None
            if due
            else " ".join([f"{'; '.join(waiting) or 'No file is new'}.", *no_partitions(settings, others)]),
        )

    return raw_files


def _looks(work: Workplace, day: date) -> str:
    """A digest of the folder entries of a day's raw files; none are read."""

    def stamp(path: str) -> str:
        try:
            return f"{files[path].changed_at()} {files[path].stamp()}"  # the stamp of a young entry is empty
        except UnreadableFileError as error:
            return str(error)

    files = files_of_day(work.raw_root, day)
    return digest_of(f"{path} {stamp(path)}" for path in sorted(files))


def _requests(due: list[Arrivals]) -> Iterator[dg.RunRequest]:
    """A run for each stretch of days. The same content is requested once, whatever becomes of the run."""
    versions = {found.day: found.version for found in due}
    for run in runs_of(versions):
        key = f"{run.name} {digest_of(versions[day] for day in run.days)}"
        yield dg.RunRequest(run_key=key, partition_key=run.key, tags=run.tags)
