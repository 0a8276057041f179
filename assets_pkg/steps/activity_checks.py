"""Looking at tables by event date that were written: is every event accounted for, are sessions what they should be.

Rows are counted in the tables themselves.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import ADDRESS, EVENTS, SOURCE_FILE, SOURCE_ROW
from assets_pkg.contracts.tables import (
    EVENT_DATE,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.activity import Stage, ingest_window
from assets_pkg.steps.provenance import inputs_named
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.duplicates import repeated
from assets_pkg.transforms.sessions import epoch_us, is_full

_ID_SEED: Final = 7
_FILE: Final = [INGEST_DATE, SOURCE_FILE]
_DAY: Final = timedelta(days=1)


@dataclass
class Finding:
    """What a check found: how much is wrong, the numbers, and the first rows at fault."""

    wrong: int
    facts: dict[str, Any] = field(default_factory=dict)
    first: pl.DataFrame = field(default_factory=pl.DataFrame)


def events_accounted(work: Workplace, event_date: date) -> Finding:
    """Every clean event of the date that landed in its window is in events_by_date once, or its id landed before.

    Wrong are events that are missing, stand twice, or came from nowhere.
    """
    window = work.lake.scan(EVENTS.clean_table, ingest_window(work, event_date))
    landed = window.filter(pl.col(EVENT_DATE) == event_date)
    counted = work.lake.scan(EVENTS_BY_DATE.name, [event_date])
    both = _by_file(landed).join(_by_file(counted), on=_FILE, how="full", coalesce=True, suffix="_counted")
    differing = both.filter(pl.struct("rows", "sum").ne_missing(pl.struct("rows_counted", "sum_counted"))).select(_FILE)
    missing, invented = (_only_in(rows, others, differing) for rows, others in ((landed, counted), (counted, landed)))
    excused = _landed_before(work, event_date, missing)
    lost = missing.join(excused, on=[INGEST_DATE, "event_id"], how="anti")
    twice = _repeated_ids(work, event_date)
    first = pl.concat([rows.select(*ADDRESS, "event_id") for rows in (lost, invented, twice)])
    return Finding(
        lost.height + invented.height + twice.height,
        {
            "clean events that landed in the window": int(both["rows"].sum()),
            "events by date": int(both["rows_counted"].sum()),
            "copies of an event that landed before": missing.height - lost.height,
            "events that are missing": lost.height,
            "events from nowhere": invented.height,
            "events that stand twice": twice.height,
        },
        first.unique(maintain_order=True).head(work.policy.checks.sample_rows),
    )


def _by_file(events: pl.LazyFrame) -> pl.DataFrame:
    """How many events came from which file, and a sum over them that changes when one of them is another."""
    which = pl.struct(SOURCE_ROW, "event_id").hash(_ID_SEED)
    found = events.group_by(_FILE).agg(pl.len().alias("rows"), which.sum().alias("sum"))
    return found.collect(engine="streaming")


def _only_in(events: pl.LazyFrame, others: pl.LazyFrame, files: pl.DataFrame) -> pl.DataFrame:
    """The events of some files that the others lack: ingest_date, source_file, source_row, event_id."""
    columns = [*_FILE, SOURCE_ROW, "event_id"]
    if files.is_empty():
        return (
            pl.DataFrame(schema=dict.fromkeys(columns))
            .cast({INGEST_DATE: pl.Date, SOURCE_ROW: pl.Int64})
            .cast({SOURCE_FILE: pl.String, "event_id": pl.String})
        )
    own, theirs = (rows.select(columns).join(files.lazy(), on=_FILE, how="semi") for rows in (events, others))
    return own.join(theirs, on=columns, how="anti").collect(engine="streaming")


def _landed_before(work: Workplace, event_date: date, rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows whose event_id an earlier ingest date of the window holds: ingest_date, event_id."""
    if rows.is_empty():
        return rows.select(INGEST_DATE, "event_id")
    window = work.lake.scan(EVENTS.clean_table, ingest_window(work, event_date))
    held = window.filter(pl.col("event_id").is_in(rows["event_id"].implode()))
    first = held.group_by("event_id").agg(pl.min(INGEST_DATE).alias("first")).collect(engine="streaming")
    return rows.join(first, on="event_id").filter(pl.col("first") < pl.col(INGEST_DATE)).select(INGEST_DATE, "event_id")


def _repeated_ids(work: Workplace, event_date: date) -> pl.DataFrame:
    rows = work.lake.scan(EVENTS_BY_DATE.name, [event_date])
    hashed = pl.col("event_id").hash(_ID_SEED)
    twice = repeated(rows.select(hashed).collect(engine="streaming").to_series())
    suspects = rows.filter(hashed.is_in(twice.implode())).select(*ADDRESS, "event_id").collect(engine="streaming")
    return suspects.filter(pl.col("event_id").is_duplicated())


def each_in_one_session(work: Workplace, event_date: date) -> Finding:
    """Every event of the date is in session_events, all events of a run in one session, and that one exists."""
    events, sessions = (work.lake.rows(table.name, event_date) for table in (EVENTS_BY_DATE, SESSION_EVENTS))
    of_run = (
        work.lake.scan(SESSION_EVENTS.name, [event_date])
        .select("run", pl.col("session_id").hash(_ID_SEED))
        .group_by("run")
        .agg(
            pl.len().cast(pl.Int64).alias("found"),
            pl.min("session_id").alias("least"),
            pl.max("session_id").alias("most"),
        )
    )
    runs = work.lake.scan(SESSION_RUNS.name, [event_date]).select("customer_id", "events").with_row_index("run")
    both = runs.with_columns(pl.col("run").cast(pl.Int64)).join(of_run, on="run", how="full", coalesce=True)
    known = work.lake.scan(SESSIONS.name, [event_date - _DAY, event_date]).select(pl.col("session_id").hash(_ID_SEED))
    exists = pl.col("least").is_in(known.collect(engine="streaming").to_series().implode())
    counts = pl.col("events") == pl.col("found")
    wrong = ~(counts & (pl.col("least") == pl.col("most")) & exists).fill_null(value=False)
    faults = both.filter(wrong).sort("run").collect(engine="streaming")
    return Finding(
        abs(events - sessions) + faults.height,
        {"events": events, "events with a session": sessions, "runs at fault": faults.height},
        faults.select("run", "customer_id", "events", "found").head(work.policy.checks.sample_rows),
    )


def sessions_add_up(work: Workplace, event_date: date) -> Finding:
    """Event counts of sessions add up to the date's events, without what they carry over midnights."""
    lake = work.lake
    events = lake.rows(EVENTS_BY_DATE.name, event_date)
    counted = lake.scan(SESSIONS.name, [event_date]).select(pl.sum("event_count")).collect().item()
    taken_over = _carried(work, event_date - _DAY)
    carried_on = _carried(work, event_date)
    return Finding(
        abs(events - (counted - carried_on + taken_over)),
        {
            "events": events,
            "events of sessions that start on the date": counted,
            "of these on the next date": carried_on,
            "events of sessions of the day before": taken_over,
        },
    )


def _carried(work: Workplace, event_date: date) -> int:
    """How many events sessions of a date have on the next: those of its customers' first runs there."""
    tomorrow = event_date + _DAY
    over = work.lake.scan(SESSIONS.name, [event_date]).filter(pl.col("session_end").dt.date() == tomorrow)
    runs = work.lake.scan(SESSION_RUNS.name, [tomorrow]).filter("is_first")
    return int(over.select("customer_id").join(runs, on="customer_id").select(pl.sum("events")).collect().item())


def sessions_bounded(work: Workplace, event_date: date) -> Finding:
    """Sessions start on the date, end after they start, and reach over one midnight at most."""
    start, end = pl.col("session_start"), pl.col("session_end")
    sound = (start.dt.date() == event_date) & (end >= start) & (end.dt.date() <= event_date + _DAY)
    rows = work.lake.scan(SESSIONS.name, [event_date])
    faults = rows.filter(~sound).collect(engine="streaming")
    longest = rows.select(pl.max("duration_seconds")).collect(engine="streaming").item()
    return Finding(
        faults.height,
        {"sessions": work.lake.rows(SESSIONS.name, event_date), "longest (hours)": round((longest or 0) / 3600, 2)},
        faults.head(work.policy.checks.sample_rows),
    )


def sessions_apart(work: Workplace, event_date: date) -> Finding:
    """No session of the date starts within the timeout of its customer's session before, unless that was cut.

    A session is cut at the end of a day without a gap of the timeout (§4 "Bound").
    """
    timeout = timedelta(microseconds=work.policy.activity.session_timeout_us)
    before = event_date - _DAY
    columns = ("customer_id", "session_id", "session_start", "session_end")
    sessions = work.lake.scan(SESSIONS.name, [before, event_date]).select(columns)
    own = pl.col("session_start").dt.date() == event_date
    midnight = pl.lit(epoch_us(event_date)).cast(pl.Datetime("us", "UTC"))
    # Of the day before only what ends close enough to matter.
    ordered = sessions.filter(own | (pl.col("session_end") + timeout > midnight)).sort("customer_id", "session_start")
    same = pl.col("customer_id") == pl.col("customer_id").shift(1)
    close = ordered.with_columns(
        since=pl.when(same).then(pl.col("session_start") - pl.col("session_end").shift(1)),
        day_before=pl.col("session_end").shift(1).dt.date() == before,
    ).filter(own, pl.col("since") < timeout)
    cut = work.lake.scan(SESSION_RUNS.name, [before]).filter(is_full(before, work.policy)).select("customer_id")
    close_ones = close.collect(engine="streaming")
    allowed = close_ones.filter("day_before").lazy().join(cut, on="customer_id", how="semi").collect()
    faults = close_ones.join(allowed, on="session_id", how="anti")
    return Finding(
        faults.height,
        {"sessions": work.lake.rows(SESSIONS.name, event_date), "cut at midnight": allowed.height},
        faults.select(*columns).head(work.policy.checks.sample_rows),
    )


def waits_for(work: Workplace, event_date: date, stage: Stage, *, beside: bool) -> list[date]:
    """The dates that must be refreshed before a stage's tables of a date can be judged.

    The date itself, if what it was built from changed since; and those `beside` it that are not up to date: until they
    are, the three do not fit together.
    """
    waiting = list(stage.stale(work, (event_date - _DAY, event_date + _DAY))) if beside else []
    own = work.lake.partition(stage.tables[0].name, event_date)
    if own and own.built_from and inputs_named(own.built_from) != stage.inputs(work, event_date):
        waiting.append(event_date)
    return sorted(waiting)
