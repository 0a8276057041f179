"""The columns each feed can have, in the contract's order (§1). Nothing else names them as a list.

A policy chooses which of them are required; a column that is not here ends up in `extra`.
"""

from typing import Final

INGEST_DATE: Final = "ingest_date"

FEED_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("customer_id", "email", "created_at", "country", "status", INGEST_DATE),
    "events": (
        "event_id",
        "customer_id",
        "event_time",
        "event_type",
        "platform",
        "session_id",
        "duration_ms",
        "url",
        INGEST_DATE,
    ),
    "orders": ("order_id", "customer_id", "order_time", "amount", "currency", "status", INGEST_DATE),
}

# Without these a row can be neither addressed, nor placed in time, nor given to a customer.
ESSENTIAL_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("customer_id", "created_at"),
    "events": ("event_id", "customer_id", "event_time"),
    "orders": ("order_id", "customer_id", "order_time"),
}
