"""The one door to raw files: which there are for a day, and each one's records as raw rows (contract §1).

Formats are told apart in `_reader`; everything after this module sees raw rows only.
"""

import gzip
import hashlib
import os
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import IO, Final, cast

import polars as pl

from assets_pkg.contracts.feeds import (
    ABSENT_COLUMNS,
    EXTRA,
    FEEDS,
    RAW_TEXT,
    SOURCE_FILE,
    SOURCE_ROW,
    TEXT,
    Feed,
    raw_name,
)
from assets_pkg.contracts.files import FORMATS
from assets_pkg.contracts.rules import SEPARATOR
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy import FeedPolicy, Policy
from assets_pkg.storage.csv_records import CsvRecords
from assets_pkg.storage.json_records import JsonRecords, json_elements, json_lines
from assets_pkg.storage.parquet_records import ParquetRecords
from assets_pkg.storage.records import ROW, Block, Columns, Reader, Resolve, UnreadableFileError

_NAME: Final = re.compile(rf"^(?P<feed>{'|'.join(FEEDS)})_raw.*?\.(?P<format>{'|'.join(map(re.escape, FORMATS))})$")
_HOUR: Final = re.compile(r"^hour=([01][0-9]|2[0-3])$")
SETTLED_SECONDS: Final = 2.0
_DAY: Final = re.compile(r"^ingest_date=(\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True)
class RawFile:
    """A file of a feed and day. `path` is relative to the raw root, with `/`: the `source_file` of its rows."""

    feed: Feed
    day: date
    path: str
    location: Path
    format: str

    def fingerprint(self) -> "Fingerprint":
        """What the file holds now. Streams. Raises UnreadableFileError."""
        with _explained(self), self.location.open("rb") as stream:
            stamp = _stamp(os.fstat(stream.fileno()))
            digest = hashlib.file_digest(stream, "sha256")
            return Fingerprint(digest.hexdigest(), stream.tell(), stamp)

    def stamp(self) -> str:
        """How the folder entry looks now; empty when it cannot vouch for the bytes. Raises UnreadableFileError."""
        with _explained(self):
            return _stamp(self.location.stat())

    def changed_at(self) -> float:
        """When it was last written to, moved or otherwise touched, in epoch seconds. Raises UnreadableFileError."""
        with _explained(self):
            return _changed_at(self.location.stat(), time.time())

    def still_holds(self, fingerprint: "Fingerprint") -> bool:
        """Whether the bytes are still those of `fingerprint`: they may have changed while they were read."""
        untouched = fingerprint.stamp and self.stamp() == fingerprint.stamp
        return bool(untouched) or self.fingerprint().sha256 == fingerprint.sha256


@dataclass(frozen=True)
class Fingerprint:
    """What a file held: SHA-256 of its bytes, how many there are, and how its folder entry looked then.

    Equal stamps, equal bytes: a stamp has the time of the last change of the inode, which no tool can set back. As
    clocks tick coarsely, one that is younger than SETTLED_SECONDS proves nothing and is left empty.
    """

    sha256: str
    bytes: int
    stamp: str


def _changed_at(entry: os.stat_result, now: float) -> float:
    # A time to come was set by hand or by another clock; when that was done, the folder entry tells.
    return max(entry.st_mtime if entry.st_mtime <= now else 0.0, entry.st_ctime)


def _stamp(entry: os.stat_result) -> str:
    now = time.time()
    if now - _changed_at(entry, now) < SETTLED_SECONDS:
        return ""
    return f"{entry.st_size} {entry.st_mtime_ns} {entry.st_ctime_ns} {entry.st_ino}"


def raw_days(root: Path) -> list[date]:
    """The ingest dates that have a folder under the raw root, in order."""
    days = []
    for folder in root.iterdir():
        match = _DAY.match(folder.name)
        if match and folder.is_dir():
            with suppress(ValueError):  # no such date
                days.append(date.fromisoformat(match.group(1)))
    return sorted(days)


def day_folder(root: Path, day: date) -> Path:
    """Where the files of an ingest date lie."""
    return root / f"ingest_date={day.isoformat()}"


def find_files(root: Path, feed: Feed, day: date) -> list[RawFile]:
    """The feed's files of a day, ordered by path. Links that lead out of the raw root are left out."""
    folder, home = day_folder(root, day), root.resolve()
    if not folder.is_dir():
        return []
    places = [folder, *(place for place in folder.iterdir() if place.is_dir() and _HOUR.match(place.name))]
    files = []
    for location in (item for place in places for item in place.iterdir()):
        match = _NAME.match(location.name)
        if match and match["feed"] == feed.name and location.is_file() and not _leads_out(location, home):
            files.append(RawFile(feed, day, _path(location, root), location, match["format"]))
    return sorted(files, key=lambda file: file.path)


def files_of_day(root: Path, day: date) -> dict[str, RawFile]:
    """All feeds' files of a day, by path."""
    return {file.path: file for feed in FEEDS.values() for file in find_files(root, feed, day)}


def unrecognised_files(root: Path, day: date) -> dict[str, str]:
    """What in a day's folder no feed reads, with what to do about each: odd names, and links out of the raw root."""
    folder, home = day_folder(root, day), root.resolve()
    if not folder.is_dir():
        return {}
    known = {file.location for file in files_of_day(root, day).values()}
    # Of a folder that is such a link nothing is read, and so nothing looked at.
    within = [folder] if _leads_out(folder, home) else folder.rglob("*")
    found = {}
    for item in within:
        if item.name.startswith("."):
            continue
        if _leads_out(item, home):
            found[_path(item, root)] = "it is a link out of the raw folder; put there what it leads to"
        elif item.is_file() and item not in known:
            found[_path(item, root)] = "check its name"
    return dict(sorted(found.items()))


def _leads_out(location: Path, home: Path) -> bool:
    """Whether links lead it out of the raw root; one that leads to itself leads nowhere within it."""
    try:
        return not location.resolve().is_relative_to(home)
    except (OSError, RuntimeError):
        return True


def _path(location: Path, root: Path) -> str:
    """A file's path as tables hold it; what is not UTF-8 in a name is escaped, so that names stay apart."""
    return os.fsencode(location.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


class RawRecords:
    """An open raw file: its columns, and by iteration its records as frames of the raw table's columns.

    Raises UnreadableFileError, on opening or while iterating, for a file that cannot be decoded; frames seen by
    then are to be thrown away.
    """

    def __init__(self, file: RawFile, reader: Reader, resolve: Resolve) -> None:
        self.file = file
        self.rows = 0
        # A file without a header line says nothing about its columns (§9).
        self.columns = Columns({}) if reader.header is None else resolve(reader.header)
        self._blocks = reader.blocks(self.columns)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        while True:
            # What the one who takes our rows does wrong is not the file's fault: only reading is explained.
            with _explained(self.file):
                block = next(self._blocks, None)
            if block is None:
                return
            frame = self._raw_rows(block)
            self.rows += frame.height
            yield frame

    def _raw_rows(self, block: Block) -> pl.DataFrame:
        schema, row = TABLES[self.file.feed.raw].schema, pl.col(ROW)
        present = {
            raw_name(column): pl.col(str(self.columns.positions[column]))
            for column in self.file.feed.columns
            if column in self.columns.positions
        }
        own = (present.get(name, pl.lit(None, TEXT)).alias(name) for name in self.file.feed.raw_columns)
        extra = pl.col(EXTRA) if EXTRA in block.columns.columns else _extra(self.columns.unknown)
        rows = block.columns.lazy().select(
            *own, extra.alias(EXTRA), pl.lit(None, TEXT).alias(RAW_TEXT), row.alias(SOURCE_ROW)
        )
        if block.malformed:
            numbers, texts = zip(*block.malformed, strict=True)
            bad = pl.LazyFrame({RAW_TEXT: texts, SOURCE_ROW: numbers}, schema={RAW_TEXT: TEXT, SOURCE_ROW: pl.Int64})
            rows = pl.concat([rows, bad], how="diagonal")  # not in order: sorting them in would cost more than reading
        absent = SEPARATOR.join(self.columns.absent) or None
        # One lazy plan: eager calls on a frame of many chunks copy all of it, each time.
        return (
            rows.select(
                *(name for name in schema if name not in (SOURCE_FILE, ABSENT_COLUMNS)),
                pl.lit(self.file.path).alias(SOURCE_FILE),
                pl.lit(absent, TEXT).alias(ABSENT_COLUMNS),
            )
            .select(list(schema))
            .collect(engine="in-memory")
        )


def resolve_columns(header: Sequence[str], columns: Sequence[str], policy: FeedPolicy) -> Columns:
    """Which header position feeds which contract column (§1, §9).

    Of several headers that mean one column its own name wins, then the aliases in policy order, then the
    leftmost; the others are unknown columns. An unknown name that repeats gets `_2`, `_3` …: nothing is lost.
    """
    trimmed = pl.Series(header, dtype=TEXT).str.strip_chars().str.strip_chars("\ufeff").str.strip_chars()
    names = trimmed.str.to_lowercase().to_list()
    positions: dict[str, int] = {}
    for column in columns:
        for spelling in (column, *policy.aliases.get(column, ())):
            if spelling in names:
                positions[column] = names.index(spelling)
                break
    unknown: dict[str, int] = {}
    numbers: dict[str, int] = {}
    taken = set(positions.values())
    for position, name in enumerate(names):
        if position not in taken:
            free = name
            while free in unknown:
                numbers[name] = numbers.get(name, 1) + 1
                free = f"{name}_{numbers[name]}"
            unknown[free] = position
    return Columns(positions, unknown, tuple(column for column in columns if column not in positions))


def _extra(unknown: dict[str, int]) -> pl.Expr:
    if not unknown:
        return pl.lit(None, TEXT)
    return pl.struct(pl.col(str(unknown[name])).alias(name) for name in sorted(unknown)).struct.json_encode()


@contextmanager
def open_raw_file(file: RawFile, policy: Policy, *, whole_header: bool = False) -> Iterator[RawRecords]:
    """Open a raw file and read its header. Raises UnreadableFileError with a message for people.

    A JSON file may turn out, while it is read, to have keys that change what its columns mean: then HeaderGrewError
    is raised, and the file is to be opened again with `whole_header`, which looks for all its keys first.
    """
    resolve = partial(resolve_columns, columns=file.feed.columns, policy=file.feed.policy(policy))
    with ExitStack() as opened:
        with _explained(file):
            stream = opened.enter_context(_opened(file))
            records = RawRecords(file, _reader(file, stream, policy, resolve, whole_header=whole_header), resolve)
        yield records


def _reader(file: RawFile, stream: IO[bytes], policy: Policy, resolve: Resolve, *, whole_header: bool) -> Reader:
    longest = policy.reading.max_line_bytes
    match file.format.removesuffix(".gz"):
        case "csv":
            return CsvRecords(stream, open_quote_lines=policy.reading.open_quote_lines, max_line_bytes=longest)
        case "jsonl" | "ndjson":
            lines = partial(json_lines, stream, max_line_bytes=longest)
            return JsonRecords(lines, resolve, whole_header=whole_header)
        case "json":
            elements = partial(json_elements, stream, max_element_bytes=longest)
            return JsonRecords(elements, resolve, whole_header=whole_header)
        case _:
            return ParquetRecords(file.location)


@contextmanager
def _explained(file: RawFile) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFileError(f"no valid gzip file ({error}); ask for it again") from error
    except EOFError as error:
        raise UnreadableFileError("the gzip file ends too early; the transfer was cut off, ask for it again") from error
    except PermissionError as error:
        raise UnreadableFileError(f"cannot be opened: permission denied; make {file.path} readable") from error
    except FileNotFoundError as error:
        raise UnreadableFileError("vanished while the day was read; run the day again") from error
    except OSError as error:
        raise UnreadableFileError(
            f"cannot be read from its disk ({error.strerror or error}); run the day again"
        ) from error


def _opened(file: RawFile) -> IO[bytes]:
    if not file.format.endswith(".gz"):
        return file.location.open("rb", buffering=0)
    if file.location.stat().st_size == 0:
        raise UnreadableFileError("the gzip file is empty (0 bytes); ask for it again")
    return cast("IO[bytes]", gzip.open(file.location, "rb"))
