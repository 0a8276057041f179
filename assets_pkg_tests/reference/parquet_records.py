"""From the bytes of a Parquet file to addressed records: pyarrow reads it, every typed value becomes text here."""

import io
import json
import math
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .csv_records import Record, UnreadableFileError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_FLOAT_FORMATS = {16: "<e", 32: "<f", 64: "<d"}


def read_parquet(data: bytes) -> tuple[list[str], list[Record]]:
    """Give the columns as named in the file and every row, in order."""
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFileError(f"no Parquet: {error}") from error
    records = [
        Record(row + 1, [value_text(column[row]) for column in table.columns], None) for row in range(table.num_rows)
    ]
    return table.column_names, records


def value_text(value: Any) -> str | None:
    """Give the text of one value (a pyarrow scalar); None for null."""
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_dictionary(kind):
        return value_text(value.dictionary[value.index.as_py()])
    if pa.types.is_timestamp(kind):
        return _instant_text(value.value, kind.unit)
    if pa.types.is_time(kind):
        return str(_micros_text(value.value, kind.unit))
    if pa.types.is_date(kind):
        return str(value.as_py().isoformat())
    if pa.types.is_boolean(kind):
        return "true" if value.as_py() else "false"
    if pa.types.is_integer(kind):
        return str(value.as_py())
    if pa.types.is_floating(kind):
        return _float_text(float(value.as_py()), kind.bit_width)
    if pa.types.is_decimal(kind):
        return _plain(value.as_py())
    if _holds_bytes(kind):
        buffer = value.as_buffer()
        return str(buffer.to_pybytes().decode("utf-8", errors="replace"))
    if pa.types.is_nested(kind):
        return _json_text(value)
    raise NotImplementedError(f"the contract has no text for {kind}")


def _holds_bytes(kind: pa.DataType) -> bool:
    """Tell whether a type holds text, or bytes that should be text."""
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _json_text(value: Any) -> str:
    """Give the compact JSON text of a value within a list or struct, or of a list or struct itself."""
    kind = value.type
    if not value.is_valid:
        return "null"
    if pa.types.is_map(kind):
        # What a map is in the file: a list of keys and values.
        return _array_text(f'{{"key":{_json_text(k)},"value":{_json_text(v)}}}' for k, v in _map_items(value))
    if pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        return _array_text(_json_text(each) for each in value.values)
    if pa.types.is_struct(kind):
        members = (f"{_quoted(kind.field(i).name)}:{_json_text(value[i])}" for i in range(kind.num_fields))
        return "{" + ",".join(members) + "}"
    text = value_text(value)
    assert text is not None
    is_bare = (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )
    return text if is_bare else _quoted(text)


def _map_items(value: Any) -> list[tuple[Any, Any]]:
    """Give a map's keys and values."""
    entries = value.values
    return list(zip(entries.field(0), entries.field(1), strict=True))


def _array_text(elements: Any) -> str:
    """Give a JSON array of elements that are JSON already."""
    return "[" + ",".join(elements) + "]"


def _quoted(text: str) -> str:
    """Give a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def _micros(value: int, unit: str) -> int:
    """Count in microseconds; what is finer is cut."""
    return value * 1_000_000 // _UNITS_PER_SECOND[unit]


def _instant_text(value: int, unit: str) -> str:
    """Write a timestamp as ISO 8601 in UTC; without a zone it is UTC already, with one it is stored as UTC."""
    return (_EPOCH + timedelta(microseconds=_micros(value, unit))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _micros_text(value: int, unit: str) -> str:
    """Write a time of day."""
    return (_EPOCH + timedelta(microseconds=_micros(value, unit))).strftime("%H:%M:%S.%f")


def _float_text(value: float, bits: int) -> str:
    """Write a float with the fewest digits that still mean this float and no other of its width."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if bits == 64:
        return _plain(Decimal(repr(value)))
    form = _FLOAT_FORMATS[bits]
    exact = struct.pack(form, value)
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if _packed(form, float(text)) == exact:
            return _plain(Decimal(text))
    raise AssertionError("nine digits tell all 32-bit floats apart")


def _packed(form: str, value: float) -> bytes | None:
    """Give a float's bytes; None if it is too large for this width."""
    try:
        return struct.pack(form, value)
    except OverflowError:
        return None


def _plain(number: Decimal) -> str:
    """Write a number without an exponent and without zeros that say nothing."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
