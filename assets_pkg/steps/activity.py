"""What customers did, by event date: events gathered from the days they landed on, sessions, metrics, alerts.

A partition of an event date is a function of named partitions: `events_by_date[dt]` of the clean events of ingest
dates dt-1 … dt+late window, sessions of the runs of dt-1, dt and dt+1. A digest of the versions that each was
built from is kept, so whether it is up to date can be told without building it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import (
    ACTIVITY_METRICS,
    ACTIVITY_SOURCES,
    EVENT_DATE,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
    USER_DAILY,
    Table,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms import sessions as transform
from assets_pkg.transforms.activity import activity_metrics
from assets_pkg.transforms.duplicates import repeated

_ID_SEED = 23
_DAY = timedelta(days=1)


# -- what depends on what -------------------------------------------------------------------------------


def ingest_window(work: Workplace, event_date: date) -> list[date]:
    """The ingest dates whose clean events count for an event date (§4): one day early to the late window."""
    late = work.policy.activity.late_window_days
    return [event_date + timedelta(days=shift) for shift in range(-1, late + 1)]


def event_window(work: Workplace, ingest_date: date) -> list[date]:
    """The event dates whose inputs an ingest date is part of."""
    late = work.policy.activity.late_window_days
    return [ingest_date + timedelta(days=shift) for shift in range(-late, 2)]


def neighbours(event_date: date) -> list[date]:
    """The event dates whose runs decide the sessions of an event date."""
    return [event_date - _DAY, event_date, event_date + _DAY]


def stale_events(work: Workplace, event_dates: Iterable[date]) -> list[date]:
    """Those event dates whose events_by_date is not built from the clean partitions that lie there now.

    A date is none of ours before an event of it came, or a day's files were processed on it.
    """
    clean = work.lake.partitions(EVENTS.clean_table)
    return [
        each
        for each in event_dates
        if _built_from(work, EVENTS_BY_DATE, each) != _gathered_from(work, each)
        and (each in clean or work.lake.files(EVENTS_BY_DATE.name, each) or _Sources(work, each).days)
    ]


def stale_sessions(work: Workplace, event_dates: Iterable[date]) -> list[date]:
    """Those event dates whose sessions are not built from the events and runs that lie there now."""
    return _stale(work, SESSIONS, SESSION_RUNS, event_dates, _joined_from)


def stale_metrics(work: Workplace, event_dates: Iterable[date]) -> list[date]:
    """Those event dates whose activity_metrics are not those of the sessions that lie there now."""
    return _stale(work, ACTIVITY_METRICS, SESSIONS, event_dates, _measured_from)


def _stale(
    work: Workplace, table: Table, needs: Table, dates: Iterable[date], digest: Callable[[Workplace, date], str]
) -> list[date]:
    """Those dates, of the ones that the table `needs` has, whose partition of `table` has another digest now."""
    there = work.lake.partitions(needs.name)
    return [each for each in dates if each in there and _built_from(work, table, each) != digest(work, each)]


def _gathered_from(work: Workplace, event_date: date) -> str:
    return _digest(work, {EVENTS.clean_table: ingest_window(work, event_date)})


def _joined_from(work: Workplace, event_date: date) -> str:
    return _digest(work, {EVENTS_BY_DATE.name: [event_date], SESSION_RUNS.name: neighbours(event_date)})


def _measured_from(work: Workplace, event_date: date) -> str:
    own = [event_date]
    return _digest(work, {EVENTS.clean_table: own, SESSION_RUNS.name: own, SESSIONS.name: own})


def _digest(work: Workplace, sources: Mapping[str, Iterable[date]]) -> str:
    versions = [work.policy.fingerprint("activity")]
    for table, days in sources.items():
        partitions = work.lake.partitions(table)
        found = ((day, partitions[day]) for day in days if day in partitions)
        versions += [f"{table} {day} {partition.version}" for day, partition in found]
    return hashlib.blake2b("\n".join(versions).encode(), digest_size=10).hexdigest()


def _built_from(work: Workplace, table: Table, event_date: date) -> str | None:
    """What the table's partition was built from; None when it was not, or was interrupted."""
    known = work.lake.scan(ACTIVITY_SOURCES.name, [event_date]).filter(pl.col("table") == table.name).collect()
    return known["built_from"].item() if known.height else None


def _now_built_from(work: Workplace, table: Table, event_date: date, digest: str) -> None:
    """Keep it apart from the table, whose version tells of its rows alone. Told last: a crash leaves it stale."""
    others = work.lake.scan(ACTIVITY_SOURCES.name, [event_date]).filter(pl.col("table") != table.name)
    own = pl.LazyFrame({"table": [table.name], "built_from": [digest]})
    rows = pl.concat([others.select("table", "built_from"), own]).sort("table").collect()
    with work.lake.replace(ACTIVITY_SOURCES.name, event_date, work.run) as writer:
        writer.write(rows)


# -- steps ----------------------------------------------------------------------------------------------


def gather_events(work: Workplace, event_date: date) -> int:
    """Replace events_by_date and session_runs of an event date; gives its number of events."""
    lake = work.lake
    built_from = _gathered_from(work, event_date)
    sources = _Sources(work, event_date)
    narrow = transform.Narrow()
    pieces = [piece for day in sources.days for piece in sources.rows(day, narrow.columns())]
    events = pl.concat([narrow.none(), *pieces], rechunk=True)
    del pieces  # two copies of a large day would be 340 MB
    found = transform.day_runs(events, event_date, work.policy)
    del events
    with (
        lake.replace(EVENTS_BY_DATE.name, event_date, work.run) as by_date,
        lake.replace(SESSION_RUNS.name, event_date, work.run) as runs,
    ):
        runs.write(found.runs)
        at = 0
        for day in sources.days:
            for rows in sources.rows(day):
                run = found.of_event.slice(at, rows.height).cast(pl.Int64).alias("run")
                at += rows.height
                by_date.write(
                    rows.with_columns(run, pl.lit(day).alias(INGEST_DATE)).select(list(EVENTS_BY_DATE.schema))
                )
    _now_built_from(work, EVENTS_BY_DATE, event_date, built_from)
    return at


class _Sources:
    """The clean events that count for an event date, by the ingest date they come from."""

    def __init__(self, work: Workplace, event_date: date) -> None:
        self._event_date = event_date
        # Looked up once: rows are read twice, and must be the same both times, whoever replaces a partition meanwhile.
        found = {day: work.lake.slices(EVENTS.clean_table, day) for day in ingest_window(work, event_date)}
        self._slices = {day: slices for day, slices in found.items() if slices}
        self._window = list(self._slices)
        self.days = [day for day in self._window if self._has_rows(day)]
        self._seen = self._seen_before()

    def rows(self, day: date, columns: list[pl.Expr] | None = None) -> Iterator[pl.DataFrame]:
        """The event date's rows of one ingest date, without those whose event an earlier one of the window holds."""
        seen = self._seen.get(day)
        for piece in self._slices[day]:
            rows = piece.filter(pl.col(EVENT_DATE) == self._event_date)
            if seen is not None:
                rows = rows.filter(~pl.col("event_id").is_in(seen.implode()))
            found = (rows.select(columns) if columns else rows).collect(engine="in-memory")
            if found.height:
                yield found

    def _all(self, days: list[date]) -> pl.LazyFrame:
        return pl.concat([piece for day in days for piece in self._slices[day]])

    def _has_rows(self, day: date) -> bool:
        of_date = self._all([day]).filter(pl.col(EVENT_DATE) == self._event_date)
        return bool(of_date.select(pl.len()).collect(engine="streaming").item())

    def _seen_before(self) -> dict[date, pl.Series]:
        """For each ingest date: the ids of the event date that an earlier one of the window holds, under any date.

        Hashes find the few that may repeat; only those are compared as texts.
        """
        found = {}
        for number, day in enumerate(self._window):
            if day in self.days and number:
                earlier = self._window[:number]
                own = self._hashes([day], only_date=True)
                suspects = repeated(pl.concat([own.unique(), self._hashes(earlier).unique()]))
                if len(suspects):
                    ids = self._all(earlier).select("event_id")
                    is_suspect = pl.col("event_id").hash(_ID_SEED).is_in(suspects.implode())
                    found[day] = ids.filter(is_suspect).unique().collect(engine="streaming").to_series()
        return found

    def _hashes(self, days: list[date], *, only_date: bool = False) -> pl.Series:
        rows = self._all(days)
        if only_date:
            rows = rows.filter(pl.col(EVENT_DATE) == self._event_date)
        return rows.select(pl.col("event_id").hash(_ID_SEED)).collect(engine="streaming").to_series()


def build_sessions(work: Workplace, event_date: date) -> int:
    """Replace session_events, sessions and user_daily of an event date; gives its number of sessions."""
    lake = work.lake
    built_from = _joined_from(work, event_date)
    before, own, after = (lake.scan(SESSION_RUNS.name, [day]).drop(EVENT_DATE) for day in neighbours(event_date))
    runs = own.collect()
    starts = transform.session_starts(runs, before, event_date, work.policy)
    made = transform.sessions(runs, starts, after, event_date, work.policy)
    ids = runs.with_columns(started=starts).select(transform.session_ids(pl.col("started"))).to_series()
    with (
        lake.replace(SESSION_EVENTS.name, event_date, work.run) as events,
        lake.replace(SESSIONS.name, event_date, work.run) as sessions,
        lake.replace(USER_DAILY.name, event_date, work.run) as users,
    ):
        sessions.write(made)
        users.write(transform.user_daily(runs))
        for lazy in lake.slices(EVENTS_BY_DATE.name, event_date):
            rows = lazy.collect(engine="in-memory")
            events.write(rows.with_columns(ids.gather(rows["run"])).select(list(SESSION_EVENTS.schema)))
    _now_built_from(work, SESSIONS, event_date, built_from)
    return made.height


def measure_activity(work: Workplace, event_date: date) -> pl.DataFrame:
    """Replace activity_metrics of an event date; gives its rows.

    A date that lost all its events, and on which no files were processed, has none: it is as if it had never been.
    """
    built_from = _measured_from(work, event_date)
    runs, sessions = (work.lake.scan(table.name, [event_date]) for table in (SESSION_RUNS, SESSIONS))
    rows = activity_metrics(runs, sessions)
    if not work.lake.rows(SESSION_RUNS.name, event_date) and work.lake.version(EVENTS.clean_table, event_date) is None:
        rows = rows.clear()
    with work.lake.replace(ACTIVITY_METRICS.name, event_date, work.run) as writer:
        writer.write(rows)
    _now_built_from(work, ACTIVITY_METRICS, event_date, built_from)
    return rows


def refresh(work: Workplace, ingest_dates: Iterable[date]) -> list[date]:
    """Bring every event date up to date that the ingest dates touch, and no others; gives those that were built."""
    touched = sorted({each for day in ingest_dates for each in event_window(work, day)})
    gathered = stale_events(work, touched)
    for each in gathered:
        gather_events(work, each)
    around = sorted({near for each in touched for near in neighbours(each)})
    joined = stale_sessions(work, around)
    for each in joined:
        build_sessions(work, each)
    measured = stale_metrics(work, around)
    for each in measured:
        measure_activity(work, each)
    return sorted({*gathered, *joined, *measured})
