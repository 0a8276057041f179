"""Telling people what is wrong: new alerts, runs that failed, and what has recovered, each once.

What is open is a state: what the tables hold, and how the last run of each asset and day ended. What each notifier
knows is in the ledger's database. The difference is news, whoever looks and however often. One process at a time looks,
sends and notes, so that each notifier is told exactly once, unless the process dies, or the notifier's answer is lost,
between sending and noting: then at least once. What is over before it could be told is not told at all.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from operator import itemgetter
from textwrap import shorten
from typing import Final

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG

from assets_pkg.contracts.tables import ACTIVITY_TABLES, EVENT_DATE, INGEST_TABLES
from assets_pkg.orchestration.bad_days import FAILED_DAYS
from assets_pkg.orchestration.maintenance import MAINTENANCE_JOB
from assets_pkg.orchestration.partitions import days_of_run
from assets_pkg.orchestration.workplace import ACTIVITY_JOB, axis_of
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.settings import Settings
from assets_pkg.steps.notices import alerts_state, newest_ingest_date, open_alerts
from assets_pkg.steps.provenance import digest_of
from assets_pkg.steps.reports import DAY_REPORT, VALIDATION_REPORT
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.ledger import is_there
from assets_pkg.storage.locks import NEWS, NEWS_DAY, day_locks
from assets_pkg.storage.notices import Notices
from assets_pkg.storage.notifiers import Notifier, notifiers_of, send_all
from assets_pkg.transforms.notices import HIGH, NO_AXIS, NO_DAY, RECENT, RUN, News, Problem, message, news_of

NOTIFICATIONS: Final = "notifications"
_TICK_SECONDS: Final = 60
_RETRY_SECONDS: Final = 600
_LONGEST_REASON: Final = 200
# All assets of an axis: what a run that selects none of them is about. A run of no days is about its job.
_ASSETS: Final[Mapping[str, Collection[str]]] = {
    INGEST_DATE: {*INGEST_TABLES, VALIDATION_REPORT, DAY_REPORT},
    EVENT_DATE: {*ACTIVITY_TABLES},
    NO_AXIS: {MAINTENANCE_JOB},
}
_ENDED: Final = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass
class Told:
    """What became of a round: by notifier what it was told, and why others could not be told."""

    said: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    busy: bool = False
    waiting: bool = False
    """Whether a notifier, or a run that Dagster retries, is waited for."""

    @property
    def is_all(self) -> bool:
        """Whether nobody is left to be told of anything."""
        return not (self.failed or self.busy or self.waiting)

    def sentences(self) -> Iterator[str]:
        """The round in words."""
        if self.busy:
            yield "Another process is telling news; what it does not know yet is told next time."
        if self.waiting:
            yield "Some news waits, for a notifier that failed or for a run that is retried."
        yield from (f"Told {name}: {title}." for name, title in self.said.items())
        yield from (f"Could not tell {name}: {why}." for name, why in self.failed.items())


def is_configured(settings: Settings) -> bool:
    """Whether there is anybody to be told."""
    return bool(settings.notify_urls.get_secret_value().strip())


def tell_news(work: Workplace, instance: dg.DagsterInstance, wait_seconds: float = 0) -> Told:
    """Tell every notifier what it does not know yet, in one message each.

    `wait_seconds`: how long to wait for another process that does the same. Raises LedgerError, LakeError,
    LocksUnreachableError; what notifiers do wrong is only told.
    """
    locks = day_locks(work.settings.ledger, work.settings.lock_dir, NOTIFICATIONS, NEWS)
    try:
        if not locks.take(NEWS_DAY, wait_seconds):
            return Told(busy=True)
        return _told(work, instance)
    finally:
        locks.close()


def _told(work: Workplace, instance: dg.DagsterInstance) -> Told:
    notices = Notices(work.ledger)
    known = notices.open()
    problems = list({notice.problem.key: notice.problem for of_one in known.values() for notice in of_one}.values())
    failures = _failures(instance, problems)
    there = [*open_alerts(work, problems), *failures.problems]
    told = Told(waiting=failures.waiting)
    if not there and not problems:
        return told
    newest, now = newest_ingest_date(work), datetime.now(UTC).timestamp()
    paused = {name for name, again in notices.failures().items() if again > now}
    due: list[tuple[Notifier, News]] = []
    for notifier in notifiers_of(work.settings.notify_urls):
        news = news_of(there, known.get(notifier.name, ()), work.settings.notify_severities, newest)
        if news.withdrawn or news.new:
            notices.enter(notifier.name, news)
        if news and notifier.name in paused:
            told.waiting = True
        elif news:
            due.append((notifier, news))
    messages = [message(news) for _, news in due]
    answers = send_all([notifier for notifier, _ in due], messages)
    for (notifier, news), said, fault in zip(due, messages, answers, strict=True):
        if fault is None:
            notices.told(notifier.name, news)
            told.said[notifier.name] = said.title
        else:
            again = datetime.fromtimestamp(notices.failed(notifier.name), UTC)
            told.failed[notifier.name] = f"{fault}; tried again after {again:%H:%M:%S} UTC"
    return told


# -- failed runs ----------------------------------------------------------------------------------------------


def failed_runs(instance: dg.DagsterInstance) -> list[Problem]:
    """The days with an asset whose last run failed, of late; and upkeep, where it failed last."""
    return _failures(instance, ()).problems


_Cell = tuple[str, date]  # asset, day


@dataclass(frozen=True)
class _Outcome:
    """How a run ended, or a backfill that never came to its runs, and for what. `run`: of which `text` says little."""

    at: float
    succeeded: bool
    cells: Collection[_Cell]
    text: str
    run: str | None = None


@dataclass(frozen=True)
class _Failures:
    problems: list[Problem]
    waiting: bool


def _failures(instance: dg.DagsterInstance, known: Iterable[Problem]) -> _Failures:
    """The days with an asset whose last run failed, of late; and those `known` as such that no run repaired since.

    A run that Dagster retries counts by its retry, unless that does not begin: there may be no daemon.
    """
    now = datetime.now(UTC)
    runs = instance.get_run_records(dg.RunsFilter(statuses=_ENDED, updated_after=now - RECENT))
    waiting = {
        each.dagster_run.run_id
        for each in runs
        if each.dagster_run.is_complete_and_waiting_to_retry and now.timestamp() - _ended(each) < _RETRY_SECONDS
    }
    ended = (each for each in runs if each.dagster_run.run_id not in waiting and not _is_retried(each))
    outcomes = [outcome for each in ended for outcome in _of_run(each)]
    outcomes += [_of_backfill(each) for each in _failed_backfills(instance)]
    failing: dict[_Cell, tuple[float, str, str | None]] = {}
    in_view = {(_axis(asset), day) for each in outcomes if not each.succeeded for asset, day in each.cells}
    for each in known:
        if each.kind == RUN and (each.axis, each.day) not in in_view:
            failing |= {(asset, each.day): (0.0, each.text, None) for asset in _ASSETS[each.axis]}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.at):
        for cell in outcome.cells:
            if outcome.succeeded:
                failing.pop(cell, None)
            else:
                failing[cell] = (outcome.at, outcome.text, outcome.run)
    last: dict[tuple[str, date], tuple[float, str, str | None]] = {}
    for (asset, day), failure in failing.items():
        last[_axis(asset), day] = max(failure, last.get((_axis(asset), day), failure), key=itemgetter(0))
    why = {run: _why(instance, run) for run in {run for _, _, run in last.values() if run}}
    problems = [
        Problem(f"{RUN}/{axis}/{day}", RUN, HIGH, axis, day, text + (why[run] if run else ""))
        for (axis, day), (_, text, run) in last.items()
    ]
    return _Failures(problems, bool(waiting))


def _why(instance: dg.DagsterInstance, run: str) -> str:
    """The step of a run that failed first, and what it said; or what ended the run."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        found = instance.get_records_for_run(run, of_type=kind, limit=1).records
        event = found[0].event_log_entry.dagster_event if found else None
        if event is None:
            continue
        if not isinstance(event.event_specific_data, StepFailureData):
            return f": {event.message}" if event.message else ""
        error = event.event_specific_data.error
        error = (error and error.cause) or error  # the step's own, within Dagster's
        said = error.message.strip() if error else ""
        if error and error.cls_name and error.cls_name in said.partition(":")[0]:
            said = said.partition(": ")[2]
        return f" in {event.step_key}: {shorten(said, _LONGEST_REASON, placeholder=' …') or 'it said nothing'}"
    return ""


def _runs_state(instance: dg.DagsterInstance) -> list[str]:
    """What changes whenever a run ended or a backfill failed."""
    ended = dg.RunsFilter(statuses=_ENDED)
    newest = instance.get_run_records(ended, limit=1, order_by="update_timestamp")
    last = [f"{each.dagster_run.run_id} {each.update_timestamp}" for each in newest]
    # The one that is written last need not be the one that ended last.
    return [str(instance.get_runs_count(ended)), *last, *(each.backfill_id for each in _failed_backfills(instance))]


def _failed_backfills(instance: dg.DagsterInstance) -> Sequence[PartitionBackfill]:
    """Those that failed by themselves. Where runs failed, these are told."""
    since = datetime.now(UTC) - RECENT
    return instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.FAILED], created_after=since))


def _of_run(record: RunRecord) -> list[_Outcome]:
    """One, or two for a run whose days failed in part."""
    run = record.dagster_run
    if run.asset_selection:
        assets = {key.to_user_string() for key in run.asset_selection}
    else:  # all of a job, or checks alone, which are somebody's look at a day and not its processing
        assets = set() if run.asset_check_selection else set(_ASSETS[axis_of(run)])
    if run.job_name == MAINTENANCE_JOB:
        succeeded = run.status == dg.DagsterRunStatus.SUCCESS
        return [
            _Outcome(
                _ended(record), succeeded, {(MAINTENANCE_JOB, NO_DAY)}, _failed_text(run, run.job_name), run.run_id
            )
        ]
    name = "materialization" if is_reserved_asset_job_name(run.job_name) else run.job_name
    days = set(days_of_run(dict(run.tags)))
    failed = set() if run.status == dg.DagsterRunStatus.SUCCESS else days
    if told := run.tags.get(FAILED_DAYS):
        failed = days & {date.fromisoformat(day) for day in told.split(",")}

    def outcome(days: set[date], *, succeeded: bool) -> _Outcome:
        cells = {(asset, day) for asset in assets for day in days}
        return _Outcome(_ended(record), succeeded, cells, _failed_text(run, name), run.run_id)

    return [outcome(failed, succeeded=False), outcome(days - failed, succeeded=True)]


def _failed_text(run: dg.DagsterRun, name: str) -> str:
    return f"{name} failed (run {run.run_id[:8]})"


def _of_backfill(backfill: PartitionBackfill) -> _Outcome:
    if data := backfill.asset_backfill_data:
        target = data.target_subset.iterate_asset_partitions()
        cells = {
            (each.asset_key.to_user_string(), date.fromisoformat(each.partition_key))
            for each in target
            if each.partition_key
        }
    else:  # of a job
        axis = EVENT_DATE if backfill.job_name == ACTIVITY_JOB else INGEST_DATE
        days = map(date.fromisoformat, backfill.partition_names or ())
        cells = {(asset, day) for day in days for asset in _ASSETS[axis]}
    at = backfill.backfill_end_timestamp or backfill.backfill_timestamp
    return _Outcome(at, False, cells, f"backfill {backfill.backfill_id} failed")


def _ended(record: RunRecord) -> float:
    """When a run ended, in seconds of the epoch."""
    return record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp()


def _is_retried(record: RunRecord) -> bool:
    return AUTO_RETRY_RUN_ID_TAG in record.dagster_run.tags


def _axis(asset: str) -> str:
    if asset == MAINTENANCE_JOB:
        return NO_AXIS
    return EVENT_DATE if asset in ACTIVITY_TABLES else INGEST_DATE


# -- the sensor -----------------------------------------------------------------------------------------------


def build_notifications(settings: Settings, policy: Policy) -> dg.SensorDefinition:
    """Tells news every minute, if there is anybody to be told and anything has changed."""
    work = Workplace(settings, policy)
    process = uuid.uuid4().hex  # notifiers may be others in the next one

    @dg.sensor(
        name=NOTIFICATIONS,
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells new alerts, failed runs and what has recovered to the notifiers of PIPELINE_NOTIFY_URLS.",
    )
    def notifications(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not is_configured(settings):
            return dg.SkipReason("PIPELINE_NOTIFY_URLS names nobody to be told.")
        if not is_there(settings.ledger):
            return dg.SkipReason("There is no ledger yet: nothing was run.")
        state = digest_of([process, *alerts_state(work), *_runs_state(context.instance)])
        if context.cursor == state:
            return dg.SkipReason("Nothing has changed since all was told.")
        told = tell_news(replace(work), context.instance)  # with the ledger opened anew: it may be another one
        for name, why in told.failed.items():
            context.log.warning(f"Could not tell {name}: {why}.")
        words = " ".join(told.sentences()) or "Nothing is new."
        return dg.SensorResult(skip_reason=words, cursor=state if told.is_all else "")

    return notifications
