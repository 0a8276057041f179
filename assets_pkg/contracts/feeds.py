"""The three feeds: their raw columns and what those become in the clean tables (contract §1, §7)."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from assets_pkg.policy import FeedPolicy, Policy
from assets_pkg.policy.columns import FEED_COLUMNS, INGEST_DATE

MICROS: Final = pl.Datetime("us", "UTC")
AMOUNT: Final = pl.Decimal(18, 4)
TEXT: Final = pl.String()

# Columns every raw row has besides its feed's own.
SOURCE_FILE: Final = "source_file"
SOURCE_ROW: Final = "source_row"
ADDRESS: Final = (SOURCE_FILE, SOURCE_ROW)
EXTRA: Final = "extra"
RAW_TEXT: Final = "raw_text"
ABSENT_COLUMNS: Final = "absent_columns"
UNKNOWN: Final = "unknown"


def raw_name(column: str) -> str:
    """The raw table's name of a feed column: the file's own `ingest_date` must not hide the partition's."""
    return "ingest_date_raw" if column == INGEST_DATE else column


@dataclass(frozen=True)
class CategoryColumn:
    """A column whose values are names: the policy's `category`, and whether other texts become `unknown` or null."""

    category: str
    or_unknown: bool = False
    camel_case: bool = False


@dataclass(frozen=True)
class Feed:
    """One feed: raw contract columns in order, and the clean table's columns that come from them.

    `clean` maps clean column -> type; `categories` tells those that hold names. `canonical`
    are the clean columns that count in "most non-null" when duplicates compete (§9).
    """

    name: str
    id: str
    time: str
    clean: dict[str, pl.DataType]
    canonical: tuple[str, ...]
    categories: dict[str, CategoryColumn]

    @property
    def columns(self) -> tuple[str, ...]:
        """The feed's contract columns, by their names in files."""
        return FEED_COLUMNS[self.name]

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """The feed's contract columns, by their names in the raw table."""
        return tuple(raw_name(column) for column in self.columns)

    @property
    def raw(self) -> str:
        """Name of the raw table."""
        return f"raw_{self.name}"

    @property
    def clean_table(self) -> str:
        """Name of the clean table."""
        return f"{self.name}_clean"

    @property
    def quarantine(self) -> str:
        """Name of the table of rejected rows."""
        return f"{self.name}_quarantine"

    @property
    def profile(self) -> str:
        """Name of the table of row counts."""
        return f"{self.name}_profile"

    def policy(self, policy: Policy) -> FeedPolicy:
        """This feed's part of a policy."""
        part: FeedPolicy = getattr(policy.feeds, self.name)
        return part

    def required(self, policy: Policy) -> tuple[str, ...]:
        """The columns that a file must have, in the feed's column order."""
        wanted = self.policy(policy).required
        return tuple(column for column in self.columns if column in wanted)


CUSTOMERS: Final = Feed(
    name="customers",
    id="customer_id",
    time="created_at",
    clean={"customer_id": TEXT, "email": TEXT, "created_at": MICROS, "country": TEXT, "status": TEXT},
    canonical=("customer_id", "email", "created_at", "country", "status"),
    categories={"country": CategoryColumn("country"), "status": CategoryColumn("customer_status", or_unknown=True)},
)
EVENTS: Final = Feed(
    name="events",
    id="event_id",
    time="event_time",
    clean={
        "event_id": TEXT,
        "customer_id": TEXT,
        "event_time": MICROS,
        "event_date": pl.Date(),
        "event_type": TEXT,
        "event_type_raw": TEXT,
        "platform": TEXT,
        "client_session_id": TEXT,
        "duration_ms": pl.Int64(),
        "url": TEXT,
    },
    canonical=(
        "event_id",
        "customer_id",
        "event_time",
        "event_type",
        "platform",
        "client_session_id",
        "duration_ms",
        "url",
    ),
    categories={
        "event_type": CategoryColumn("event_type", or_unknown=True, camel_case=True),
        "platform": CategoryColumn("platform", or_unknown=True),
    },
)
ORDERS: Final = Feed(
    name="orders",
    id="order_id",
    time="order_time",
    clean={
        "order_id": TEXT,
        "customer_id": TEXT,
        "order_time": MICROS,
        "amount": AMOUNT,
        "currency": TEXT,
        "status": TEXT,
    },
    canonical=("order_id", "customer_id", "order_time", "amount", "currency", "status"),
    categories={"currency": CategoryColumn("currency"), "status": CategoryColumn("order_status")},
)

FEEDS: Final[dict[str, Feed]] = {feed.name: feed for feed in (CUSTOMERS, EVENTS, ORDERS)}
