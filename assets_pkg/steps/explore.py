"""Looking at the lake: what an analyst asks of some dates. Everything is read lazily, nothing is written.

Answers that count come from the tables that already count (profiles, metrics), so they cost the same however many
rows a date has; rows themselves are given as lazy frames, for who shows a part of them or writes them to a file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import EVENTS, FEEDS, TEXT, Feed
from assets_pkg.contracts.rules import rejected_for
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    ALERTS,
    DAILY_METRICS,
    EVENT_DATE,
    RESTATEMENTS,
    SESSION_EVENTS,
    SESSIONS,
    USER_DAILY,
    Table,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.landed import is_processed
from assets_pkg.steps.provenance import digest_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import SEVERITIES
from assets_pkg.transforms.split import CLEAN, FULL_ROW, QUARANTINE, REASON, ROWS, TOTAL

Dates = Sequence[date]
Question = Callable[..., object]
LANDED: Final = "landed"
HAPPENED: Final = "happened"
_COUNTS: Final = (TOTAL, CLEAN, QUARANTINE, FULL_ROW)


def dates_there(work: Workplace) -> list[date]:
    """The dates of which anything can be shown, by the day files landed or by the day things happened, in order.

    Also those that were processed in part.
    """
    tables = [*(feed.profile for feed in FEEDS.values()), DAILY_METRICS.name, SESSIONS.name, ACTIVITY_METRICS.name]
    return sorted({day for table in tables for day in work.lake.partitions(table)})


def state_of(work: Workplace, questions: Iterable[Question], days: Iterable[date]) -> str:
    """A digest of what the tables behind some of the QUESTIONS hold of some dates.

    As long as it is the same, so is every answer.
    """
    tables = sorted({table for question in questions for table in QUESTIONS[question]})
    return digest_of(f"{table} {day} {work.lake.version(table, day)}" for table in tables for day in days)


def totals(work: Workplace, days: Dates) -> pl.DataFrame:
    """What became of each feed's rows on some ingest dates: dataset, total, clean, quarantine, full_row_duplicates."""
    rows = pl.concat(_of_profile(work, feed, days, ROWS) for feed in FEEDS.values())
    counted = (pl.col("rows").filter(pl.col("name") == name).sum().alias(name) for name in _COUNTS)
    return rows.group_by("dataset", maintain_order=True).agg(counted).collect()


def _of_profile(work: Workplace, feed: Feed, days: Dates, kind: str) -> pl.LazyFrame:
    """What a feed's profiles count of one kind: ingest_date, dataset, name, rows."""
    rows = work.lake.scan(feed.profile, days).filter(pl.col("kind") == kind)
    return rows.select(INGEST_DATE, pl.lit(feed.name).alias("dataset"), "name", "rows")


def outcomes_by_date(work: Workplace, days: Dates) -> pl.DataFrame:
    """What became of all feeds' rows by the day they landed: ingest_date, outcome, rows."""
    outcomes = {CLEAN: "clean", QUARANTINE: "quarantine", FULL_ROW: "duplicates"}
    rows = pl.concat(_of_profile(work, feed, days, ROWS) for feed in FEEDS.values())
    counted = rows.filter(pl.col("name").is_in(list(outcomes))).group_by(INGEST_DATE, "name").agg(pl.sum("rows"))
    named = counted.select(INGEST_DATE, pl.col("name").replace_strict(outcomes).alias("outcome"), "rows")
    place = pl.col("outcome").cast(pl.Enum(list(outcomes.values())))
    return named.sort(INGEST_DATE, place).collect()


def users(work: Workplace, days: Dates) -> int:
    """How many customers did something on any of some event dates."""
    counted = work.lake.scan(USER_DAILY.name, days).select(pl.col("customer_id").n_unique())
    return int(counted.collect(engine="streaming").item())


def session_count(work: Workplace, days: Dates) -> int:
    """How many sessions started on some event dates."""
    return sum(work.lake.rows(SESSIONS.name, day) for day in days)


# -- sessions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SessionFilter:
    """Which sessions are wanted: of one customer, with so many events, so long, on a platform."""

    customer: str = ""
    min_events: float = 1
    min_minutes: float = 0
    platform: str = ""

    @property
    def condition(self) -> pl.Expr:
        """As an expression over the columns of sessions."""
        wanted = [pl.lit(value=True)]
        if self.customer:
            wanted.append(pl.col("customer_id") == self.customer)
        if self.min_events > 1:
            wanted.append(pl.col("event_count") >= self.min_events)
        if self.min_minutes > 0:
            wanted.append(pl.col("duration_seconds") >= self.min_minutes * 60)
        if self.platform:
            wanted.append(pl.col("platforms").list.contains(self.platform))
        return pl.all_horizontal(wanted)


SESSION_ORDERS: Final = {
    "latest": ("session_start", "session_id"),
    "most events": ("event_count", "session_id"),
    "longest": ("duration_seconds", "session_id"),
}


def sessions_of(work: Workplace, days: Dates, wanted: SessionFilter) -> pl.LazyFrame:
    """The sessions that started on some event dates and are wanted: the columns of the table."""
    return work.lake.scan(SESSIONS.name, days).filter(wanted.condition)


def first_sessions(work: Workplace, days: Dates, wanted: SessionFilter, order: str, count: int) -> pl.DataFrame:
    """So many of them, the first in one of SESSION_ORDERS.

    What they have at least is found first, in one column: sorting all rows would hold all of them.
    """
    rows, by = sessions_of(work, days, wanted), SESSION_ORDERS[order]
    leading = rows.select(by[0]).top_k(count, by=by[0]).collect(engine="streaming").to_series()
    at_least = rows.filter(pl.col(by[0]) >= pl.lit(leading.min(), leading.dtype))
    return at_least.sort(by, descending=True).head(count).collect(engine="streaming")


def sessions_by_date(work: Workplace, days: Dates, wanted: SessionFilter) -> pl.DataFrame:
    """How many of them started on each date: event_date, sessions. Dates without any are there, with 0."""
    counted = sessions_of(work, days, wanted).group_by(EVENT_DATE).agg(pl.len().cast(pl.Int64).alias("sessions"))
    made = pl.LazyFrame({EVENT_DATE: list(days)}, schema={EVENT_DATE: pl.Date()})
    filled = made.join(counted, on=EVENT_DATE, how="left").with_columns(pl.col("sessions").fill_null(0))
    return filled.sort(EVENT_DATE).collect(engine="streaming")


def events_of_customer(work: Workplace, days: Dates, customer: str) -> pl.DataFrame:
    """What one customer did on some event dates: the columns of session_events, in order of time.

    Each date is read by itself: all events of all customers pass by.
    """
    is_theirs = pl.col("customer_id") == customer
    found = [work.lake.scan(SESSION_EVENTS.name, [day]).filter(is_theirs).collect(engine="streaming") for day in days]
    return pl.concat(found).sort("event_time", "event_id")


# -- quarantine -----------------------------------------------------------------------------------------


def reject_reasons(work: Workplace, feed: Feed, days: Dates) -> pl.DataFrame:
    """How many rows of a feed were rejected on some ingest dates, by reason: reason, rows; a row has one or more."""
    counted = _of_profile(work, feed, days, REASON).group_by(pl.col("name").alias("reason")).agg(pl.sum("rows"))
    return counted.filter(pl.col("rows") > 0).sort("rows", "reason", descending=[True, False]).collect()


def quarantined(work: Workplace, feed: Feed, days: Dates, reason: str = "") -> pl.LazyFrame:
    """The rejected rows of a feed, of some ingest dates, with a reason if one is given: the table's columns."""
    rows = work.lake.scan(feed.quarantine, days)
    return rows.filter(rejected_for(reason)) if reason else rows


# -- numbers and alerts ---------------------------------------------------------------------------------


def metrics(work: Workplace, days: Dates) -> pl.LazyFrame:
    """The numbers of some dates: date, axis (landed or happened), dataset, metric, dimension, value."""
    return _on_both_axes(work, days, DAILY_METRICS, ACTIVITY_METRICS)


def alerts(work: Workplace, days: Dates, severities: Iterable[str] = SEVERITIES) -> pl.LazyFrame:
    """The alerts of some dates, the latest and severest first: date, axis, judged and the columns of alerts.

    `judged`: whether the date's own files have come; until then an alert of an event date says little.
    """
    rows = _on_both_axes(work, days, ALERTS, ACTIVITY_ALERTS).filter(pl.col("severity").is_in(list(severities)))
    processed = [day for day in days if is_processed(work, day)]
    judged = (pl.col("axis") == LANDED) | pl.col("date").is_in(processed)
    return rows.with_columns(judged.alias("judged")).sort(
        "date", pl.col("severity").cast(pl.Enum(SEVERITIES)), "axis", "rule", "dataset", descending=[True] + [False] * 4
    )


def restatements(work: Workplace, days: Dates) -> pl.LazyFrame:
    """What refreshes changed in the numbers of some event dates, the latest first: the columns of the table."""
    rows = work.lake.scan(RESTATEMENTS.name, days)
    return rows.sort("restated_at", EVENT_DATE, "metric", descending=[True, True, False])


def _on_both_axes(work: Workplace, days: Dates, landed: Table, happened: Table) -> pl.LazyFrame:
    return pl.concat(
        work.lake.scan(table.name, days).select(
            pl.col(table.partition_by).alias("date"), pl.lit(axis, TEXT).alias("axis"), *table.columns
        )
        for axis, table in ((LANDED, landed), (HAPPENED, happened))
    )


_PROFILES: Final = tuple(feed.profile for feed in FEEDS.values())
_SESSIONS: Final = (SESSIONS.name,)
# The tables that each question of this module is answered from.
QUESTIONS: Final[Mapping[Question, tuple[str, ...]]] = {
    totals: _PROFILES,
    outcomes_by_date: _PROFILES,
    users: (USER_DAILY.name,),
    session_count: _SESSIONS,
    sessions_of: _SESSIONS,
    sessions_by_date: _SESSIONS,
    first_sessions: _SESSIONS,
    events_of_customer: (SESSION_EVENTS.name,),
    reject_reasons: _PROFILES,
    quarantined: tuple(feed.quarantine for feed in FEEDS.values()),
    metrics: (DAILY_METRICS.name, ACTIVITY_METRICS.name),
    # Of the clean events: whether a date's own files have come.
    alerts: (ALERTS.name, ACTIVITY_ALERTS.name, EVENTS.clean_table),
    restatements: (RESTATEMENTS.name,),
}
