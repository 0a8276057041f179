"""Parquet to records: every typed value as the text that the contract gives it (contract §1, §9).

The file is read slice by slice: a writer may have put millions of rows into one row group, which polars would
otherwise hold as a whole.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import EXTRA, TEXT
from assets_pkg.storage.records import ROW, Block, Columns, UnreadableFileError, json_object

# pandas writes timestamps with an offset in a zone like +05:30, in which polars otherwise refuses the whole file.
os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")

_FIRST_SLICE: Final = 1_000  # rows; how large they are is not known yet
_SLICE: Final = 100_000  # rows
_SLICE_BYTES: Final = 32 * 2**20
_TIMESTAMP: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
_TIME: Final = "%H:%M:%S%.6f"


class ParquetRecords:
    """The columns of a parquet file and its rows in blocks. Raises UnreadableFileError, also while iterating."""

    def __init__(self, location: Path) -> None:
        if location.stat().st_size == 0:
            raise UnreadableFileError("the parquet file is empty (0 bytes); ask for it again")
        with _explained():
            self._scan = pl.scan_parquet(location, glob=False, hive_partitioning=False)
            self._schema = self._scan.collect_schema()
            self._rows = int(self._scan.select(pl.len()).collect().item())
        self.header: list[str] | None = list(self._schema)

    def blocks(self, columns: Columns) -> Iterator[Block]:
        """All records, once."""
        done, size = 0, _FIRST_SLICE
        while done < self._rows:
            with _explained():
                rows = self._scan.slice(done, size).collect()
                texts = self._texts(rows, columns, done)
            if not rows.height:
                raise UnreadableFileError(f"the parquet file says {self._rows} rows and has {done}; ask for it again")
            yield Block(texts)
            done += rows.height
            fitting = _SLICE_BYTES * rows.height // max(1, int(rows.estimated_size()))
            size = max(1, min(fitting, 8 * size, _SLICE))

    def _texts(self, rows: pl.DataFrame, columns: Columns, done: int) -> pl.DataFrame:
        texts = rows.select(
            _text(pl.col(name), dtype).alias(str(position))
            for position, (name, dtype) in enumerate(self._schema.items())
        )
        return texts.select(
            *(str(position) for position in columns.positions.values()),
            json_object({name: texts[str(position)] for name, position in columns.unknown.items()}).alias(EXTRA),
            pl.int_range(done + 1, done + 1 + pl.len(), dtype=pl.Int64).alias(ROW),
        )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError) as error:
        why = str(error).strip().split("\n")[0]
        raise UnreadableFileError(
            f"cannot be read as Parquet ({why}): it is damaged, or holds a value or type beyond what is read; "
            "ask for it again, or as CSV"
        ) from error


# -- values to text ------------------------------------------------------------------------------------


def _text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The text of a column's values; null for null."""
    match dtype:
        case pl.Datetime():
            text = _utc(value, dtype).dt.strftime(_TIMESTAMP)
        case pl.Time():
            text = value.dt.strftime(_TIME)
        case pl.Duration():
            text = value.dt.to_string("iso")
        case pl.Decimal() if dtype.scale:
            text = value.cast(TEXT).str.strip_chars_end("0").str.strip_suffix(".")
        case pl.Binary():
            text = value.map_batches(_utf8, return_dtype=TEXT)
        case _ if dtype.is_float():
            text = _plain(value.cast(TEXT).str.strip_suffix(".0"))
        case pl.Map():  # as a list: its keys need be neither text nor distinct
            text = value.map.entries().map_batches(_json, return_dtype=TEXT)
        case _ if dtype.is_nested():
            text = value.map_batches(_json, return_dtype=TEXT)
        case _:
            text = value.cast(TEXT)
    return text


def _utc(value: pl.Expr, dtype: pl.Datetime) -> pl.Expr:
    """The instant with microseconds; what has no zone is UTC."""
    if dtype.time_zone is not None:  # cast, for convert_time_zone knows no zones like +05:30
        value = value.cast(pl.Datetime(dtype.time_unit, "UTC"))
    return value.dt.cast_time_unit("us")


def _plain(text: pl.Expr) -> pl.Expr:
    """Numbers without an exponent; few have one."""
    in_digits = text.map_batches(_without_exponent, return_dtype=TEXT)
    return pl.when(text.str.contains("e", literal=True)).then(in_digits).otherwise(text)


def _without_exponent(texts: pl.Series) -> pl.Series:
    return _each(texts, lambda text: format(Decimal(text), "f") if "e" in text else text)


def _utf8(values: pl.Series) -> pl.Series:
    try:
        return values.cast(TEXT)
    except pl.exceptions.PolarsError:
        return _each(values, lambda value: value.decode("utf-8", "replace"))


def _json(values: pl.Series) -> pl.Series:
    return _each(values, _json_text)


def _each(values: pl.Series, text: Callable[[Any], str]) -> pl.Series:
    return pl.Series([None if value is None else text(value) for value in values.to_list()], dtype=TEXT)


def _json_text(value: Any) -> str:
    """A nested value, or one within it; what JSON has no type for is the text that it has in a column of its own."""
    match value:
        case None:
            return "null"
        case list() | tuple():
            return "[" + ",".join(map(_json_text, value)) + "]"
        case dict():
            return (
                "{" + ",".join(f"{_json_text(str(name))}:{_json_text(member)}" for name, member in value.items()) + "}"
            )
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return _json_text(value.decode("utf-8", "replace"))
    alone = pl.Series("value", [value])
    text = str(alone.to_frame().select(_text(pl.col("value"), alone.dtype)).item())
    return text if isinstance(value, int | float | Decimal) else _json_text(text)
