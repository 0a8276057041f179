"""Every table of the lake: its columns with types and meanings, and the date it is partitioned by (contract §7)."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import (
    ABSENT_COLUMNS,
    EXTRA,
    FEEDS,
    MICROS,
    RAW_TEXT,
    SOURCE_FILE,
    SOURCE_ROW,
    TEXT,
    Feed,
)
from assets_pkg.policy.columns import INGEST_DATE

COUNT: Final = pl.Int64()
EVENT_DATE: Final = "event_date"


@dataclass(frozen=True)
class Column:
    """A column of a table and what it holds."""

    dtype: pl.DataType
    meaning: str


@dataclass(frozen=True)
class Table:
    """A Delta table. `columns` leaves out the partition column, which stands in the folder's name alone.

    `apart_by`: a column of dates; rows of another date than their partition's have data files of their own, so that
    who looks for those of one date need not read those of another.
    """

    name: str
    partition_by: str
    meaning: str
    columns: dict[str, Column]
    apart_by: str | None = None

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns in the data files: all but the partition column."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    @property
    def full_schema(self) -> pl.Schema:
        """Names and types as readers see them: the partition column first."""
        return pl.Schema({self.partition_by: pl.Date(), **self.schema})


_MEANINGS: Final = {
    "customer_id": "who",
    "email": "e-mail address; null when it was none",
    "created_at": "when the account was made",
    "country": "ISO 3166-1 alpha-2; null when unknown",
    "event_id": "one event",
    "event_time": "when it happened",
    "event_date": "UTC date of event_time",
    "event_type": "what happened",
    "event_type_raw": "the text of an event type that is not known",
    "platform": "where it happened",
    "client_session_id": "the client's own session id",
    "duration_ms": "how long it took, in milliseconds",
    "url": "the page",
    "order_id": "one order",
    "order_time": "when it was placed",
    "amount": "magnitude of the original purchase, in `currency`",
    "currency": "ISO 4217 code",
    "status": "state of the customer or order",
}
_WHERE: Final = {
    SOURCE_FILE: Column(TEXT, "file, relative to the raw root"),
    SOURCE_ROW: Column(COUNT, "record in the file, 1 for the first after the header"),
}
_WARNINGS: Final = Column(TEXT, "what was odd and could be kept, joined by `|`; null when nothing was")


def _raw(feed: Feed) -> dict[str, Column]:
    return {
        **{name: Column(TEXT, f"{name}, as it stood in the file") for name in feed.raw_columns},
        EXTRA: Column(TEXT, "unknown columns of the file, as a JSON object"),
        RAW_TEXT: Column(TEXT, "the whole record, when it could not be split into the header's columns"),
        **_WHERE,
        ABSENT_COLUMNS: Column(
            TEXT, "feed columns that the row's file does not have, joined by `|`; null when it has all"
        ),
    }


def _feed_tables(feed: Feed) -> list[Table]:
    clean = {name: Column(dtype, _MEANINGS[name]) for name, dtype in feed.clean.items()}
    return [
        Table(feed.raw, INGEST_DATE, f"every record of every {feed.name} file, as text", _raw(feed)),
        Table(
            feed.clean_table,
            INGEST_DATE,
            f"{feed.name} that can be trusted",
            {**clean, "warnings": _WARNINGS, **_WHERE},
            apart_by=EVENT_DATE if EVENT_DATE in clean else None,
        ),
        Table(
            feed.quarantine,
            INGEST_DATE,
            f"rejected {feed.name} rows, unchanged, with every reason",
            {**_raw(feed), "reject_reason": Column(TEXT, "every reason, joined by `|`, in the contract's order")},
        ),
        Table(
            feed.profile,
            INGEST_DATE,
            f"how many {feed.name} rows of the day went where and why: what reports and metrics count from",
            {
                "kind": Column(
                    TEXT, "rows, reason, warning, null, event_date: clean rows of one, or file_…: rows of one raw file"
                ),
                "name": Column(TEXT, "which rows, reason, warning, column, date or file"),
                "rows": Column(COUNT, "how many rows"),
            },
        ),
    ]


_METRICS: Final = {
    "dataset": Column(TEXT, "customers, events or orders"),
    "metric": Column(TEXT, "what is measured"),
    "dimension": Column(TEXT, "the breakdown's value; null when the metric is no breakdown"),
    "value": Column(pl.Float64(), "the number"),
}
_ALERTS: Final = {
    "rule": Column(TEXT, "which rule fired"),
    "severity": Column(TEXT, "high, medium or low"),
    "dataset": Column(TEXT, "what it speaks of"),
    "message": Column(TEXT, "what happened, in one sentence"),
    "details": Column(TEXT, "the numbers, as a JSON object"),
}

CUSTOMERS_KNOWN: Final = Table(
    "customers_known",
    INGEST_DATE,
    "every customer that any file up to the day has named, with the latest clean attributes",
    {
        "customer_id": Column(TEXT, "who"),
        "first_seen": Column(pl.Date(), "ingest date that named the customer first"),
        "last_seen": Column(pl.Date(), "ingest date that named the customer last"),
        **{
            name: Column(dtype, f"{_MEANINGS[name]}, as of the latest clean row; null when there never was one")
            for name, dtype in FEEDS["customers"].clean.items()
            if name != "customer_id"
        },
    },
)
_PAGE_VIEWS: Final = Column(COUNT, "events that are page views")
_PLATFORMS: Final = Column(pl.List(TEXT), "platforms of its events, sorted, distinct")
_SESSION_ID: Final = Column(TEXT, "the session: customer_id, `-`, its start as epoch microseconds")
_EVENTS_BY_DATE: Final = {
    INGEST_DATE: Column(pl.Date(), "the earliest day that the event landed on"),
    **{name: Column(dtype, _MEANINGS[name]) for name, dtype in FEEDS["events"].clean.items() if name != EVENT_DATE},
    "warnings": _WARNINGS,
    **_WHERE,
    "run": Column(COUNT, "row of session_runs that the event is part of, from 0"),
}
EVENTS_BY_DATE: Final = Table(
    "events_by_date",
    EVENT_DATE,
    "clean events by the day they happened, each once, late ones included",
    _EVENTS_BY_DATE,
)
SESSION_RUNS: Final = Table(
    "session_runs",
    EVENT_DATE,
    "stretches of a customer's events of the day without a gap of the session timeout: what sessions are joined from",
    {
        "customer_id": Column(TEXT, "who"),
        "start_us": Column(COUNT, "its first event, as epoch microseconds"),
        "end_us": Column(COUNT, "its last event, as epoch microseconds"),
        "events": Column(COUNT, "its events"),
        "page_views": _PAGE_VIEWS,
        "platforms": _PLATFORMS,
        "active_us": Column(COUNT, "gaps between its events that count as active time, in microseconds"),
        "is_first": Column(pl.Boolean(), "the customer's first run of the day"),
        "is_last": Column(pl.Boolean(), "the customer's last run of the day"),
    },
)
SESSION_EVENTS: Final = Table(
    "session_events",
    EVENT_DATE,
    "events by the day they happened, each with its session",
    {**_EVENTS_BY_DATE, "session_id": _SESSION_ID},
)
SESSIONS: Final = Table(
    "sessions",
    EVENT_DATE,
    "sessions that start on the day",
    {
        "session_id": _SESSION_ID,
        "customer_id": Column(TEXT, "who"),
        "session_start": Column(MICROS, "its first event"),
        "session_end": Column(MICROS, "its last event, maybe on the next day"),
        "event_count": Column(COUNT, "its events"),
        "page_views": _PAGE_VIEWS,
        "duration_seconds": Column(pl.Float64(), "from first to last event"),
        "platforms": _PLATFORMS,
    },
)
USER_DAILY: Final = Table(
    "user_daily",
    EVENT_DATE,
    "what each customer did on the day",
    {
        "customer_id": Column(TEXT, "who"),
        "page_views": _PAGE_VIEWS,
        "events": Column(COUNT, "events"),
        "sessions": Column(COUNT, "sessions that the day's events are part of"),
        "active_minutes": Column(pl.Float64(), "time between consecutive events of one session, both on the day"),
    },
)
ACTIVITY_METRICS: Final = Table("activity_metrics", EVENT_DATE, "numbers of an event date, one a row", _METRICS)
RESTATEMENTS: Final = Table(
    "restatements",
    EVENT_DATE,
    "what a refresh changed in activity_metrics: why a day's numbers are other than they were",
    {
        "revision": Column(COUNT, "counts the date's restatements from 1; rows of one refresh share it"),
        "restated_at": Column(MICROS, "when"),
        "metric": Column(TEXT, "which number changed"),
        "dimension": Column(TEXT, "the breakdown's value; null when the metric is no breakdown"),
        "before": Column(pl.Float64(), "the number before; null when there was none"),
        "after": Column(pl.Float64(), "the number since; null when there is none any more"),
        "caused_by": Column(pl.List(pl.Date()), "the ingest dates whose clean events came or changed in between"),
        "policy_changed": Column(pl.Boolean(), "whether the policy that sessions are made by changed in between"),
    },
)
ACTIVITY_ALERTS: Final = Table("activity_alerts", EVENT_DATE, "what deserves a look on an event date", _ALERTS)

DAILY_METRICS: Final = Table("daily_metrics", INGEST_DATE, "numbers of an ingest date, one a row", _METRICS)
ALERTS: Final = Table("alerts", INGEST_DATE, "what deserves a look on an ingest date", _ALERTS)


def _by_name(*tables: Table) -> dict[str, Table]:
    return {table.name: table for table in tables}


INGEST_TABLES: Final = _by_name(
    *(table for feed in FEEDS.values() for table in _feed_tables(feed)), CUSTOMERS_KNOWN, DAILY_METRICS, ALERTS
)
ACTIVITY_TABLES: Final = _by_name(
    EVENTS_BY_DATE,
    SESSION_RUNS,
    SESSION_EVENTS,
    SESSIONS,
    USER_DAILY,
    ACTIVITY_METRICS,
    ACTIVITY_ALERTS,
    RESTATEMENTS,
)
TABLES: Final = {**INGEST_TABLES, **ACTIVITY_TABLES}
