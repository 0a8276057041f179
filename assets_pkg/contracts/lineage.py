"""Which columns a column's values are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, Feed
from assets_pkg.contracts.tables import (
    CUSTOMERS_KNOWN,
    EVENT_DATE,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
    TABLES,
    USER_DAILY,
)


@dataclass(frozen=True, order=True)
class Source:
    """A column of another table."""

    table: str
    column: str

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.table}.{self.column}"


# Clean columns that are not made from the raw column of their name.
_RENAMED: Final = {
    EVENTS.name: {EVENT_DATE: "event_time", "event_type_raw": "event_type", "client_session_id": "session_id"}
}
_SESSION_ID: Final = ("customer_id", "start_us")  # what it is a digest of, and what tells one session from another


@cache
def sources_of(table: str) -> Mapping[str, tuple[Source, ...]]:
    """By column of a table: what it is made from. Columns are left out that count, judge or say where a row stood.

    Raises KeyError for a table that is none of ours.
    """
    return {column: found for column in TABLES[table].columns if (found := _SOURCES.get(table, {}).get(column))}


def _same(table: str, source: str) -> dict[str, tuple[Source, ...]]:
    """Columns that the source has by the same name."""
    shared = TABLES[table].columns.keys() & TABLES[source].columns.keys()
    return {column: (Source(source, column),) for column in shared}


def _from(source: str, columns: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Source, ...]]:
    return {column: tuple(Source(source, name) for name in names) for column, names in columns.items()}


def _of_feed(feed: Feed) -> dict[str, Mapping[str, tuple[Source, ...]]]:
    renamed = {column: (name,) for column, name in _RENAMED.get(feed.name, {}).items()}
    return {
        feed.clean_table: {**_same(feed.clean_table, feed.raw), **_from(feed.raw, renamed)},
        feed.quarantine: _same(feed.quarantine, feed.raw),
    }


_SOURCES: Final[Mapping[str, Mapping[str, tuple[Source, ...]]]] = {
    **{table: columns for feed in FEEDS.values() for table, columns in _of_feed(feed).items()},
    CUSTOMERS_KNOWN.name: {
        **_same(CUSTOMERS_KNOWN.name, CUSTOMERS.clean_table),
        # Also customers whose every row was rejected are known.
        **_from(CUSTOMERS.raw, {"customer_id": ("customer_id",)}),
    },
    EVENTS_BY_DATE.name: {
        **_same(EVENTS_BY_DATE.name, EVENTS.clean_table),
        **_from(EVENTS.clean_table, {"run": ("customer_id", "event_time")}),
    },
    SESSION_RUNS.name: _from(
        EVENTS.clean_table,
        {
            "customer_id": ("customer_id",),
            "start_us": ("event_time",),
            "end_us": ("event_time",),
            "events": ("event_id",),
            "page_views": ("event_type",),
            "platforms": ("platform",),
            "active_us": ("event_time",),
        },
    ),
    SESSION_EVENTS.name: {
        **_same(SESSION_EVENTS.name, EVENTS_BY_DATE.name),
        **_from(SESSION_RUNS.name, {"session_id": _SESSION_ID}),
    },
    SESSIONS.name: _from(
        SESSION_RUNS.name,
        {
            "session_id": _SESSION_ID,
            "customer_id": ("customer_id",),
            "session_start": ("start_us",),
            "session_end": ("end_us",),
            "event_count": ("events",),
            "page_views": ("page_views",),
            "duration_seconds": ("start_us", "end_us"),
            "platforms": ("platforms",),
        },
    ),
    USER_DAILY.name: _from(
        SESSION_RUNS.name,
        {
            "customer_id": ("customer_id",),
            "page_views": ("page_views",),
            "events": ("events",),
            "sessions": _SESSION_ID,
            "active_minutes": ("active_us",),
        },
    ),
}
