"""Tables as single files that are there whole or not at all: CSV, JSON or Parquet, written in pieces (contract §8)."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from assets_pkg.contracts.feeds import MICROS, TEXT

_PART: Final = 16 * 2**20  # bytes of rows that are written at once


class Format(StrEnum):
    """What a table is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


class UnwritableFileError(ValueError):
    """A file that cannot be written; the message says why and what to do."""


class TableFile(Protocol):
    """A table that is being written."""

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows, which have the table's columns."""

    def finish(self) -> None:
        """Have all of it in the file."""

    def let_go(self) -> None:
        """Hold nothing open, and leave nothing but the file, finished or not."""


class _Text:
    """A file of text; times are ISO 8601."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")

    def finish(self) -> None:
        self._stream.close()

    def let_go(self) -> None:
        with suppress(OSError):  # what could not be written was said
            self._stream.close()


class _Csv(_Text):
    """Null and the empty text are both nothing."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        super().__init__(path)
        self._stream.write(pl.DataFrame(schema=schema).write_csv().encode())

    def write(self, rows: pl.DataFrame) -> None:
        # An empty text would be written as two quotes.
        texts = _with_iso_times(rows).with_columns(pl.col(TEXT).replace("", None))
        self._stream.write(texts.write_csv(include_header=False).encode())


class _Json(_Text):
    """One array, an object on each line."""

    def __init__(self, path: Path, _schema: pl.Schema) -> None:
        super().__init__(path)
        self._stream.write(b"[")
        self._before = b"\n"

    def write(self, rows: pl.DataFrame) -> None:
        if rows.height:
            lines = _with_iso_times(rows).write_ndjson().encode().removesuffix(b"\n")
            self._stream.write(self._before + lines.replace(b"\n", b",\n"))
            self._before = b",\n"

    def finish(self) -> None:
        self._stream.write(b"\n]\n")
        super().finish()


class _Parquet:
    """Columns as typed as they come. Parts lie in a folder beside until the file is put together."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self._path = path
        self._parts = path.with_name(f"{path.name}.parts")
        self._parts.mkdir()
        self._count = 0
        self._waiting = [pl.DataFrame(schema=schema)]
        self._part()

    def write(self, rows: pl.DataFrame) -> None:
        self._waiting.append(rows)
        if sum(each.estimated_size() for each in self._waiting) >= _PART:
            self._part()

    def finish(self) -> None:
        self._part()
        pl.scan_parquet(self._parts).sink_parquet(self._path)

    def let_go(self) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)

    def _part(self) -> None:
        if self._waiting:
            pl.concat(self._waiting).write_parquet(self._parts / f"{self._count:09}.parquet")
            self._count += 1
            self._waiting = []


_KINDS: Final[dict[Format, Callable[[Path, pl.Schema], TableFile]]] = {
    Format.CSV: _Csv,
    Format.PARQUET: _Parquet,
    Format.JSON: _Json,
}


class WholeFiles:
    """Files that take their places together, once all are finished."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._made: list[tuple[Path, Path, TableFile]] = []

    def new(self, target: Path, schema: pl.Schema) -> TableFile:
        """Begin a file in place of `target`. Raises UnwritableFileError."""
        place = target.resolve()  # what a link leads to is replaced, not the link
        if place.exists() and not place.is_file():
            raise UnwritableFileError(f"{target} is no ordinary file, and would be replaced. Give another path.")
        if not place.parent.is_dir():
            raise UnwritableFileError(f"There is no folder {place.parent}. Make it, or give another path.")
        unfinished = place.with_name(f".{place.name}.{os.getpid()}.new")
        try:
            file = _KINDS[self._form](unfinished, schema)
        except OSError as error:
            raise UnwritableFileError(f"{target} cannot be written: {error.strerror}. Give another path.") from error
        self._made.append((unfinished, place, file))
        return file

    def finish(self) -> None:
        """Put all files in their places."""
        for _, _, file in self._made:
            file.finish()
        for unfinished, place, _ in self._made:
            unfinished.replace(place)

    def clean_up(self) -> None:
        """Remove what was not finished."""
        for unfinished, _, file in self._made:
            file.let_go()
            unfinished.unlink(missing_ok=True)


@contextmanager
def whole_files(form: Format) -> Iterator[WholeFiles]:
    """Files in one format: all are put in their places at the end, or none is when something fails."""
    files = WholeFiles(form)
    try:
        yield files
        files.finish()
    finally:
        files.clean_up()


def _with_iso_times(rows: pl.DataFrame) -> pl.DataFrame:
    """Times as `2024-07-10T10:00:00Z`, with a fraction only if there is one."""
    return rows.with_columns(_iso(name) for name, dtype in rows.schema.items() if dtype == MICROS)


def _iso(name: str) -> pl.Expr:
    time = pl.col(name)
    fraction = time.dt.strftime(".%6f").str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.concat_str(time.dt.strftime("%Y-%m-%dT%H:%M:%S"), fraction, pl.lit("Z")).alias(name)
