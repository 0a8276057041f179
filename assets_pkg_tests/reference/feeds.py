"""The three feeds: their columns, and how a day's files become raw rows and facts about files."""

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from .csv_records import Columns, Record, UnreadableFileError, read_records, resolve_columns
from .json_records import read_json, read_json_lines
from .parquet_records import read_parquet

Files = dict[str, bytes]
"""The raw files of one day, from the path below the raw root to the content."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Feed:
    """What the default policy says of one feed."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]
    id_column: str
    time_column: str

    @property
    def raw_columns(self) -> dict[str, str]:
        """Map every contract column to its name in the raw table, where ingest_date is the partition."""
        names = self.required + self.optional
        return {name: "ingest_date_raw" if name == "ingest_date" else name for name in names}


FEEDS = {
    feed.name: feed
    for feed in (
        Feed(
            name="customers",
            required=("customer_id", "email", "created_at", "country", "status"),
            optional=("ingest_date",),
            aliases={"customer_id": ("user_id",)},
            id_column="customer_id",
            time_column="created_at",
        ),
        Feed(
            name="events",
            required=(
                "event_id",
                "customer_id",
                "event_time",
                "event_type",
                "platform",
                "session_id",
                "duration_ms",
            ),
            optional=("url", "ingest_date"),
            aliases={"customer_id": ("user_id",), "event_time": ("ts", "timestamp")},
            id_column="event_id",
            time_column="event_time",
        ),
        Feed(
            name="orders",
            required=("order_id", "customer_id", "order_time", "amount", "currency", "status"),
            optional=("ingest_date",),
            aliases={"customer_id": ("user_id",), "order_time": ("ts", "timestamp")},
            id_column="order_id",
            time_column="order_time",
        ),
    )
}

_PATH = re.compile(
    r"ingest_date=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/(?:hour=[0-9]{2}/)?"
    r"(?P<feed>customers|events|orders)_raw[^/]*?\.(?P<kind>(?:csv|jsonl|ndjson)(?:\.gz)?|json|parquet)"
)


@dataclass
class RawRow:
    """A row of the raw table, and the required columns that its file lacks."""

    row: Row
    missing_columns: list[str]

    @property
    def malformed(self) -> bool:
        """Tell whether this record could not be told apart into fields: only such a row keeps its text."""
        return self.row["raw_text"] is not None


@dataclass
class RawFeed:
    """One feed's raw rows of one day, in file and record order, and what its files were like."""

    rows: list[RawRow] = field(default_factory=list)
    failed_files: list[str] = field(default_factory=list)
    drifted_files: list[str] = field(default_factory=list)


def path_parts(path: str) -> tuple[str, date]:
    """Give the feed and the ingest date of a feed's file."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no feed's file")
    return found["feed"], date.fromisoformat(found["day"])


def read_feed(feed: Feed, files: Files) -> RawFeed:
    """Read every file of one feed."""
    raw = RawFeed()
    for path in sorted(files):
        found = _PATH.fullmatch(path)
        if found is None or found["feed"] != feed.name:
            continue
        try:
            header, records = _read_file(files[path], found["kind"])
        except UnreadableFileError:
            raw.failed_files.append(path)
            continue
        # Where there is no header there is nothing to say about columns; what records there are, are malformed.
        columns = Columns({}, [], {})
        if header is not None:
            columns = resolve_columns(header, feed.required, feed.optional, feed.aliases)
        if columns.missing or columns.unknown:
            raw.drifted_files.append(path)
        raw.rows.extend(RawRow(_raw_row(feed, path, record, columns), columns.missing) for record in records)
    return raw


def _read_file(data: bytes, kind: str) -> tuple[list[str] | None, list[Record]]:
    """Give one file's header, or None where it has none, and its records."""
    if kind == "parquet":
        return read_parquet(data)
    if kind == "json":
        return read_json(data)
    text = _decompress(data) if kind.endswith(".gz") else data
    return read_records(text) if kind.startswith("csv") else read_json_lines(text)


def _decompress(data: bytes) -> bytes:
    """Unpack a gzip file; none of it counts if any of it is damaged."""
    if not data:
        raise UnreadableFileError("an empty file is no gzip file")
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(str(error)) from error


def _raw_row(feed: Feed, path: str, record: Record, columns: Columns) -> Row:
    """Give the row of the raw table: every field as its text, unknown columns as JSON text in `extra`."""
    texts: dict[str, str | None] = {}
    extra = None
    if record.fields is not None:
        texts = {column: record.fields[position] for column, position in columns.positions.items()}
        values = {name: record.fields[position] for name, position in columns.unknown.items()}
        unknown = {name: text for name, text in values.items() if text is not None}
        extra = json.dumps(unknown, ensure_ascii=False, sort_keys=True) if unknown else None
    return {
        **{raw_name: texts.get(column) for column, raw_name in feed.raw_columns.items()},
        "extra": extra,
        "raw_text": record.raw_text,
        "source_file": path,
        "source_row": record.row,
    }
