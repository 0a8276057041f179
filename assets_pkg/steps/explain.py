"""The life of one record: where it came from, what became of it and why (for people; nothing here is written)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import (
    ABSENT_COLUMNS,
    ADDRESS,
    CUSTOMERS,
    EVENTS,
    EXTRA,
    FEEDS,
    ORDERS,
    RAW_TEXT,
    SOURCE_FILE,
    SOURCE_ROW,
    Feed,
)
from assets_pkg.contracts.files import FAILED, SKIPPED
from assets_pkg.contracts.rules import ORPHAN, SEPARATOR, duplicate_of, reject_rules, warning_rules
from assets_pkg.contracts.tables import (
    ACTIVITY_METRICS,
    CUSTOMERS_KNOWN,
    DAILY_METRICS,
    EVENT_DATE,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSIONS,
    USER_DAILY,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.activity import GATHER, JOIN
from assets_pkg.steps.files import FileLife, file_lives
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import some
from assets_pkg.transforms.metrics import counted_in
from assets_pkg.transforms.split import CLEAN, QUARANTINE
from assets_pkg.transforms.windows import landing

COPY: Final = "dropped as a copy"
NOT_YET: Final = "not processed yet"
_IDS: Final = {"event_id": EVENTS, "order_id": ORDERS, "customer_id": CUSTOMERS}


@dataclass(frozen=True)
class RecordLife:
    """One raw row and its fate. `story`: what happened, one sentence each, in order."""

    feed: str
    day: date
    source_file: str
    source_row: int
    fate: str
    raw: Mapping[str, str]
    clean: Mapping[str, Any] = field(default_factory=dict)
    story: tuple[str, ...] = ()


def find_by_id(work: Workplace, column: str, value: str, most: int = 20) -> tuple[list[RecordLife], int]:
    """Lives of the raw rows of the feed whose id `column` is, that say `value`; the first `most`, and how many."""
    feed, wanted = _IDS[column], value.strip()
    days = list(work.lake.partitions(feed.raw))
    # `contains` is cheap and lets few rows through to the exact test.
    said = pl.col(column).str.contains(wanted, literal=True) & (pl.col(column).str.strip_chars() == wanted)
    rows = work.lake.scan(feed.raw, days).filter(said).collect(engine="streaming").sort(INGEST_DATE, *ADDRESS)
    return [life(work, feed, row) for row in rows.head(most).iter_rows(named=True)], rows.height


def find_by_address(work: Workplace, path: str, number: int) -> tuple[RecordLife | None, list[str]]:
    """The life of record `number` of a raw file, and what is to be said of the file itself.

    A skipped file's records are those of the file that holds the same content. Raises KeyError for a file that the
    ledger does not know.
    """
    said = []
    entry = _entry(work, path)
    if entry.status == SKIPPED and entry.duplicate_of:
        said.append(f"{path} was SKIPPED: {entry.note}; this is the same record there.")
        path = entry.duplicate_of
        entry = _entry(work, path)
    if entry.status == FAILED:
        return None, [*said, f"{path} FAILED and gave no record: {entry.note}"]
    feed = FEEDS[entry.feed]
    at = (pl.col(SOURCE_FILE) == path) & (pl.col(SOURCE_ROW) == number)
    rows = work.lake.scan(feed.raw, [entry.day]).filter(at).collect(engine="streaming")
    if rows.is_empty():
        return None, [*said, f"{path} is {entry.status} with {entry.records or 0:,} records; there is no {number:,}."]
    return life(work, feed, rows.row(0, named=True)), said


def _entry(work: Workplace, path: str) -> FileLife:
    found = file_lives(work, path=path)
    if not found:
        raise KeyError(path)
    return found[0]


def life(work: Workplace, feed: Feed, row: Mapping[str, Any]) -> RecordLife:
    """What became of one row of the feed's raw table (a row of `Lake.scan`)."""
    day = row[INGEST_DATE]
    at = (pl.col(SOURCE_FILE) == row[SOURCE_FILE]) & (pl.col(SOURCE_ROW) == row[SOURCE_ROW])
    clean = work.lake.scan(feed.clean_table, [day]).filter(at).collect(engine="streaming")
    rejected = work.lake.scan(feed.quarantine, [day]).filter(at).collect(engine="streaming")
    values = {} if clean.is_empty() else clean.drop(*ADDRESS, INGEST_DATE).row(0, named=True)
    if values:
        fate, story = CLEAN, _story_of_clean(work, feed, day, clean)
    elif not rejected.is_empty():
        reasons = rejected["reject_reason"][0]
        fate, story = QUARANTINE, _story_of_rejected(work, feed, day, row, reasons)
    elif (first := _first_equal(work, feed, day, row)) != (row[SOURCE_FILE], row[SOURCE_ROW]):
        fate, story = COPY, _story_of_copy(day, *first)
    else:
        fate, story = NOT_YET, iter([f"{feed.name} of {day} were not cleaned since its file was read: run the day."])
    said = {name: text for name in (*feed.raw_columns, EXTRA, RAW_TEXT) if (text := row[name]) is not None}
    if row[ABSENT_COLUMNS]:
        said["(columns its file lacks)"] = row[ABSENT_COLUMNS].replace(SEPARATOR, ", ")
    return RecordLife(
        feed.name, day, row[SOURCE_FILE], row[SOURCE_ROW], fate, said, values, (_file(work, feed, row), *story)
    )


def _file(work: Workplace, feed: Feed, row: Mapping[str, Any]) -> str:
    for each in file_lives(work, feed, path=row[SOURCE_FILE]):
        when = f"{each.processed_at:%Y-%m-%d %H:%M} UTC" if each.processed_at else "not finished"
        return f"Its file is {each.status}: {each.records or 0:,} records, read {when} by run {each.run}."
    return "The ledger does not know its file."


def _story_of_clean(work: Workplace, feed: Feed, day: date, clean: pl.DataFrame) -> Iterator[str]:
    counts = counted_in(feed, clean.lazy(), day, work.policy)
    yield f"It is clean: {feed.clean_table} of {day}. {_counts_in(day, CLEAN, *counts)}"
    row = clean.row(0, named=True)
    meanings = {rule.reason: rule.meaning for rule in warning_rules(feed, work.policy)}
    for name in (row["warnings"] or "").split(SEPARATOR):
        if name:
            yield f"Warning {name}: {meanings.get(name, 'from an earlier policy')}."
    if feed is CUSTOMERS:
        yield from _known(work, row["customer_id"])
    if feed is EVENTS:
        yield from _story_by_date(work, day, row)


def _story_by_date(work: Workplace, day: date, event: Mapping[str, Any]) -> Iterator[str]:
    """What a clean event counts in by the day it happened."""
    event_date: date = event[EVENT_DATE]
    window = landing(work.policy).of(event_date)
    if day not in window:
        yield (
            f"It landed too late to count for {event_date}, the day it happened: until {window[-1]} it would have "
            "(activity.late_window_days)."
        )
        return
    same = pl.col("event_id") == event["event_id"]
    held = work.lake.scan(EVENTS.clean_table, [each for each in window if each < day]).filter(same)
    for earlier, other in (
        held.select(INGEST_DATE, EVENT_DATE).collect(engine="streaming").sort(INGEST_DATE).iter_rows()
    ):
        yield f"It does not count for {event_date}: the event had landed on {earlier} already, for {other}."
        return
    if GATHER.stale(work, [event_date]) or JOIN.stale(work, [event_date]):
        yield f"Tables of {event_date}, the day it happened, are not up to date: refresh them to see its session."
        return
    rows = (
        work.lake.scan(SESSION_EVENTS.name, [event_date]).filter(same).select("session_id").collect(engine="streaming")
    )
    for (session_id,) in rows.iter_rows():
        tables = f"{EVENTS_BY_DATE.name}, {USER_DAILY.name}"
        yield f"It happened on {event_date} and counts there: {tables}, session {session_id}."
        yield from _story_of_session(work, event_date, session_id)


def _story_of_session(work: Workplace, event_date: date, session_id: str) -> Iterator[str]:
    for start_date in (event_date - timedelta(days=1), event_date):
        found = work.lake.scan(SESSIONS.name, [start_date]).filter(pl.col("session_id") == session_id)
        for row in found.collect(engine="streaming").iter_rows(named=True):
            yield (
                f"The session: {some(row['event_count'], 'event')} from {row['session_start']:%Y-%m-%d %H:%M:%S} to "
                f"{row['session_end']:%Y-%m-%d %H:%M:%S} UTC; it counts in {ACTIVITY_METRICS.name} of {start_date}."
            )


def _counts_in(day: date, *metrics: str) -> str:
    return f"It counts in {DAILY_METRICS.name} of {day}: {', '.join(('total', *metrics))}."


def _story_of_rejected(work: Workplace, feed: Feed, day: date, row: Mapping[str, Any], reasons: str) -> Iterator[str]:
    yield f"It was rejected: {feed.quarantine} of {day}. {_counts_in(day, 'quarantine')}"
    meanings = {rule.reason: rule.meaning for rule in reject_rules(feed, work.policy, day)}
    for name in reasons.split(SEPARATOR):
        yield f"Reason {name}: {meanings.get(name, 'from an earlier policy')}."
        if name == duplicate_of(feed):
            same = pl.col(feed.id) == (row[feed.id] or "").strip()
            better = work.lake.scan(feed.clean_table, [day]).filter(same).select(*ADDRESS).collect(engine="streaming")
            for path, number in better.iter_rows():
                yield f"The better one is {path} row {number}."
        if name == ORPHAN:
            yield from _known(work, (row["customer_id"] or "").strip())
    if feed is CUSTOMERS and (row["customer_id"] or "").strip():
        yield from _known(work, row["customer_id"].strip())


def _first_equal(work: Workplace, feed: Feed, day: date, row: Mapping[str, Any]) -> tuple[str, int]:
    """Where the first row of the day stands that equals this one in every column."""
    same = [
        pl.col(name).str.strip_chars().fill_null("") == (row[name] or "").strip() for name in (*feed.raw_columns, EXTRA)
    ]
    rows = work.lake.scan(feed.raw, [day]).filter(pl.col(RAW_TEXT).is_null(), *same)
    found = rows.select(*ADDRESS).sort(ADDRESS).head(1).collect(engine="streaming")
    return found.row(0) if found.height and row[RAW_TEXT] is None else (row[SOURCE_FILE], row[SOURCE_ROW])


def _story_of_copy(day: date, path: str, number: int) -> Iterator[str]:
    yield f"It equals another row of {day} in every column and was dropped. {_counts_in(day, 'duplicate_full_row')}"
    yield f"The one that stayed is {path} row {number}."


def customer_story(work: Workplace, customer_id: str) -> tuple[str, ...]:
    """What is known of a customer whom no customers row names."""
    return tuple(_known(work, customer_id))


def _known(work: Workplace, customer_id: str) -> Iterator[str]:
    days = list(work.lake.partitions(CUSTOMERS_KNOWN.name))[-1:]
    known = work.lake.scan(CUSTOMERS_KNOWN.name, days).filter(pl.col("customer_id") == customer_id).collect()
    if known.is_empty():
        yield f"Customer {customer_id} is not known{f' as of {days[0]}' if days else ''}."
    else:
        seen = known.row(0, named=True)
        yield (
            f"Customer {customer_id} is known as of {days[0]}: first named on {seen['first_seen']}, "
            f"last on {seen['last_seen']}."
        )
    for feed in (EVENTS, ORDERS):
        for table, what in ((feed.clean_table, CLEAN), (feed.quarantine, "in quarantine")):
            rows = work.lake.scan(table, list(work.lake.partitions(table)))
            count = (
                rows.filter(pl.col("customer_id") == customer_id).select(pl.len()).collect(engine="streaming").item()
            )
            if count:
                yield f"{count:,} {feed.name} of this customer are {what}."
