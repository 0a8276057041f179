"""Parquet rows to records: every type's text, names, slices, broken files (sections 1, 9)."""

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.storage import parquet_records
from assets_pkg.storage.parquet_records import ParquetRecords
from assets_pkg.storage.records import Columns, UnreadableFileError
from assets_pkg_tests.workbench import GOOD, Workbench


def texts(folder: Path, column: pl.Series | pa.Array) -> list[str | None]:
    """The texts of a file's only column."""
    path = folder / "a.parquet"
    if isinstance(column, pl.Series):
        column.alias("a").to_frame().write_parquet(path)
    else:
        pq.write_table(pa.table({"a": column}), path)
    records = ParquetRecords(path)
    assert records.header == ["a"]
    frames = [block.columns for block in records.blocks(Columns({"a": 0}))]
    assert all(frame.schema["0"] == pl.String for frame in frames)
    return [text for frame in frames for text in frame["0"]]


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


NS = 1765340484_500000_123
CASES: dict[str, tuple[pl.Series | pa.Array, Sequence[str | None]]] = {
    "text as it stands": (pl.Series([" a ", "", "null", None, "日\n"]), [" a ", "", "null", None, "日\n"]),
    "large text": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "integers": (pl.Series([0, -5, 2**63 - 1, None]), ["0", "-5", "9223372036854775807", None]),
    "small integers": (pl.Series([0, 255], dtype=pl.UInt8), ["0", "255"]),
    "large integers": (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
    "booleans": (pl.Series([True, False, None]), ["true", "false", None]),
    "floats": (
        pl.Series([1.5, 10.0, 0.1, 1e20, -2.0, 1e-7, 123456789.125, 1e16, None]),
        ["1.5", "10", "0.1", "1" + "0" * 20, "-2", "0.0000001", "123456789.125", "1" + "0" * 16, None],
    ),
    "the least and the largest float": (
        pl.Series([5e-324, 1.7976931348623157e308, -0.0]),
        ["0." + "0" * 323 + "5", "17976931348623157" + "0" * 292, "-0"],
    ),
    "no numbers": (pl.Series([float("nan"), float("inf"), float("-inf")]), ["NaN", "inf", "-inf"]),
    "short floats": (pl.Series([0.1, 1e20, 3.0], dtype=pl.Float32), ["0.1", "1" + "0" * 20, "3"]),
    "decimals": (
        pl.Series([Decimal("1.50"), Decimal("10.00"), Decimal("-0.10"), Decimal("100.25"), None, Decimal(0)]),
        ["1.5", "10", "-0.1", "100.25", None, "0"],
    ),
    "whole decimals": (pl.Series([Decimal(100), Decimal(0)], dtype=pl.Decimal(20, 0)), ["100", "0"]),
    "dates": (pl.Series([dt.date(2025, 12, 10), dt.date(1969, 1, 2), None]), ["2025-12-10", "1969-01-02", None]),
    "times": (
        pl.Series([dt.time(1, 2, 3, 4), dt.time(23, 59, 59), None]),
        ["01:02:03.000004", "23:59:59.000000", None],
    ),
    "times in ns": (pa.array([1_000_001_999], pa.time64("ns")), ["00:00:01.000001"]),
    "timestamps without a zone": (
        pl.Series([at("2025-12-10T04:21:24.5"), at("1969-12-31T23:59:59.999999"), None]),
        ["2025-12-10T04:21:24.500000Z", "1969-12-31T23:59:59.999999Z", None],
    ),
    "timestamps in UTC": (pl.Series([at("2025-12-10T04:21:24+00:00")]), ["2025-12-10T04:21:24.000000Z"]),
    "timestamps in another zone": (
        pa.array([at("2025-12-10T04:21:24.5+00:00")], pa.timestamp("us", "America/New_York")),
        ["2025-12-10T04:21:24.500000Z"],
    ),
    "timestamps of an offset": (
        pa.array([at("2025-12-10T04:21:24+00:00")], pa.timestamp("us", "+05:30")),
        ["2025-12-10T04:21:24.000000Z"],
    ),
    "timestamps in the hour that comes twice": (
        pa.array(
            [at("2025-11-02T05:30:00+00:00"), at("2025-11-02T06:30:00+00:00")], pa.timestamp("us", "America/New_York")
        ),
        ["2025-11-02T05:30:00.000000Z", "2025-11-02T06:30:00.000000Z"],
    ),
    "nanoseconds are cut": (
        pa.array([NS, 1_999, -1], pa.timestamp("ns")),
        ["2025-12-10T04:21:24.500000Z", "1970-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z"],
    ),
    "milliseconds": (pa.array([NS // 10**6], pa.timestamp("ms")), ["2025-12-10T04:21:24.500000Z"]),
    "seconds": (pa.array([NS // 10**9], pa.timestamp("s")), ["2025-12-10T04:21:24.000000Z"]),
    "durations": (pl.Series([dt.timedelta(days=1, seconds=1.5)]), ["P1DT1.5S"]),
    "bytes": (pl.Series(["ä".encode(), b"a\xff", b"", None]), ["ä", "a\ufffd", "", None]),
    "categories": (pl.Series(["x", "y", None, "x"], dtype=pl.Categorical()), ["x", "y", None, "x"]),
    "an enum": (pl.Series(["x", None], dtype=pl.Enum(["x", "y"])), ["x", None]),
    "a dictionary": (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
    "nothing": (pa.nulls(2), [None, None]),
    "lists": (pl.Series([[1, None], [], None], dtype=pl.List(pl.Int64)), ["[1,null]", "[]", None]),
    "arrays": (pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), ["[1,2]"]),
    "structs": (pl.Series([{"b": 1, "a": 'x"ä'}, None]), ['{"b":1,"a":"x\\"ä"}', None]),
    "maps": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), ['[{"key":"k","value":1}]', None]),
    "what JSON has no type for": (
        pl.Series([{"t": at("2025-12-10T04:21:24.5"), "d": dt.date(2025, 1, 2), "n": Decimal("1.50"), "b": b"\xff"}]),
        ['{"t":"2025-12-10T04:21:24.500000Z","d":"2025-01-02","n":1.5,"b":"\ufffd"}'],
    ),
}


@pytest.mark.parametrize(("column", "expected"), CASES.values(), ids=CASES)
def test_a_typed_value_becomes_text(
    column: pl.Series | pa.Array, expected: Sequence[str | None], tmp_path: Path
) -> None:
    assert texts(tmp_path, column) == list(expected)


# -- slices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 7, 1000, 10_000])
def test_rows_are_numbered_through_all_slices(group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_records, "_FIRST_SLICE", 3)
    monkeypatch.setattr(parquet_records, "_SLICE", 50)
    pl.DataFrame({"a": range(333)}).write_parquet(tmp_path / "a.parquet", row_group_size=group)
    blocks = [block.columns for block in ParquetRecords(tmp_path / "a.parquet").blocks(Columns({"a": 0}))]
    assert max(block.height for block in blocks) <= 50
    rows = pl.concat(blocks)
    assert rows["row"].to_list() == list(range(1, 334))
    assert rows["0"].to_list() == [str(number) for number in range(333)]


def test_wide_rows_make_small_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_records, "_FIRST_SLICE", 2)
    monkeypatch.setattr(parquet_records, "_SLICE_BYTES", 10_000)
    pl.DataFrame({"a": [str(number) * 1000 for number in range(10, 60)]}).write_parquet(tmp_path / "a.parquet")
    blocks = list(ParquetRecords(tmp_path / "a.parquet").blocks(Columns({"a": 0})))
    assert max(block.columns.height for block in blocks) <= 5
    assert sum(block.columns.height for block in blocks) == 50


# -- raw rows --------------------------------------------------------------------------------------


def put(bench: Workbench, data: dict[str, Any], name: str = "events_raw.parquet") -> str:
    source = bench.put(name, b"")
    pl.DataFrame(data).write_parquet(bench.settings.raw_dir / source)
    return source


def test_a_parquet_file_gives_raw_rows(bench: Workbench) -> None:
    good = {name: [value] for name, value in GOOD["events"].items() if name not in ("duration_ms", "customer_id")}
    source = put(
        bench, good | {" User_ID\u00a0": ["c1"], "Duration_MS": [1200], "Mood": ["x"], "a": [1.0], "n": [None]}
    )
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.absent_columns) == ("SUCCESS", 1, ("ingest_date",))
    assert file.unknown_columns == ("mood", "a", "n")
    (row,) = bench.rows("raw_events")
    assert {name: row[name] for name in GOOD["events"]} == GOOD["events"]
    assert (row["extra"], row["raw_text"], row["source_row"]) == ('{"a":"1","mood":"x"}', None, 1)
    assert row["source_file"] == source


def test_extra_leaves_null_values_out(bench: Workbench) -> None:
    put(bench, {"event_id": ["1", "2", "3"], "Z": ["z", None, None], "a": [None, 'q"', None]})
    bench.land(EVENTS)
    rows = sorted(bench.rows("raw_events"), key=lambda row: row["source_row"])
    assert [row["extra"] for row in rows] == ['{"z":"z"}', '{"a":"q\\""}', None]


def test_names_that_clash_are_numbered(bench: Workbench) -> None:
    put(bench, {"event_id": ["1"], "X": [1], "x": [2], " x": [3], "EVENT_ID": ["other"]})
    bench.land(EVENTS)
    (row,) = bench.rows("raw_events")
    assert row["event_id"] == "1"
    assert json.loads(row["extra"]) == {"event_id": "other", "x": "1", "x_2": "2", "x_3": "3"}


def test_a_file_without_rows_has_its_header(bench: Workbench) -> None:
    put(bench, {"event_id": pl.Series([], dtype=pl.String), "mood": pl.Series([], dtype=pl.Int64)})
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.unknown_columns) == ("SUCCESS", 0, ("mood",))
    assert "customer_id" in file.absent_columns


def test_a_name_is_no_pattern(bench: Workbench) -> None:
    put(bench, {"event_id": ["1"]}, "events_raw[1]*.parquet")
    put(bench, {"event_id": ["2"]}, "events_raw1.parquet")
    assert bench.land(EVENTS).rows == 2


# -- broken files ----------------------------------------------------------------------------------


def good_bytes(folder: Path, rows: int = 5000) -> bytes:
    path = folder / "good.parquet"
    pl.DataFrame({"event_id": [f"e{number * 7919}" for number in range(rows)]}).write_parquet(path, row_group_size=1000)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "empty (0 bytes)"),
        (lambda _: b"PAR1 no parquet", "cannot be read as Parquet"),
        (lambda _: b"PAR1", "cannot be read as Parquet"),
        (lambda _: b"x" * 5000, "cannot be read as Parquet"),
        (lambda good: good[:-1], "cannot be read as Parquet"),
        (lambda good: good[: len(good) // 2], "cannot be read as Parquet"),
        (lambda good: good[:4] + b"\xff" * (len(good) - 400) + good[-396:], "cannot be read as Parquet"),
    ],
    ids=range(7),
)
def test_a_broken_file_is_failed_and_stops_no_other(
    damage: Any, message: str, bench: Workbench, tmp_path: Path
) -> None:
    bad = bench.put("events_raw.parquet", damage(good_bytes(tmp_path)))
    put(bench, {"event_id": ["1"]}, "events_raw_2.parquet")
    landed = bench.land(EVENTS)
    assert landed.rows == 1
    failed = next(file for file in landed.files if file.path == bad)
    assert failed.status == "FAILED"
    assert message in (failed.error or "")
    assert "ask for it again" in (failed.error or "")
    assert "\n" not in (failed.error or "")


def test_any_damage_is_failed_or_read(tmp_path: Path) -> None:
    """Whatever a byte is turned into: an error for people, no panic."""
    good = good_bytes(tmp_path, 200)
    path = tmp_path / "bad.parquet"
    for place in range(0, len(good), 5):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            for block in ParquetRecords(path).blocks(Columns({"event_id": 0})):
                assert block.columns.height
        except UnreadableFileError:
            pass
