"""What customers did, by event date: events gathered from the days they landed on, sessions, metrics, alerts.

A partition of an event date is a function of named partitions: `events_by_date[dt]` of the clean events of ingest
dates dt-1 … dt+late window, sessions of the runs of dt-1, dt and dt+1, alerts of the metrics of the days before.
Each carries a digest of the versions it was built from, so what is out of date is told by the tables' logs alone.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import EVENTS, MICROS
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
from assets_pkg.steps.provenance import built_from, inputs_named, inputs_of, is_built_from, is_current
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms import sessions as transform
from assets_pkg.transforms.activity import Sources, activity_metrics, causes, restated
from assets_pkg.transforms.alerts import Judgement, alerts_frame, fired_alerts, judge_activity
from assets_pkg.transforms.metrics import Profile
from assets_pkg.transforms.split import DATE

_ID_SEED = 23
_POLICY = ("activity",)  # the section that decides what counts for a date and what a session is
_TOLD = "told"
_UNREADABLE = (OSError, pl.exceptions.ComputeError)


# -- what depends on what -------------------------------------------------------------------------------


def ingest_window(work: Workplace, event_date: date) -> list[date]:
    """The ingest dates whose clean events count for an event date (§4): as early as clocks may be wrong, to late."""
    return around(event_date, -work.policy.values.early_days, work.policy.activity.late_window_days)


def event_window(work: Workplace, ingest_date: date) -> list[date]:
    """The event dates whose events an ingest date is part of."""
    return around(ingest_date, -work.policy.activity.late_window_days, work.policy.values.early_days)


def neighbours(event_date: date) -> list[date]:
    """The event dates whose runs decide the sessions of an event date."""
    return around(event_date, -1, 1)


def alert_window(work: Workplace, event_date: date) -> list[date]:
    """The event dates whose metrics decide the alerts of an event date."""
    return around(event_date, -work.policy.alerts.history_days, 0)


def around(day: date, first: int, last: int) -> list[date]:
    """The days from `first` to `last` days after `day`."""
    return [day + timedelta(days=shift) for shift in range(first, last + 1)]


@dataclass(frozen=True, eq=False)
class Stage:
    """A step by event date: what it writes, what that is made from, and how.

    `needs`: the table without whose partition of the date there is nothing to do, if there is one.
    """

    tables: tuple[Table, ...]
    inputs: Callable[[Workplace, date], str]
    build: Callable[[Workplace, date], Any]
    needs: Table | None = None

    def stale(self, work: Workplace, event_dates: Iterable[date], *, by_this_code: bool = False) -> dict[date, str]:
        """Those event dates whose partitions are not built from what lies there now; with what that is.

        `by_this_code`: nor those that other code built from it.
        """
        found = {}
        for each in event_dates:
            inputs = self.inputs(work, each)
            is_built = self._is_current if by_this_code else self._is_built
            if not is_built(work, each, inputs) and self.exists(work, each):
                found[each] = inputs
        return found

    def _is_built(self, work: Workplace, event_date: date, inputs: str) -> bool:
        return not work.verify and all(
            is_built_from(work, table.name, event_date, inputs) and work.lake.is_whole(table.name, event_date)
            for table in self.tables
        )

    def _is_current(self, work: Workplace, event_date: date, inputs: str) -> bool:
        return is_current(work, [table.name for table in self.tables], event_date, inputs)

    def exists(self, work: Workplace, event_date: date) -> bool:
        """Whether the date is any of the stage's: before an event of it came, or its own files, it is not."""
        if self.needs is not None:
            return work.lake.version(self.needs.name, event_date) is not None
        return (
            work.lake.version(self.tables[0].name, event_date) is not None
            or is_processed(work, event_date)
            or any(clean_rows(work, day, event_date) for day in ingest_window(work, event_date))
        )

    def all_stale(self, work: Workplace) -> dict[date, str]:
        """As `stale`, of all event dates that there can be."""
        if self.needs is not None:
            return self.stale(work, work.lake.partitions(self.needs.name))
        landed = work.lake.partitions(EVENTS.clean_table)
        return self.stale(work, sorted({each for day in landed for each in event_window(work, day)}))


def clean_rows(work: Workplace, ingest_date: date, event_date: date) -> int:
    """How many clean events of an event date landed on an ingest date."""
    profile = Profile(work.lake.scan(EVENTS.profile, [ingest_date]).collect())
    return profile.of_kind(DATE).get(str(event_date), 0)


def ingest_dates_of(work: Workplace, event_date: date) -> dict[date, int]:
    """How many of an event date's events landed on which day."""
    rows = work.lake.scan(EVENTS_BY_DATE.name, [event_date]).group_by(INGEST_DATE).len().sort(INGEST_DATE)
    return dict(rows.collect(engine="streaming").iter_rows())


def _gathered_from(work: Workplace, event_date: date) -> str:
    return inputs_of(work, _POLICY, {EVENTS.clean_table: ingest_window(work, event_date)})


def _joined_from(work: Workplace, event_date: date) -> str:
    sources = {EVENTS_BY_DATE.name: [event_date], SESSION_RUNS.name: neighbours(event_date)}
    return inputs_of(work, _POLICY, sources)


def _measured_from(work: Workplace, event_date: date) -> str:
    # Also what the events were gathered from: restatements tell which clean events made a difference, so those that
    # made none must have been seen.
    gathered = (work.lake.partition(EVENTS_BY_DATE.name, day) for day in neighbours(event_date))
    origins = [inputs_named(partition.built_from) for partition in gathered if partition]
    own = [event_date]
    sources = {SESSION_RUNS.name: own, SESSIONS.name: own}
    return inputs_of(work, _POLICY, sources, str(is_processed(work, event_date)), *origins)


def is_processed(work: Workplace, event_date: date) -> bool:
    """Whether files of the day itself were processed: then it has numbers, even if all of them are 0."""
    return work.lake.version(EVENTS.clean_table, event_date) is not None


def _judged_from(work: Workplace, event_date: date) -> str:
    return inputs_of(work, ("alerts",), {ACTIVITY_METRICS.name: alert_window(work, event_date)})


# -- steps ----------------------------------------------------------------------------------------------


def gather_events(work: Workplace, event_date: date) -> int:
    """Replace events_by_date and session_runs of an event date, unless up to date; gives its number of events."""
    lake = work.lake
    inputs = _gathered_from(work, event_date)
    if is_current(work, (EVENTS_BY_DATE.name, SESSION_RUNS.name), event_date, inputs):
        return lake.rows(EVENTS_BY_DATE.name, event_date)
    sources = _Sources(work, event_date)
    narrow = transform.Narrow()
    pieces = [piece for day in sources.days for piece in sources.rows(day, narrow.columns())]
    events = pl.concat([narrow.none(), *pieces], rechunk=True)
    del pieces  # two copies of a large day would be 340 MB
    found = transform.day_runs(events, event_date, work.policy)
    del events
    made = partial(lake.replace, day=event_date, run=work.run, built_from=built_from(inputs))
    with made(EVENTS_BY_DATE.name) as by_date, made(SESSION_RUNS.name) as runs:
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


class _Sources:
    """The clean events that count for an event date, by the ingest date they come from."""

    def __init__(self, work: Workplace, event_date: date) -> None:
        # Looked up once: rows are read twice, and must be the same both times, whoever replaces a partition meanwhile.
        lake = replace(work, frozen=True).lake
        window = ingest_window(work, event_date)
        own = {day: lake.slices(EVENTS.clean_table, day, event_date) for day in window}
        self._landed = {day: lake.slices(EVENTS.clean_table, day) for day in window}
        self._own = {day: [piece.filter(pl.col(EVENT_DATE) == event_date) for piece in own[day]] for day in window}
        self._seen: dict[date, pl.Series] = {}
        self.days = []
        for day in window:
            if rows := sum(map(_height, self._own[day])):
                self.days.append(day)
                self._seen[day] = self._seen_before(day, rows)

    def rows(self, day: date, columns: list[pl.Expr] | None = None) -> Iterator[pl.DataFrame]:
        """The event date's rows of one ingest date, without those whose event an earlier one of the window holds."""
        seen = self._seen[day]
        for piece in self._own[day]:
            rows = piece.filter(~pl.col("event_id").is_in(seen.implode())) if len(seen) else piece
            found = (rows.select(columns) if columns else rows).collect(engine="in-memory")
            if found.height:
                yield found

    def _seen_before(self, day: date, rows: int) -> pl.Series:
        """The ids of an ingest date's rows that an earlier one of the window holds, under any event date.

        Hashes find the few that may repeat; only those are compared as texts. Those of the smaller side are held,
        sorted; the larger passes by in slices.
        """
        own = self._own[day]
        earlier = [piece for each, pieces in self._landed.items() if each < day for piece in pieces]
        others = sum(map(_height, earlier))
        held, passing = (own, earlier) if rows <= others else (earlier, own)
        suspects = _common(held, passing)
        if suspects.is_empty():
            return pl.Series(dtype=pl.String)
        is_suspect = _hash().is_in(suspects.implode())
        found = [piece.select("event_id").filter(is_suspect).collect(engine="in-memory") for piece in earlier]
        return pl.concat(found).to_series().unique()


def _height(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="in-memory").item())


def _hash() -> pl.Expr:
    """32 bits of an event id: they halve what is held, and an unlucky match is compared as text anyway."""
    return pl.col("event_id").hash(_ID_SEED).cast(pl.UInt32, wrap_numerical=True)


def _common(held: list[pl.LazyFrame], passing: list[pl.LazyFrame]) -> pl.Series:
    """The hashes of ids that are on both sides."""
    hashes = [piece.select(_hash()).collect(engine="in-memory").to_series() for piece in held]
    known = pl.concat(hashes, rechunk=True).sort() if hashes else pl.Series(dtype=pl.UInt32)
    del hashes
    found = [pl.Series(dtype=pl.UInt32)]
    if len(known):
        for piece in passing:
            asked = piece.select(_hash()).collect(engine="in-memory").to_series().sort()
            at = known.search_sorted(asked).clip(upper_bound=len(known) - 1)
            found.append(asked.filter(known.gather(at) == asked))
    return pl.concat(found).unique()


def build_sessions(work: Workplace, event_date: date) -> int:
    """Replace session_events, sessions and user_daily of an event date, unless up to date; gives its sessions."""
    lake = work.lake
    inputs = _joined_from(work, event_date)
    if is_current(work, (SESSION_EVENTS.name, SESSIONS.name, USER_DAILY.name), event_date, inputs):
        return lake.rows(SESSIONS.name, event_date)
    before, own, after = (lake.scan(SESSION_RUNS.name, [day]).drop(EVENT_DATE) for day in neighbours(event_date))
    runs = own.collect()
    starts = transform.session_starts(runs, before, event_date, work.policy)
    made = transform.sessions(runs, starts, after, event_date, work.policy)
    ids = runs.with_columns(started=starts).select(transform.session_ids(pl.col("started"))).to_series()
    write = partial(lake.replace, day=event_date, run=work.run, built_from=built_from(inputs))
    with (
        write(SESSION_EVENTS.name) as events,
        write(SESSIONS.name) as sessions,
        write(USER_DAILY.name) as users,
    ):
        sessions.write(made)
        users.write(transform.user_daily(runs))
        for lazy in lake.slices(EVENTS_BY_DATE.name, event_date):
            rows = lazy.collect(engine="in-memory")
            events.write(rows.with_columns(ids.gather(rows["run"])).select(list(SESSION_EVENTS.schema)))
    return made.height


def measure_activity(work: Workplace, event_date: date) -> pl.DataFrame:
    """Replace activity_metrics and restatements of an event date, unless up to date; gives what was restated.

    A date that lost all its events, and on which no files were processed, has none: it is as if it had never been.
    What changed is written first; should the metrics not follow, as the process died, it is withdrawn the next time.
    """
    lake = work.lake
    inputs = _measured_from(work, event_date)
    if is_current(work, (ACTIVITY_METRICS.name, RESTATEMENTS.name), event_date, inputs):
        return pl.DataFrame(schema=RESTATEMENTS.schema)
    before = _readable(work, ACTIVITY_METRICS, event_date)
    runs, sessions = (lake.scan(table.name, [event_date]) for table in (SESSION_RUNS, SESSIONS))
    rows = activity_metrics(runs, sessions)
    if not lake.rows(SESSION_RUNS.name, event_date) and not is_processed(work, event_date):
        rows = rows.clear()
    history = _History.of(work, event_date)
    with lake.replace(ACTIVITY_METRICS.name, event_date, work.run, built_from(inputs)) as writer:
        writer.write(rows)
        changed = history.add(work, restated(rows if before is None else before, rows), writer.complete())
        with lake.replace(RESTATEMENTS.name, event_date, work.run, built_from(inputs)) as told:
            told.describe(history.facts)
            told.write(history.rows)
    return changed


def _readable(work: Workplace, table: Table, event_date: date) -> pl.DataFrame | None:
    """The rows of a partition that is to be made anew; None if its file is lost or spoilt, which must not hinder."""
    try:
        return work.lake.scan(table.name, [event_date]).drop(EVENT_DATE).collect()
    except _UNREADABLE:
        return None


@dataclass
class _History:
    """The restatements of an event date, and what its metrics were made from, which their data file keeps.

    `sources`: for each event date whose events decide sessions of this one, the versions of the clean partitions
    that they were gathered from, and how many of their rows.
    """

    event_date: date
    rows: pl.DataFrame
    metrics: str = ""
    sources: Sources = field(default_factory=dict)
    policy: str = ""
    withdrawn: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Workplace, event_date: date) -> "_History":
        """As it is told; but what was told of metrics that never came is taken back."""
        lake = work.lake
        rows = _readable(work, RESTATEMENTS, event_date)
        if rows is None:
            return cls(event_date, pl.DataFrame(schema=RESTATEMENTS.schema))
        files = lake.files(RESTATEMENTS.name, event_date)
        told = json.loads(files[0].facts().get(_TOLD, "{}")) if files else {}
        if told and told["metrics"] != lake.version(ACTIVITY_METRICS.name, event_date):
            told = told["before"]
            rows = rows.filter(pl.col("revision") <= told["revision"])
        return cls(event_date, rows, told.get("metrics", ""), told.get("sources", {}), told.get("policy", ""))

    def add(self, work: Workplace, changed: pl.DataFrame, metrics: str) -> pl.DataFrame:
        """Tell of a refresh that changed these numbers; `metrics`: the version that activity_metrics gets.

        Gives the rows that tell of it: none for a date's first numbers, which restate nothing.
        """
        self.withdrawn = self._told() | {"revision": self._revision()}
        sources, policy = self._sources_now(work), work.policy.fingerprint(*_POLICY)
        added = changed.clear() if not self.metrics else changed
        added = added.with_columns(
            pl.lit(self._revision() + 1).alias("revision"),
            pl.lit(datetime.now(UTC), MICROS).alias("restated_at"),
            pl.lit(causes(self.sources, sources), pl.List(pl.Date)).alias("caused_by"),
            pl.lit(policy != self.policy).alias("policy_changed"),
        )
        added = added.select(list(RESTATEMENTS.schema)).cast(RESTATEMENTS.schema)
        self.rows = pl.concat([self.rows, added])
        self.metrics, self.sources, self.policy = metrics, sources, policy
        return added

    def facts(self) -> dict[str, str]:
        """What the data file keeps."""
        return {_TOLD: json.dumps(self._told() | {"before": self.withdrawn}, sort_keys=True)}

    def _told(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "sources": self.sources, "policy": self.policy}

    def _revision(self) -> int:
        newest = self.rows["revision"].max()
        return newest if isinstance(newest, int) else 0

    def _sources_now(self, work: Workplace) -> Sources:
        """Those of dates whose events are not gathered anew yet are as they were."""
        found: dict[str, Mapping[str, tuple[str, int]]] = {}
        for near in neighbours(self.event_date):
            if is_built_from(work, EVENTS_BY_DATE.name, near, _gathered_from(work, near)):
                days = {day: work.lake.version(EVENTS.clean_table, day) for day in ingest_window(work, near)}
                found[str(near)] = {
                    str(day): (version, clean_rows(work, day, near)) for day, version in days.items() if version
                }
            elif str(near) in self.sources:
                found[str(near)] = self.sources[str(near)]
        return found


def judge_event_date(work: Workplace, event_date: date) -> list[Judgement]:
    """Every activity rule's verdict on an event date, from its metrics and those of the days before."""
    *before, own = (work.lake.scan(ACTIVITY_METRICS.name, [day]).collect() for day in alert_window(work, event_date))
    return judge_activity(own, pl.concat(before), work.policy)


def raise_activity_alerts(work: Workplace, event_date: date) -> list[dict[str, Any]]:
    """Replace activity_alerts of an event date; gives the alerts."""
    inputs = _judged_from(work, event_date)
    alerts = fired_alerts(judge_event_date(work, event_date))
    with work.lake.replace(ACTIVITY_ALERTS.name, event_date, work.run, built_from(inputs)) as writer:
        writer.write(alerts_frame(alerts))
    return alerts


# -- all of it ------------------------------------------------------------------------------------------

GATHER: Final = Stage((EVENTS_BY_DATE, SESSION_RUNS), _gathered_from, gather_events)
JOIN: Final = Stage((SESSION_EVENTS, SESSIONS, USER_DAILY), _joined_from, build_sessions, SESSION_RUNS)
MEASURE: Final = Stage((ACTIVITY_METRICS, RESTATEMENTS), _measured_from, measure_activity, SESSIONS)
JUDGE: Final = Stage((ACTIVITY_ALERTS,), _judged_from, raise_activity_alerts, ACTIVITY_METRICS)
STAGES: Final = (GATHER, JOIN, MEASURE, JUDGE)


def reach(work: Workplace, ingest_dates: Iterable[date]) -> dict[Stage, list[date]]:
    """The event dates of each stage that ingest dates can change."""
    gathered = {each for day in ingest_dates for each in event_window(work, day)}
    joined = {near for each in gathered for near in neighbours(each)}
    judged = {later for each in joined for later in around(each, 0, work.policy.alerts.history_days)}
    return {GATHER: sorted(gathered), JOIN: sorted(joined), MEASURE: sorted(joined), JUDGE: sorted(judged)}


def refresh(work: Workplace, ingest_dates: Iterable[date]) -> list[date]:
    """Bring every event date up to date that the ingest dates touch, and no others; gives those that were built."""
    built: set[date] = set()
    for stage, event_dates in reach(work, ingest_dates).items():
        stale = stage.stale(work, event_dates)
        for each in stale:
            stage.build(work, each)
        built |= stale.keys()
    return sorted(built)
