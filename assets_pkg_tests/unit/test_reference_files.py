"""The oracle reads every raw format as the contract says (sections 1 and 9): expectations written by hand."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets_pkg_tests.reference.csv_records import Record, UnreadableFileError
from assets_pkg_tests.reference.feeds import FEEDS, RawFeed, read_feed
from assets_pkg_tests.reference.json_records import read_json, read_json_lines
from assets_pkg_tests.reference.parquet_records import read_parquet

Read = Callable[[bytes], tuple[list[str] | None, list[Record]]]

DAY = "ingest_date=2025-12-10"


def fields(read: Read, text: str | bytes) -> dict[str, str | None]:
    """The one record of a file."""
    header, (record,) = read(text if isinstance(text, bytes) else text.encode())
    assert header is not None
    assert record.fields is not None
    return dict(zip(header, record.fields, strict=True))


def one_value(read: Read, text: str) -> str | None:
    """The text of one JSON value."""
    return fields(read, f'{{"k": {text}}}')["k"]


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def events(name: str, content: bytes) -> RawFeed:
    return read_feed(FEEDS["events"], {f"{DAY}/{name}": content})


@pytest.mark.parametrize("read", [read_json, read_json_lines])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("1E5", "1E5"),
        ("9" * 5000, "9" * 5000),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("true", "true"),
        ("null", None),
        ('"null"', "null"),
        ('""', ""),
        ('" a "', " a "),
        (r'"\u00e9\n\"\/"', 'é\n"/'),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d!"', "\ufffd!"),
        ('{"b" :1.0,  "a":[ ]}', '{"b" :1.0,  "a":[ ]}'),
        (r'[1, "\ud800"]', r'[1, "\ud800"]'),
    ],
)
def test_the_text_of_a_json_value(read: Read, value: str, text: str | None) -> None:
    assert one_value(read, value) == text


def test_the_last_of_equal_keys_wins() -> None:
    assert fields(read_json_lines, '{"a": 1, "b": 2, "a": 3}') == {"a": "3", "b": "2"}


def test_json_lines() -> None:
    lines = '\ufeff {"a": 1} \r\n\n \u00a0\t\n[1]\r{"b": null}\nno json {\n{"c": "\t"}\n{"a": 2}{"a": 3}\n{}'
    assert read_json_lines(lines.encode()) == (
        ["a", "b"],
        [
            Record(1, ["1", None], None),
            Record(2, None, "[1]"),
            Record(3, [None, None], None),
            Record(4, None, "no json {"),
            Record(5, None, '{"c": "\t"}'),
            Record(6, None, '{"a": 2}{"a": 3}'),
            Record(7, [None, None], None),
        ],
    )


def test_bytes_that_are_no_utf8_lose_no_row() -> None:
    assert fields(read_json_lines, b'{"a": "x\xff"}') == {"a": "x\ufffd"}


def test_json_lines_without_an_object_are_malformed_rows_and_no_drift() -> None:
    raw = events("events_raw.jsonl", b"[]\n\nx\n")
    assert [(row.row["source_row"], row.row["raw_text"], row.missing_columns) for row in raw.rows] == [
        (1, "[]", []),
        (2, "x", []),
    ]
    assert (raw.drifted_files, raw.failed_files) == ([], [])


def test_a_line_can_be_too_long() -> None:
    with pytest.raises(UnreadableFileError):
        read_json_lines(b'{"a": "12345"}\n', max_line_bytes=13)
    assert len(read_json_lines(b'{"a": "12345"}\n', max_line_bytes=14)[1]) == 1


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"b": "x"}]', '{"a": 1}{"b": "x"}', ' {"a":\n1}\n\n{"b": "x"}\r\n', '\ufeff[{"a":1},{"b":"x"} ] '],
)
def test_json_is_one_array_or_objects(text: str) -> None:
    assert read_json(text.encode()) == (["a", "b"], [Record(1, ["1", None], None), Record(2, [None, "x"], None)])


def test_an_element_that_is_no_object_is_malformed() -> None:
    assert read_json(b'[ {"a": 1} , [1,  2], "x", null ]') == (
        ["a"],
        [Record(1, ["1"], None), Record(2, None, "[1,  2]"), Record(3, None, '"x"'), Record(4, None, "null")],
    )


def test_an_empty_array_has_no_records_and_no_columns() -> None:
    assert read_json(b" [ ] ") == (None, [])


@pytest.mark.parametrize(
    "text",
    ["", " \n", "1", '"x"', "null", "[1", "[1,]", "[,]", '{"a": 1} x', '{"a": 1},{"a": 2}', "[] []", "[] {}", "{} []",
     '{"a" 1}', '{"a": 1,}', "{a: 1}", '{"a": 01}', "[" * 100_000, "\u00a0{}"],
)  # fmt: skip
def test_anything_else_is_no_json(text: str) -> None:
    with pytest.raises(UnreadableFileError):
        read_json(text.encode())


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["x", "", None], ["x", "", None]),
        (pa.array(["x", "y", None]).dictionary_encode(), ["x", "y", None]),
        ([b"x\xff"], ["x\ufffd"]),
        ([1, -2], ["1", "-2"]),
        ([True, False], ["true", "false"]),
        ([10.0, 1e20, 0.1, 1e-7, 123.456, float("nan")],
         ["10", "100000000000000000000", "0.1", "0.0000001", "123.456", "NaN"]),
        (pa.array([0.1, 16777216, 3.4e38], pa.float32()),
         ["0.1", "16777216", "340000000000000000000000000000000000000"]),
        ([Decimal("10.00"), Decimal("-0.50"), Decimal("100.00"), Decimal("0.00")], ["10", "-0.5", "100", "0"]),
        ([date(2025, 12, 1)], ["2025-12-01"]),
        ([time(4, 21), time(4, 21, 24, 5)], ["04:21:00.000000", "04:21:24.000005"]),
        (pa.array([1765340484500], pa.timestamp("ms")), ["2025-12-10T04:21:24.500000Z"]),
        (pa.array([1765340484123456789], pa.timestamp("ns")), ["2025-12-10T04:21:24.123456Z"]),
        (pa.array([1765340484], pa.timestamp("s", "America/New_York")), ["2025-12-10T04:21:24.000000Z"]),
        ([[1, None], []], ["[1,null]", "[]"]),
        ([{"b": "ü", "a": [1.0, 0.5]}], ['{"b":"ü","a":[1,0.5]}']),
        ([{"t": datetime(2025, 12, 10, tzinfo=UTC)}], ['{"t":"2025-12-10T00:00:00.000000Z"}']),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['[{"key":"k","value":1}]']),
        (pa.nulls(2), [None, None]),
    ],
)  # fmt: skip
def test_the_text_of_a_parquet_value(values: Any, texts: list[str | None]) -> None:
    header, records = read_parquet(parquet(c=values))
    assert header == ["c"]
    assert [record.fields for record in records] == [[text] for text in texts]
    assert [record.row for record in records] == list(range(1, len(texts) + 1))


GOOD = {
    "event_id": "e1", "customer_id": "c1", "event_time": "2025-12-10", "event_type": "login", "platform": "web",
    "session_id": "s1", "duration_ms": "1",
}  # fmt: skip
OBJECT = json.dumps(GOOD).encode()
CSV = (",".join(GOOD) + "\n" + ",".join(GOOD.values()) + "\n").encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events_raw.csv", CSV),
        ("events_raw.csv.gz", gzip.compress(CSV)),
        ("events_raw_2.jsonl", OBJECT),
        ("hour=03/events_raw.jsonl.gz", gzip.compress(OBJECT)),
        ("events_raw.ndjson", OBJECT + b"\n"),
        ("events_raw.v2.ndjson.gz", gzip.compress(OBJECT)),
        ("events_raw.json", b"[" + OBJECT + b"]"),
        ("events_raw.parquet", parquet(**{key: [value] for key, value in GOOD.items()})),
    ],
)
def test_the_same_row_in_every_format(name: str, content: bytes) -> None:
    raw = events(name, content)
    (row,) = raw.rows
    assert row.row == {
        **GOOD, "url": None, "ingest_date_raw": None, "extra": None, "raw_text": None,
        "source_file": f"{DAY}/{name}", "source_row": 1,
    }  # fmt: skip
    assert (row.missing_columns, raw.drifted_files, raw.failed_files) == ([], [], [])


@pytest.mark.parametrize("name", ["csv.gz", "jsonl.gz", "ndjson.gz", "json", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"PAR1"])
def test_an_unreadable_file_is_failed(name: str, content: bytes) -> None:
    raw = events(f"events_raw.{name}", content)
    assert (raw.rows, raw.failed_files) == ([], [f"{DAY}/events_raw.{name}"])


@pytest.mark.parametrize("name", ["csv", "jsonl", "ndjson"])
def test_an_empty_text_file_has_no_records(name: str) -> None:
    assert events(f"events_raw.{name}", b"") == RawFeed()


def test_keys_are_read_like_headers() -> None:
    content = b'{"ts": "t1", " User_ID ": "c1", "Mood": null}\n{"timestamp": "t2", "user_id": "c2", "Mood": 5}'
    raw = events("events_raw.jsonl", content)
    got = [(each.row["event_time"], each.row["customer_id"], each.row["extra"]) for each in raw.rows]
    # `ts` comes before `timestamp` in the policy, and the first of two user ids is the leftmost: for the whole file.
    assert got == [
        ("t1", "c1", None),
        (None, None, '{"mood": "5", "timestamp": "t2", "user_id": "c2"}'),
    ]
    missing = ["event_id", "event_type", "platform", "session_id", "duration_ms"]
    assert [each.missing_columns for each in raw.rows] == [missing, missing]
    assert raw.drifted_files == [f"{DAY}/events_raw.jsonl"]


def test_a_null_of_an_unknown_parquet_column_is_left_out_of_extra() -> None:
    raw = events("events_raw.parquet", parquet(**{"\ufeffEVENT_ID": ["e1", None], "Mood": [None, 1.0]}))
    assert [(each.row["event_id"], each.row["extra"]) for each in raw.rows] == [("e1", None), (None, '{"mood": "1"}')]
