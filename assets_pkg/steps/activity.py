"""What customers did, by event date: events gathered from the days they landed on, sessions, metrics, alerts.

A partition of an event date is a function of named partitions: `events_by_date[dt]` of the clean events of ingest
dates dt-1 … dt+late window, sessions of the runs of dt-1, dt and dt+1, alerts of the metrics of the days before.
Each carries a digest of the versions it was built from, so what is out of date is told by the tables' logs alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    EVENT_DATE,
    EVENTS_BY_DATE,
    RESTATEMENTS,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
    USER_DAILY,
    Table,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.landed import ACTIVITY_POLICY, LandedEvents, clean_rows, gathered_from, is_processed
from assets_pkg.steps.provenance import inputs_named, inputs_of, is_current, replacing
from assets_pkg.steps.restatements import History, readable
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError
from assets_pkg.transforms import sessions as transform
from assets_pkg.transforms.activity import activity_metrics, restated
from assets_pkg.transforms.alerts import Judgement, alerts_frame, fired_alerts, judge_activity
from assets_pkg.transforms.windows import BESIDE, changed_by, compared, landing

# -- what depends on what -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stage:
    """A step by event date: what it writes, what that is made from, and how.

    `needs`: the table without whose partition of the date there is nothing to do, if there is one.
    """

    tables: tuple[Table, ...]
    inputs: Callable[[Workplace, date], str]
    build: Callable[[Workplace, date], Any]
    needs: Table | None = None

    @property
    def names(self) -> list[str]:
        """The names of the tables."""
        return [table.name for table in self.tables]

    def stale(self, work: Workplace, event_dates: Iterable[date], *, by_any_code: bool = True) -> dict[date, str]:
        """Those event dates whose partitions are not built from what lies there now; with what that is.

        `by_any_code`: what older code built from it will do too.
        """
        found = {}
        for each in event_dates:
            inputs = self.inputs(work, each)
            built = is_current(work, self.names, each, inputs, by_any_code=by_any_code)
            if not built and self.exists(work, each):
                found[each] = inputs
        return found

    def exists(self, work: Workplace, event_date: date) -> bool:
        """Whether the date is any of the stage's: before an event of it came, or its own files, it is not."""
        if self.needs is not None:
            return work.lake.version(self.needs.name, event_date) is not None
        return (
            work.lake.version(self.tables[0].name, event_date) is not None
            or is_processed(work, event_date)
            or self._has_events(work, event_date)
        )

    def _has_events(self, work: Workplace, event_date: date) -> bool:
        try:
            return any(clean_rows(work, day, event_date) for day in landing(work.policy).of(event_date))
        except LakeError:  # nobody can tell: whoever makes it will say why it cannot be, and other dates go on
            return True

    def all_stale(self, work: Workplace) -> dict[date, str]:
        """As `stale`, of all event dates that there can be, or are: events may have left the window of the policy."""
        made = work.lake.partitions((self.needs or self.tables[0]).name).keys()
        if self.needs is not None:
            return self.stale(work, made)
        landed = work.lake.partitions(EVENTS.clean_table)
        return self.stale(work, sorted(made | landing(work.policy).reached(landed)))


def ingest_dates_of(work: Workplace, event_date: date) -> dict[date, int]:
    """How many of an event date's events landed on which day."""
    rows = work.lake.scan(EVENTS_BY_DATE.name, [event_date]).group_by(INGEST_DATE).len().sort(INGEST_DATE)
    return dict(rows.collect(engine="streaming").iter_rows())


def _joined_from(work: Workplace, event_date: date) -> str:
    sources = {EVENTS_BY_DATE.name: [event_date], SESSION_RUNS.name: BESIDE.of(event_date)}
    return inputs_of(work, ACTIVITY_POLICY, sources)


def _measured_from(work: Workplace, event_date: date) -> str:
    # Also what the events were gathered from: restatements tell which clean events made a difference, so those that
    # made none must have been seen.
    gathered = (work.lake.partition(EVENTS_BY_DATE.name, day) for day in BESIDE.of(event_date))
    origins = [inputs_named(partition.built_from) for partition in gathered if partition]
    own = [event_date]
    sources = {SESSION_RUNS.name: own, SESSIONS.name: own}
    return inputs_of(work, ACTIVITY_POLICY, sources, str(is_processed(work, event_date)), *origins)


def _judged_from(work: Workplace, event_date: date) -> str:
    return inputs_of(work, ("alerts",), {ACTIVITY_METRICS.name: compared(work.policy).of(event_date)})


# -- steps ----------------------------------------------------------------------------------------------


def gather_events(work: Workplace, event_date: date) -> int:
    """Replace events_by_date and session_runs of an event date, unless up to date; gives its number of events."""
    lake = work.lake
    inputs = gathered_from(work, event_date)
    if is_current(work, GATHER.names, event_date, inputs):
        return lake.rows(EVENTS_BY_DATE.name, event_date)
    sources = LandedEvents(work, event_date)
    narrow = transform.Narrow()
    events = [piece for day in sources.days for piece in sources.rows(day, narrow.columns())]
    found = transform.day_runs(events, event_date, work.policy)
    del events
    replaced = replacing(work, event_date, inputs)
    with replaced(EVENTS_BY_DATE.name) as by_date, replaced(SESSION_RUNS.name) as runs:
        runs.write(found.runs)
        at = 0
        for day in sources.days:
            for rows in sources.rows(day):
                run = found.of_event.slice(at, rows.height).cast(pl.Int64).alias("run")
                at += rows.height
                by_date.write(
                    rows.with_columns(run, pl.lit(day).alias(INGEST_DATE)).select(list(EVENTS_BY_DATE.schema))
                )
    return at


def build_sessions(work: Workplace, event_date: date) -> int:
    """Replace session_events, sessions and user_daily of an event date, unless up to date; gives its sessions."""
    lake = work.lake
    inputs = _joined_from(work, event_date)
    if is_current(work, JOIN.names, event_date, inputs):
        return lake.rows(SESSIONS.name, event_date)
    before, own, after = (lake.scan(SESSION_RUNS.name, [day]).drop(EVENT_DATE) for day in BESIDE.of(event_date))
    runs = own.collect()
    starts = transform.session_starts(runs, before, event_date, work.policy)
    made = transform.sessions(runs, starts, after, event_date, work.policy)
    ids = runs.with_columns(started=starts).select(transform.session_ids(pl.col("started"))).to_series()
    replaced = replacing(work, event_date, inputs)
    with (
        replaced(SESSION_EVENTS.name) as events,
        replaced(SESSIONS.name) as sessions,
        replaced(USER_DAILY.name) as users,
    ):
        sessions.write(made)
        users.write(transform.user_daily(runs))
        for lazy in lake.slices(EVENTS_BY_DATE.name, event_date):
            rows = lazy.collect(engine="in-memory")
            events.write(rows.with_columns(ids.gather(rows["run"])).select(list(SESSION_EVENTS.schema)))
    return made.height


@dataclass(frozen=True)
class Measured:
    """What a refresh of an event date's numbers did: the rows it added to restatements.

    `history_lost`: those of refreshes before could not be read, and are gone.
    """

    restated: pl.DataFrame
    history_lost: bool = False


def measure_activity(work: Workplace, event_date: date) -> Measured:
    """Replace activity_metrics and restatements of an event date, unless up to date; gives what was restated.

    A date that lost all its events, and on which no files were processed, has none: it is as if it had never been.
    What changed is written first; should the metrics not follow, as the process died, it is withdrawn the next time.
    """
    lake = work.lake
    inputs = _measured_from(work, event_date)
    if is_current(work, MEASURE.names, event_date, inputs):
        return Measured(pl.DataFrame(schema=RESTATEMENTS.schema))
    known = readable(work, ACTIVITY_METRICS, event_date)
    runs, sessions = (lake.scan(table.name, [event_date]) for table in (SESSION_RUNS, SESSIONS))
    rows, processed = activity_metrics(runs, sessions), is_processed(work, event_date)
    if not lake.rows(SESSION_RUNS.name, event_date) and not processed:
        rows = rows.clear()
    history = History.of(work, event_date)
    replaced = replacing(work, event_date, inputs)
    with replaced(ACTIVITY_METRICS.name) as writer:
        # A part of what it is: alerts of the date follow, as one is judged only once its own files have come.
        writer.describe(lambda: {"processed": str(processed)})
        writer.write(rows)
        version = writer.complete()
        if known is None:  # what they were cannot be read; only whether they are other ones
            known = rows if version == history.metrics else rows.clear()
        changed = history.add(work, restated(known, rows), version)
        with replaced(RESTATEMENTS.name) as told:
            told.describe(history.facts)
            told.write(history.rows)
    return Measured(changed, history.lost)


def last_measured(work: Workplace, event_date: date) -> Measured:
    """What the last refresh that changed the date's numbers did."""
    rows = work.lake.scan(RESTATEMENTS.name, [event_date]).drop(EVENT_DATE).collect()
    return Measured(rows.filter(pl.col("revision") == pl.col("revision").max()))


def judge_event_date(work: Workplace, event_date: date) -> list[Judgement]:
    """Every activity rule's verdict on an event date, from its metrics and those of the days before."""
    *before, own = compared(work.policy).of(event_date)
    history, metrics = (work.lake.scan(ACTIVITY_METRICS.name, days).collect() for days in (before, [own]))
    return judge_activity(metrics, history, work.policy)


def raise_activity_alerts(work: Workplace, event_date: date) -> list[dict[str, Any]]:
    """Replace activity_alerts of an event date; gives the alerts."""
    inputs = _judged_from(work, event_date)
    alerts = fired_alerts(judge_event_date(work, event_date))
    with replacing(work, event_date, inputs)(ACTIVITY_ALERTS.name) as writer:
        writer.write(alerts_frame(alerts))
    return alerts


# -- all of it ------------------------------------------------------------------------------------------

GATHER: Final = Stage((EVENTS_BY_DATE, SESSION_RUNS), gathered_from, gather_events)
JOIN: Final = Stage((SESSION_EVENTS, SESSIONS, USER_DAILY), _joined_from, build_sessions, SESSION_RUNS)
MEASURE: Final = Stage((ACTIVITY_METRICS, RESTATEMENTS), _measured_from, measure_activity, SESSIONS)
JUDGE: Final = Stage((ACTIVITY_ALERTS,), _judged_from, raise_activity_alerts, ACTIVITY_METRICS)
STAGES: Final = (GATHER, JOIN, MEASURE, JUDGE)


def reach(work: Workplace, ingest_dates: Iterable[date]) -> dict[Stage, list[date]]:
    """The event dates of each stage that ingest dates can change, and those that are to be refreshed anyhow.

    Tables that are made from each other must be made under one policy: after a change of it, no date can stay behind.
    """
    gathered = landing(work.policy).reached(ingest_dates)
    joined = BESIDE.reached(gathered)
    touched = {GATHER: gathered, JOIN: joined, MEASURE: joined, JUDGE: compared(work.policy).reached(joined)}
    now = work.as_now()
    behind = {day for stage, dates in touched.items() for day in stage.all_stale(now).keys() - dates}
    others = changed_by(work.policy, behind)
    return {stage: sorted(dates | others) for stage, dates in touched.items()}


def refresh(work: Workplace, ingest_dates: Iterable[date]) -> list[date]:
    """Bring every event date up to date that the ingest dates touch, or that is not; gives those that were built."""
    built: set[date] = set()
    for stage, event_dates in reach(work, ingest_dates).items():
        stale = stage.stale(work, event_dates)
        for each in stale:
            stage.build(work, each)
        built |= stale.keys()
    return sorted(built)
