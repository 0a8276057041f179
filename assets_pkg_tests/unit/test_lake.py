"""The lake: a partition is replaced whole in one commit, or not at all, whatever happens (section 7)."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from polars.testing import assert_frame_equal

from assets_pkg.contracts.tables import TABLES
from assets_pkg.storage import lake as lake_module
from assets_pkg.storage.lake import Lake, LakeError
from assets_pkg_tests.workbench import ROOT, days_from

D1, D2, D3 = days_from(date(2025, 12, 10), 3)
TABLE = "daily_metrics"


def numbers(*values: float) -> pl.DataFrame:
    """Rows of the table, told apart by their value; in this order."""
    schema = TABLES[TABLE].schema
    return pl.DataFrame([("events", "x", None, float(value)) for value in values], schema=schema, orient="row")


def put(lake: Lake, day: date, *values: float, run: str = "", built_from: str = "") -> None:
    """Replace a partition."""
    with lake.replace(TABLE, day, run, built_from) as writer:
        writer.write(numbers(*values))


def held(lake: Lake, day: date) -> list[float]:
    """The values of a partition, in order."""
    return lake.scan(TABLE, [day]).collect()["value"].to_list()


def commits(lake: Lake, table: str = TABLE) -> int:
    """How many commits a table's log has."""
    return len(list((lake.root / table / "_delta_log").glob("*.json")))


def data_files(lake: Lake, day: date) -> set[str]:
    """The data files in a partition's folder, named by the log or not."""
    return {path.name for path in (lake.root / TABLE / f"ingest_date={day}").glob("*.parquet")}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


# -- replacing -------------------------------------------------------------------------------------


def test_what_was_never_written_is_not_there(lake: Lake) -> None:
    assert lake.partitions(TABLE) == {}
    assert lake.version(TABLE, D1) is None
    assert (lake.files(TABLE, D1), lake.rows(TABLE, D1), list(lake.slices(TABLE, D1))) == ([], 0, [])
    nothing = lake.scan(TABLE, [D1]).collect()
    assert (nothing.height, nothing.schema) == (0, TABLES[TABLE].full_schema)


def test_a_partition_is_replaced_whole(lake: Lake) -> None:
    put(lake, D1, 1, 2, 3)
    put(lake, D2, 9)
    put(lake, D1, 4)
    assert (held(lake, D1), held(lake, D2)) == ([4], [9])
    assert list(lake.partitions(TABLE)) == [D1, D2]


def test_one_replacement_is_one_commit(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, D1, 1)
    before = commits(lake)
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 2)
    put(lake, D1, *range(9))
    assert commits(lake) == before + 1
    assert held(lake, D1) == list(range(9))


def test_an_empty_partition_is_there(lake: Lake) -> None:
    put(lake, D2, 1)
    with lake.replace(TABLE, D1):
        pass
    put(lake, D2)
    assert [part.rows for part in lake.partitions(TABLE).values()] == [0, 0]
    assert lake.version(TABLE, D1) is not None
    assert lake.scan(TABLE, [D1, D2]).collect().schema == TABLES[TABLE].full_schema
    assert DeltaTable(lake.root / TABLE).to_pyarrow_table().num_rows == 0
    put(lake, D2, 5)
    assert held(lake, D2) == [5]


def test_days_are_read_in_the_order_asked_for(lake: Lake) -> None:
    for day, value in ((D1, 1), (D2, 2), (D3, 3)):
        put(lake, day, value)
    found = lake.scan(TABLE, [D3, D1]).collect()
    assert found.select("ingest_date", "value").rows() == [(D3, 3.0), (D1, 1.0)]


def test_rows_keep_their_order(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 3)
    values = random.Random(5).sample(range(1000), 40)
    with lake.replace(TABLE, D1) as writer:
        for value in values:
            writer.write(numbers(value))
    assert held(lake, D1) == values
    slices = [piece.lazy().collect() for piece in lake.slices(TABLE, D1)]
    assert all(0 < piece.height <= 3 for piece in slices)
    assert pl.concat(slices)["value"].to_list() == values
    assert all("ingest_date" not in piece.columns for piece in slices)


def test_a_slice_is_bounded_whatever_the_size_of_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, D1, *range(10))
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 4)
    pieces = [piece.lazy().collect()["value"].to_list() for piece in lake.slices(TABLE, D1)]
    assert pieces == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_rows_of_another_shape_are_refused(lake: Lake) -> None:
    put(lake, D1, 1)
    for wrong in (
        numbers(2).drop("value"),
        numbers(2).select("value", "dataset", "metric", "dimension"),
        numbers(2).with_columns(pl.col("value").cast(pl.Int64)),
        numbers(2).with_columns(more=pl.lit(1)),
    ):
        with pytest.raises(LakeError, match=TABLE), lake.replace(TABLE, D1) as writer:
            writer.write(wrong)
    assert held(lake, D1) == [1]


def test_rows_can_be_taken_back_to_a_mark(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 2)
    with lake.replace(TABLE, D1) as writer:
        writer.write(numbers(1, 2, 3))
        mark = writer.mark()
        for value in range(10, 17):
            writer.write(numbers(value))
        writer.back_to(mark)
        assert writer.rows == 3
        writer.write(numbers(4))
        writer.back_to(writer.mark())
        assert writer.rows == 4
    assert held(lake, D1) == [1, 2, 3, 4]
    assert len(data_files(lake, D1)) == len(lake.files(TABLE, D1))


def test_the_run_stands_in_the_log(lake: Lake) -> None:
    put(lake, D1, 1, run="run-17")
    put(lake, D2, 1)
    second, first = DeltaTable(lake.root / TABLE).history(2)
    assert first["run_id"] == "run-17"
    assert "run_id" not in second


# -- when something goes wrong ---------------------------------------------------------------------


def write_and_fail(lake: Lake, fault: BaseException, *values: float) -> None:
    """Begin to replace a partition, and fail."""
    with lake.replace(TABLE, D1) as writer:
        writer.write(numbers(*values))
        raise fault


class Abort(BaseException):
    """Something that is no Exception, as KeyboardInterrupt and a killed thread are."""


@pytest.mark.parametrize(
    "fault", [ValueError("x"), KeyboardInterrupt(), Abort()], ids=lambda fault: type(fault).__name__
)
def test_an_exception_inside_keeps_the_old_partition(
    fault: BaseException, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 1)
    put(lake, D1, 1, 2)
    version, before, files = lake.version(TABLE, D1), commits(lake), data_files(lake, D1)
    with pytest.raises(type(fault)):
        write_and_fail(lake, fault, 7, 8)
    assert held(lake, D1) == [1, 2]
    assert (lake.version(TABLE, D1), commits(lake), data_files(lake, D1)) == (version, before, files)
    put(lake, D1, 3)
    assert held(lake, D1) == [3]


def test_an_exception_before_the_first_write_makes_no_partition(lake: Lake) -> None:
    with pytest.raises(ValueError, match="x"):
        write_and_fail(lake, ValueError("x"), 1)
    assert lake.partitions(TABLE) == {}


def test_several_replacements_at_once_are_independent(lake: Lake) -> None:
    """As the clean step does it: three tables in one `with`."""
    with pytest.raises(ValueError, match="x"), lake.replace("alerts", D1):
        write_and_fail(lake, ValueError("x"), 1)
    assert lake.partitions(TABLE) == lake.partitions("alerts") == {}


class Contended:
    """A table whose commits fail some times, as when another process commits in between."""

    def __init__(self, failures: int, really: Any) -> None:
        self.failures = failures
        self.attempts = 0
        self._really = really

    def create_write_transaction(self, *args: Any, **kwargs: Any) -> None:
        """Fail, or do it."""
        self.attempts += 1
        if self.attempts <= self.failures:
            raise CommitFailedError("another transaction was first")
        self._really().create_write_transaction(*args, **kwargs)


@pytest.fixture
def contend(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Contended]:
    """Let the next commits fail; nobody waits."""
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def failing(failures: int) -> Contended:
        table = Contended(failures, lambda: DeltaTable(lake.root / TABLE))
        monkeypatch.setattr(Lake, "_open_or_create", lambda *_: table)
        return table

    return failing


def test_a_commit_that_another_process_prevented_is_tried_again(
    lake: Lake, contend: Callable[[int], Contended]
) -> None:
    put(lake, D1, 1)
    table = contend(2)
    put(lake, D1, 2)
    assert table.attempts == 3
    assert held(lake, D1) == [2]


def test_a_commit_that_never_succeeds_says_what_to_do(lake: Lake, contend: Callable[[int], Contended]) -> None:
    put(lake, D1, 1)
    contend(10**6)
    with pytest.raises(LakeError, match=f"{TABLE} of {D1}.*run the day again"):
        put(lake, D1, 2)
    assert held(lake, D1) == [1]


# -- versions --------------------------------------------------------------------------------------


def test_rewriting_what_is_there_is_no_commit(lake: Lake) -> None:
    put(lake, D1, 1, 2)
    version, before, files = lake.version(TABLE, D1), commits(lake), data_files(lake, D1)
    for _ in range(3):
        put(lake, D1, 1, 2)
    assert (lake.version(TABLE, D1), commits(lake), data_files(lake, D1)) == (version, before, files)


def test_rewriting_an_empty_partition_is_no_commit(lake: Lake) -> None:
    put(lake, D1)
    before = commits(lake)
    put(lake, D1)
    with lake.replace(TABLE, D1):
        pass
    assert commits(lake) == before


def test_equal_versions_are_equal_rows(lake: Lake, tmp_path: Path) -> None:
    """Whatever the day, the lake, or what lay there before; and other rows have another version."""
    put(lake, D1, 1, 2)
    put(lake, D2, 5)
    put(lake, D2, 1, 2)
    put(lake, D3, 1, 2, 3)
    other = Lake(tmp_path / "other")
    put(other, D1, 1, 2)
    assert lake.version(TABLE, D1) == lake.version(TABLE, D2) == other.version(TABLE, D1)
    versions = set()
    for values in ([], [1, 2], [2, 1], [1], [1, 2, 2], [1, 3]):
        put(lake, D3, *values)
        versions.add(lake.version(TABLE, D3))
    assert len(versions) == 6
    put(lake, D3, 1, 2)
    assert lake.version(TABLE, D3) == lake.version(TABLE, D1)


def test_what_a_partition_is_built_from_is_told_by_the_log_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 1)
    put(lake, D1, 1, 2, built_from="abc.def1")
    put(lake, D2, 1, 2)
    for file in lake.files(TABLE, D1):
        Path(file.location).unlink()
    told = Lake(lake.root).partitions(TABLE)
    assert {day: each.built_from for day, each in told.items()} == {D1: "abc.def1", D2: ""}
    assert told[D1].version == told[D2].version, "equal rows, whatever they were built from"


def test_the_same_rows_built_from_something_else_are_one_commit(lake: Lake) -> None:
    put(lake, D1, 1, built_from="before")
    version, before = lake.version(TABLE, D1), commits(lake)
    for _ in range(2):
        put(lake, D1, 1, built_from="after")
    assert (lake.version(TABLE, D1), commits(lake)) == (version, before + 1)
    assert lake.partitions(TABLE)[D1].built_from == "after"
    assert held(lake, D1) == [1]


def test_files_that_others_compacted_are_built_from_nobody_knows_what(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 1)
    put(lake, D1, 1, 2, built_from="abc")
    DeltaTable(lake.root / TABLE).optimize.compact()
    assert len(lake.files(TABLE, D1)) == 1
    assert lake.partitions(TABLE)[D1].built_from == ""


def test_a_data_file_keeps_what_was_said_of_its_rows(lake: Lake) -> None:
    with lake.replace(TABLE, D1) as writer:
        writer.write(numbers(1))
        writer.describe(lambda: {"told": "of two"})
        writer.write(numbers(2))
    pieces = [piece for file in lake.files(TABLE, D1) for piece in file.pieces()]
    assert [piece.facts for piece in pieces] == [{}, {"told": "of two"}]
    assert held(lake, D1) == [1, 2]


def test_a_partition_is_whole_when_its_files_are_there_as_long_as_the_log_says(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 1)
    put(lake, D1, 1, 2)
    assert lake.is_whole(TABLE, D1)
    *_, last = lake.files(TABLE, D1)
    content = Path(last.location).read_bytes()
    for broken in (content[:-1], content + b"x"):
        Path(last.location).write_bytes(broken)
        assert not lake.is_whole(TABLE, D1)
    Path(last.location).unlink()
    assert not lake.is_whole(TABLE, D1)


def test_a_frozen_lake_shows_a_table_as_when_first_looked_at(lake: Lake) -> None:
    put(lake, D1, 1)
    frozen = Lake(lake.root, frozen=True)
    assert frozen.rows(TABLE, D1) == 1
    put(lake, D1, 1, 2)
    put(lake, D2, 3)
    assert (list(frozen.partitions(TABLE)), held(frozen, D1)) == ([D1], [1])
    assert list(lake.partitions(TABLE)) == [D1, D2], "any other sees each commit at once"


def test_partitions_tell_version_and_rows(lake: Lake) -> None:
    put(lake, D2, 1, 2)
    put(lake, D1, 1)
    found = lake.partitions(TABLE)
    assert list(found) == [D1, D2]
    assert {day: (part.version, part.rows) for day, part in found.items()} == {
        day: (lake.version(TABLE, day), lake.rows(TABLE, day)) for day in (D1, D2)
    }


# -- readers ---------------------------------------------------------------------------------------

_VALUES: dict[Any, tuple[Any, Any]] = {
    pl.String(): ("ünï|\n\x00", ""),
    pl.Int64(): (-(2**62), 2**62),
    pl.Float64(): (0.1, -1e300),
    pl.Date(): (date(1970, 1, 1), date(2100, 12, 31)),
    pl.Boolean(): (True, False),
    pl.Datetime("us", "UTC"): (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2100, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ),
    pl.Decimal(18, 4): (Decimal("0.0001"), Decimal("-99999999999999.9999")),
    pl.List(pl.String()): (["a", ""], []),
    pl.List(pl.Date()): ([date(1970, 1, 1), date(2100, 12, 31)], []),
}


def any_rows(table: str) -> pl.DataFrame:
    """Two rows of extreme values and one of nulls."""
    schema = TABLES[table].schema
    columns = {name: [*_VALUES[dtype], None] for name, dtype in schema.items()}
    return pl.DataFrame(columns, schema=schema)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_read_alike_by_polars_deltalake_and_duckdb(table: str, lake: Lake) -> None:
    spec, rows = TABLES[table], any_rows(table)
    for day in (D1, D2):
        with lake.replace(table, day) as writer:
            writer.write(rows)
    expected = rows.select(pl.lit(D2, pl.Date).alias(spec.partition_by), *spec.columns)
    assert_frame_equal(lake.scan(table, [D2]).collect(), expected)
    scanned = pl.scan_delta(str(lake.root / table)).filter(pl.col(spec.partition_by) == D2).collect()
    assert scanned.schema == spec.full_schema
    assert_frame_equal(scanned, expected)
    delta = DeltaTable(lake.root / table)
    assert delta.metadata().partition_columns == [spec.partition_by]
    assert delta.metadata().description == spec.meaning
    dataset = delta.to_pyarrow_dataset()
    counted = duckdb.execute(f"SELECT count(*), count(DISTINCT {spec.partition_by}) FROM dataset").fetchall()
    assert (counted, dataset.schema.names) == ([(6, 2)], list(spec.full_schema))


def test_readers_see_the_new_partition_alone(lake: Lake) -> None:
    put(lake, D1, 1, 2)
    put(lake, D1, 3)
    assert pl.scan_delta(str(lake.root / TABLE)).collect()["value"].to_list() == [3.0]
    dataset = DeltaTable(lake.root / TABLE).to_pyarrow_dataset()
    assert dataset.count_rows() == 1
    assert duckdb.execute("SELECT value FROM dataset").fetchall() == [(3.0,)]


def test_upkeep_by_others_does_no_harm(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compacted and vacuumed, a partition has the same rows and can be read and replaced as before."""
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 2)
    put(lake, D1, *range(5))
    put(lake, D2, 9)
    DeltaTable(lake.root / TABLE).optimize.compact()
    DeltaTable(lake.root / TABLE).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert (held(lake, D1), held(lake, D2), lake.rows(TABLE, D1)) == ([0, 1, 2, 3, 4], [9], 5)
    assert max(piece.lazy().collect().height for piece in lake.slices(TABLE, D1)) <= 2
    put(lake, D1, 7)
    assert (held(lake, D1), held(lake, D2)) == ([7], [9])


# -- other processes -------------------------------------------------------------------------------

# What a second process does: the lake's folder and some words are its arguments.
PRELUDE = """
import sys, time
from datetime import date
from pathlib import Path
from assets_pkg.storage.lake import Lake
from assets_pkg_tests.unit.test_lake import D1, D2, D3, TABLE, numbers, put
lake, words = Lake(Path(sys.argv[1])), sys.argv[2:]
def tell(word):
    print(word, flush=True)
"""
WRITES_OFTEN = """
day, value, times = date.fromisoformat(words[0]), float(words[1]), int(words[2])
tell("ready")
sys.stdin.readline()
for number in range(times):
    put(lake, day, value, number)
tell("done")
"""
STOPS_INSIDE = """
with lake.replace(TABLE, D1) as writer:
    writer.write(numbers(7, 8, 9))
    writer.flush()
    tell("ready")
    time.sleep(60)
"""
STOPS_AT_THE_COMMIT = """
def wait(*_):
    tell("ready")
    time.sleep(60)
Lake._commit = wait
put(lake, D1, 7, 8, 9)
"""
ALTERNATES = """
tell("ready")
while True:
    put(lake, D1, 1, 2, 3)
    put(lake, D1, 4, 5)
"""


def start(lake: Lake, program: str, *words: object) -> subprocess.Popen[str]:
    """Start a second process and wait until it says that it is ready."""
    command = [sys.executable, "-c", PRELUDE + program, str(lake.root), *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], *, kill: bool = False) -> int:
    """Let a process end, or kill it (SIGKILL: nothing of it runs any more)."""
    if kill:
        process.kill()
    process.communicate("\n", timeout=60)
    return process.returncode


@pytest.mark.parametrize("days", [(D1, D2), (D1, D1)], ids=["different partitions", "the same partition"])
def test_two_processes_writing_at_once_lose_nothing(days: tuple[date, date], lake: Lake) -> None:
    times = 6
    processes = [start(lake, WRITES_OFTEN, day, value, times) for day, value in zip(days, (100, 200), strict=True)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [end(process) for process in processes] == [0, 0]
    last = times - 1
    if days[0] == days[1]:
        assert held(lake, D1) in ([100, last], [200, last])
    else:
        assert [held(lake, day) for day in days] == [[100, last], [200, last]]
    assert set(lake.partitions(TABLE)) == set(days)


@pytest.mark.parametrize("program", [STOPS_INSIDE, STOPS_AT_THE_COMMIT], ids=["while writing", "before the commit"])
def test_a_killed_process_leaves_the_old_partition(program: str, lake: Lake) -> None:
    put(lake, D1, 1, 2)
    version, before = lake.version(TABLE, D1), commits(lake)
    process = start(lake, program)
    assert len(data_files(lake, D1)) == 2  # its rows are on the disk by now, and no part of the table
    assert end(process, kill=True) == -9
    assert (held(lake, D1), lake.version(TABLE, D1), commits(lake)) == ([1, 2], version, before)
    put(lake, D1, 3)
    assert held(lake, D1) == [3]
    assert pl.scan_delta(str(lake.root / TABLE)).collect().height == 1


def test_a_process_killed_at_any_moment_leaves_a_whole_partition(lake: Lake) -> None:
    put(lake, D2, 9)
    moments = random.Random(3)
    for _ in range(3):
        process = start(lake, ALTERNATES)
        time.sleep(moments.uniform(0.02, 0.3))
        end(process, kill=True)
        assert held(lake, D1) in ([], [1, 2, 3], [4, 5])
        assert held(lake, D2) == [9]
        put(lake, D1, 6)
        assert held(lake, D1) == [6]
        put(lake, D1, 1, 2, 3)


def test_a_reader_sees_the_old_partition_or_the_new(lake: Lake) -> None:
    put(lake, D1, 1, 2, 3)
    process = start(lake, ALTERNATES)
    try:
        seen = [held(lake, D1) for _ in range(40)]
    finally:
        end(process, kill=True)
    assert all(values in ([1, 2, 3], [4, 5]) for values in seen)
