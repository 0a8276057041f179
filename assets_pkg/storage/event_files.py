"""A file of events, read without a data folder: JSON in any layout, broken or not, or CSV (contract §8)."""

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from assets_pkg.contracts.event_file import EVENT, FIELDS, INVALID_CSV, INVALID_JSON, SKIPPED_FILE
from assets_pkg.policy import FeedPolicy, Policy
from assets_pkg.storage.csv_records import CsvRecords
from assets_pkg.storage.json_pieces import JsonPieces
from assets_pkg.storage.json_records import JsonRecords
from assets_pkg.storage.lines import BOM
from assets_pkg.storage.raw_files import resolve_columns
from assets_pkg.storage.records import ROW, Block, Columns, UnreadableFileError

_HEAD: Final = 2**16
_FIRST: Final = 8  # bytes: packed files are known by their first ones
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_HEADERS: Final = FeedPolicy(required=FIELDS)
_POSITIONS: Final = {name: position for position, name in enumerate(FIELDS)}
_ALL_KEYS: Final = msgspec.json.encode(dict.fromkeys(FIELDS))


@dataclass(frozen=True)
class Broken:
    """What could not be read: which event of its file it counts as, the line if that is known, and how it begins."""

    event: int
    line: int | None
    text: str


@dataclass(frozen=True)
class Events:
    """Some events of a file. `rows`: event, and the FIELDS as text, in no order; null where there is none."""

    rows: pl.DataFrame
    broken: list[Broken]


class JsonEvents:
    """The events of JSON text. Keys are the FIELDS' own names, exactly; other keys are left alone."""

    fault: Final = INVALID_JSON

    def __init__(self, stream: BufferedReader, policy: Policy) -> None:
        self._pieces = JsonPieces(stream, max_piece_bytes=policy.reading.max_line_bytes)
        self._columns = Columns(_POSITIONS)
        self._records = JsonRecords(self._sources, lambda _: Columns(_POSITIONS))

    def __iter__(self) -> Iterator[Events]:
        for block in self._records.blocks(self._columns):
            # The first record is none of the file's.
            rows = _with_fields(block, _POSITIONS).with_columns(pl.col(EVENT) - 1).filter(pl.col(EVENT) > 0)
            malformed = ((row - 1, text) for row, text in block.malformed)
            yield Events(rows, [Broken(event, self._pieces.lines.get(event), text) for event, text in malformed])

    def _sources(self) -> Iterator[list[bytes]]:
        """The pieces, and before them an object with all FIELDS: no later key can then change what feeds a column."""
        batches = iter(self._pieces)
        yield [_ALL_KEYS, *next(batches, [])]
        yield from batches


class CsvEvents:
    """The events of CSV; header names are trimmed and lower-cased. A field without a column has no value."""

    fault: Final = INVALID_CSV

    def __init__(self, stream: BufferedReader, policy: Policy) -> None:
        reading = policy.reading
        self._records = CsvRecords(
            stream, open_quote_lines=reading.open_quote_lines, max_line_bytes=reading.max_line_bytes
        )
        self._positions = resolve_columns(self._records.header or (), FIELDS, _HEADERS).positions

    def __iter__(self) -> Iterator[Events]:
        for block in self._records:
            broken = [Broken(event, None, text) for event, text in block.malformed]
            yield Events(_with_fields(block, self._positions), broken)


def _with_fields(block: Block, positions: dict[str, int]) -> pl.DataFrame:
    fields = (
        (pl.col(str(positions[name])) if name in positions else pl.lit(None, SKIPPED_FILE[name])).alias(name)
        for name in FIELDS
    )
    return block.columns.select(pl.col(ROW).alias(EVENT), *fields)


@contextmanager
def open_events(path: Path, policy: Policy) -> Iterator[JsonEvents | CsvEvents]:
    """The events of a file. Raises UnreadableFileError, also while iterating, with a message for people.

    What the file holds is told by its content: JSON begins with a bracket, CSV with a header that names a field.
    """
    with _opened(path) as stream:
        head = stream.peek(_HEAD)[:_HEAD]
        _refuse_what_is_no_text(path, head)
        try:
            yield CsvEvents(stream, policy) if _is_csv(path, head) else JsonEvents(stream, policy)
        except UnreadableFileError as error:
            raise UnreadableFileError(f"{path} cannot be read: {error}.") from error


def _opened(path: Path) -> BufferedReader:
    try:
        return BufferedReader(path.open("rb", buffering=0), 2**20)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"There is no file {path}. Check --input.") from error
    except IsADirectoryError as error:
        raise UnreadableFileError(f"{path} is a folder. Give one file of events with --input.") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{path} cannot be opened: permission denied. Make it readable.") from error
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}.") from error


def _refuse_what_is_no_text(path: Path, head: bytes) -> None:
    text = head.removeprefix(BOM)
    if not text.strip() and len(head) < _HEAD:
        raise UnreadableFileError(f"{path} is empty: there is no event in it. Ask for it again.")
    first = text[:_FIRST]
    decoded = codecs.getincrementaldecoder("utf-8")("replace").decode(first)  # the last character may be cut
    if b"\0" in text or _CONTROL.search(first) or "\ufffd" in decoded:
        raise UnreadableFileError(
            f"{path} is no text in UTF-8: it is packed, or in another encoding. Unpack it (gunzip, unzip) or convert "
            "it (iconv), and try again."
        )


def _is_csv(path: Path, head: bytes) -> bool:
    text = head.removeprefix(BOM).lstrip()
    if text.startswith((b"{", b"[")):
        return False
    header = re.split(rb"[\r\n]", text, maxsplit=1)[0].decode("utf-8", "replace").replace('"', "").split(",")
    return path.suffix.lower() == ".csv" or bool(resolve_columns(header, FIELDS, _HEADERS).positions)
