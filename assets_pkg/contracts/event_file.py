"""One file of events without a data folder: what it brings, why an event is skipped, what is written (contract §8)."""

from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import MICROS, TEXT
from assets_pkg.contracts.tables import COUNT

USER_ID: Final = "user_id"
EVENT_TIME: Final = "event_time"
EVENT_TYPE: Final = "event_type"
FIELDS: Final = (USER_ID, EVENT_TIME, EVENT_TYPE)
EVENT: Final = "event"
"""The 1-based position of an event in its file; what could not be read counts as one event."""
REASON: Final = "reason"

INVALID_JSON: Final = "invalid JSON"
INVALID_CSV: Final = "invalid CSV"
INVALID_TIME: Final = "invalid ISO-8601"


def missing_field(name: str) -> str:
    """The reason of an event without a value for a field."""
    return f"missing field: {name}"


SESSIONS_FILE: Final = pl.Schema({USER_ID: TEXT, "session_start": MICROS, "session_end": MICROS, "event_count": COUNT})
SKIPPED_FILE: Final = pl.Schema({EVENT: COUNT, REASON: TEXT, **dict.fromkeys(FIELDS, TEXT)})
EVENTS_FILE: Final = pl.Schema({USER_ID: TEXT, EVENT_TIME: MICROS, EVENT_TYPE: TEXT})
"""The events that count, each once."""
AS_READ: Final = pl.Schema({EVENT: COUNT, **dict.fromkeys(FIELDS, TEXT)})
"""Every event that could be read, as it came."""
