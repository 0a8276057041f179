"""Compaction: few data files instead of many, and nothing else changes, whoever writes, dies or reads meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import TABLES
from assets_pkg.storage import compaction
from assets_pkg.storage import lake as lake_module
from assets_pkg.storage.compaction import compact, scattered
from assets_pkg.storage.lake import Lake, LakeError
from assets_pkg_tests.orchestration.test_bad_days import small_disk
from assets_pkg_tests.unit.test_lake import D1, D2, TABLE, commits, data_files, end, held, numbers, put, start
from assets_pkg_tests.unit.test_maintenance import KEEP, PARTED, age, fill, maintain_table, read_by_all
from assets_pkg_tests.workbench import DAY, GOOD, Workbench, csv_of, customers_csv, days_from, feed_csv

FROM = 4


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A partition of six data files, which say different things of their rows, and one of a single file."""
    lake = Lake(tmp_path / "lake")
    scatter(lake, D1, 6)
    put(lake, D2, 99)
    return lake


def scatter(lake: Lake, day: date, files: int, first: int = 0) -> None:
    """Replace a partition by one row a data file."""
    with lake.replace(TABLE, day, built_from="b1") as writer:
        for value in range(first, first + files):
            writer.describe(lambda value=value: {"value": str(value)})  # type: ignore[misc]
            writer.write(numbers(value))


def said(lake: Lake, day: date) -> list[tuple[str, list[float]]]:
    """What is said of the rows of a partition, and their values."""
    pieces = [piece for file in lake.files(TABLE, day) for piece in file.pieces()]
    return [(piece.facts["value"], piece.scan().collect()["value"].to_list()) for piece in pieces]


def everything(lake: Lake, table: str = TABLE) -> tuple[Any, ...]:
    """What all readers see, but for the names of data files."""
    days, _, *rows = read_by_all(lake, table)
    return (days, *rows)


def test_rows_version_and_what_is_said_stay(lake: Lake) -> None:
    before, told = everything(lake), said(lake, D1)
    partition = lake.partition(TABLE, D1)
    assert told == [(str(value), [value]) for value in range(6)]
    assert scattered(lake, TABLE, D1, FROM) == 5
    assert compact(lake, TABLE, D1)
    assert len(lake.files(TABLE, D1)) == 1
    assert (everything(lake), said(lake, D1), lake.partition(TABLE, D1)) == (before, told, partition)
    assert everything(Lake(lake.root)) == before
    assert scattered(lake, TABLE, D1, FROM) == 0


def test_the_same_rows_written_again_are_no_commit(lake: Lake) -> None:
    compact(lake, TABLE, D1)
    before, files = commits(lake), lake.files(TABLE, D1)
    scatter(lake, D1, 6)
    assert (commits(lake), lake.files(TABLE, D1)) == (before, files)
    scatter(lake, D1, 5)
    assert held(lake, D1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("rows", "files"), [(6, [6]), (4, [4, 2]), (2, [2, 2, 2])])
def test_files_get_no_larger_than_files_may_be(
    rows: int, files: list[int], lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", rows)
    before, told = everything(lake), said(lake, D1)
    assert compact(lake, TABLE, D1)
    assert [file.rows for file in lake.files(TABLE, D1)] == files
    assert (everything(lake), said(lake, D1)) == (before, told)


@pytest.mark.parametrize(
    ("files", "rows_per_file", "too_many"),
    [(3, 100, 0), (4, 100, 3), (4, 2, 2), (5, 2, 0), (6, 2, 3), (9, 5, 7), (0, 100, 0)],
)
def test_what_would_not_halve_the_files_is_left_alone(
    files: int, rows_per_file: int, too_many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path)
    scatter(lake, D1, files)
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", rows_per_file)
    assert scattered(lake, TABLE, D1, FROM) == too_many


def test_rows_that_are_kept_apart_stay_apart(tmp_path: Path) -> None:
    lake, schema = Lake(tmp_path), TABLES[PARTED].schema
    column = str(TABLES[PARTED].apart_by)
    with lake.replace(PARTED, D1) as writer:
        for number in range(8):
            days = [D1, D2] if number % 2 else [D1]
            row: dict[str, list[Any]] = {name: [None] * len(days) for name in schema}
            row |= {"event_id": [f"e{number}-{day}" for day in days], column: days}
            writer.write(pl.DataFrame(row, schema=schema))
            writer.flush()
    before = rows_in_any_order(lake), [held_ids(lake, day) for day in (D1, D2)]
    assert len(lake.files(PARTED, D1)) == 12
    assert compact(lake, PARTED, D1)
    assert [(file.rows, file.dates) for file in lake.files(PARTED, D1)] == [(8, (D1, D1)), (4, (D2, D2))]
    assert (rows_in_any_order(lake), [held_ids(lake, day) for day in (D1, D2)]) == before
    assert [lake.rows_of(PARTED, D1, day) for day in (D1, D2)] == [8, 4]


def rows_in_any_order(lake: Lake) -> tuple[Any, ...]:
    """All partitions, and rows of a table whose rows are kept apart."""
    return lake.partitions(PARTED), sorted(lake.scan(PARTED, [D1]).collect().rows(), key=str)


def held_ids(lake: Lake, of_date: date) -> list[str]:
    """The events of a date, in order."""
    slices = lake.slices(PARTED, D1, of_date)
    column = str(TABLES[PARTED].apart_by)
    return pl.concat(slices).filter(pl.col(column) == of_date).collect()["event_id"].to_list()


def test_a_table_of_another_engine_is_compacted_too_and_still_says_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    scatter(lake, D1, 4)
    put(lake, D2, 9)
    table = DeltaTable(tmp_path / TABLE)
    table.optimize.compact()
    for value in range(5):
        frame = pl.DataFrame({"ingest_date": [D1]}).hstack(numbers(value))
        frame.write_delta(str(tmp_path / TABLE), mode="append")
    before = everything(lake)
    assert len(lake.files(TABLE, D1)) == 6
    assert compact(lake, TABLE, D1)
    assert len(lake.files(TABLE, D1)) == 1
    assert everything(lake) == before
    assert lake.partitions(TABLE)[D1].built_from == ""


def test_what_went_out_of_use_goes_when_it_is_old(lake: Lake) -> None:
    compact(lake, TABLE, D1)
    assert len(data_files(lake, D1)) == 7
    maintain_table(lake.root, TABLE, KEEP)
    assert len(data_files(lake, D1)) == 7
    age(lake)
    before = everything(lake)
    assert maintain_table(lake.root, TABLE, KEEP).files_removed == 6
    assert everything(Lake(lake.root)) == before


def test_a_partition_that_lost_one_of_its_compacted_files_is_another(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine of others leaves it, whose DELETE takes every row of a file."""
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", 2)
    assert compact(lake, TABLE, D1)
    whole = lake.version(TABLE, D1)
    DeltaTable(lake.root / TABLE).delete("value < 2.0 AND ingest_date = '2025-12-10'")
    assert held(lake, D1) == [2, 3, 4, 5]
    assert lake.version(TABLE, D1) != whole
    scatter(lake, D1, 6)
    assert (held(lake, D1), lake.version(TABLE, D1)) == (list(range(6)), whole)


def test_a_reader_that_looked_before_reads_on(lake: Lake) -> None:
    reader = Lake(lake.root, frozen=True)
    assert held(reader, D1) == list(range(6))
    compact(lake, TABLE, D1)
    assert held(reader, D1) == list(range(6))


# -- others at the same time ------------------------------------------------------------------------


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let something happen whenever a compaction is about to commit, so many times."""
    really = DeltaTable.create_write_transaction

    def prepare(what: Callable[[], None], times: int = 1) -> None:
        left = iter(range(times))

        def committing(delta: DeltaTable, actions: list[Any], mode: str, **rest: Any) -> None:
            if mode == "append" and next(left, None) is not None:
                what()
            really(delta, actions, mode, **rest)

        monkeypatch.setattr(DeltaTable, "create_write_transaction", committing)
        monkeypatch.setattr(compaction.time, "sleep", lambda _: None)

    return prepare


def test_a_partition_replaced_meanwhile_stays_as_it_was_made(lake: Lake, overtaken: Callable[..., None]) -> None:
    overtaken(lambda: put(Lake(lake.root), D1, 7, 8))
    assert not compact(lake, TABLE, D1)
    assert held(lake, D1) == [7, 8]
    assert len(lake.files(TABLE, D1)) == 1


def test_other_partitions_may_be_replaced_meanwhile(lake: Lake, overtaken: Callable[..., None]) -> None:
    values = iter(range(100, 200))
    overtaken(lambda: put(Lake(lake.root), D2, next(values)), 3)
    assert compact(lake, TABLE, D1)
    assert (held(lake, D1), held(lake, D2), len(lake.files(TABLE, D1))) == (list(range(6)), [102], 1)


def test_who_is_always_overtaken_gives_up(lake: Lake, overtaken: Callable[..., None]) -> None:
    values = iter(range(100, 200))
    overtaken(lambda: put(Lake(lake.root), D2, next(values)), 99)
    before = data_files(lake, D1)
    assert not compact(lake, TABLE, D1)
    assert held(lake, D1) == list(range(6))
    assert len(data_files(lake, D1) - before) == 1, "its commit may have been done: maintenance removes the file"


def test_a_commit_that_seems_to_fail_but_was_done_is_done(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    really = DeltaTable.create_write_transaction

    def done_and_refused(delta: DeltaTable, *args: Any, **rest: Any) -> None:
        really(delta, *args, **rest)
        raise compaction.CommitFailedError("no answer")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", done_and_refused)
    assert compact(lake, TABLE, D1)
    assert (held(lake, D1), len(lake.files(TABLE, D1))) == (list(range(6)), 1)


def test_a_replacement_that_looked_before_the_compaction_replaces_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it let through beside it, the rows of both would be there (deltalake 1.6.6, by what Delta tells it to ask)."""
    really, other = DeltaTable.create_write_transaction, Lake(lake.root)
    pending = [lambda: compact(other, TABLE, D1)]

    def committing(delta: DeltaTable, actions: list[Any], mode: str, **rest: Any) -> None:
        if mode == "overwrite" and pending:
            assert pending.pop()()
        really(delta, actions, mode, **rest)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", committing)
    put(lake, D1, 7, 8)
    assert not pending
    assert held(lake, D1) == [7, 8]
    rows = duckdb.sql("SELECT count(*) FROM rows", connection=connection_with(lake)).fetchall()
    assert rows == [(3,)]


def connection_with(lake: Lake) -> duckdb.DuckDBPyConnection:
    """The table, as another engine reads it."""
    connection = duckdb.connect()
    connection.register("rows", DeltaTable(lake.root / TABLE).to_pyarrow_dataset())
    return connection


DIES = """
from deltalake import DeltaTable
from assets_pkg.storage.compaction import compact
really = DeltaTable.create_write_transaction
def stop(*args, **kwargs):
    if words[0] == "after":
        really(*args, **kwargs)
    tell("ready")
    time.sleep(60)
DeltaTable.create_write_transaction = stop
compact(lake, TABLE, D1)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_its_commit_it_loses_nothing(when: str, lake: Lake) -> None:
    before = everything(lake)
    assert end(start(lake, DIES, when), kill=True) == -9
    assert everything(Lake(lake.root)) == before
    assert len(Lake(lake.root).files(TABLE, D1)) == (6 if when == "before" else 1)


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with small_disk(lake.root, "400k"):
        scatter(lake, D1, 6)
        before, files = everything(lake), data_files(lake, D1)
        filling = fill(lake.root)
        with pytest.raises(LakeError, match=f"{TABLE} cannot be written to .*its disk is full"):
            compact(lake, TABLE, D1)
        assert (everything(lake), data_files(lake, D1)) == (before, files)
        filling.unlink()
        assert compact(lake, TABLE, D1)
        assert everything(lake) == before


def test_a_lost_or_spoilt_file_is_not_compacted(lake: Lake) -> None:
    first, second = (Path(file.location) for file in lake.files(TABLE, D1)[:2])
    size = second.stat().st_size
    second.write_bytes(b"x" * size)
    with pytest.raises(LakeError, match=f"{TABLE} of {D1} cannot be read: .* move the file away and run the day again"):
        compact(lake, TABLE, D1)
    first.unlink()
    assert scattered(lake, TABLE, D1, FROM) == 0
    assert len(lake.files(TABLE, D1)) == 6


# -- the rows of raw files ----------------------------------------------------------------------------


@pytest.fixture
def hourly(tmp_path: Path) -> Workbench:
    """A day of hourly files that was run, and whose raw tables were compacted."""
    bench = Workbench(tmp_path, {"maintenance": {"compact_from_files": FROM}})
    bench.put("customers_raw.csv", customers_csv("c1"))
    for hour in range(6):
        odd = {"mood": "good"} if hour == 3 else {}
        rows = [{**GOOD["events"], "event_id": f"e{hour}-{row}", **odd} for row in range(2)]
        bench.put(f"hour={hour:02}/events_raw.csv", csv_of(rows))
    bench.run_day()
    return bench


def packed(bench: Workbench) -> int:
    """Compact the raw events; how many data files they have."""
    assert compact(bench.work.lake, EVENTS.raw, DAY)
    return len(bench.work.lake.files(EVENTS.raw, DAY))


def everything_of(bench: Workbench) -> tuple[Any, ...]:
    """What a rerun must leave as it is, but for stamps: they are filled in once a file is no longer young."""
    return bench.versions(), [replace(file, stamp="") for file in bench.files(EVENTS)]


def test_a_rerun_of_a_compacted_day_has_nothing_to_do(hourly: Workbench) -> None:
    before = everything_of(hourly)
    assert packed(hourly) == 1
    commits = hourly.commits()
    hourly.run_day()
    assert (everything_of(hourly), hourly.commits()) == (before, commits)


def test_rows_of_a_compacted_day_are_carried_over_when_a_file_comes_changes_or_vanishes(hourly: Workbench) -> None:
    packed(hourly)
    one = hourly.put("hour=07/events_raw.csv", feed_csv("events", {"event_id": "e7"}))
    (hourly.settings.raw_dir / f"ingest_date={DAY}" / "hour=01" / "events_raw.csv").unlink()
    changed = hourly.put("hour=02/events_raw.csv", feed_csv("events", {"event_id": "changed"}))
    done = hourly.land(EVENTS)
    assert (set(done.read), len(done.carried), done.vanished) == (
        {one, changed},
        4,
        (f"ingest_date={DAY}/hour=01/events_raw.csv",),
    )
    ids = [row["event_id"] for row in hourly.rows(EVENTS.raw)]
    assert ids == [
        *(f"e{hour}-{row}" for hour in range(2) for row in range(2)),
        "changed",
        *(f"e{hour}-{row}" for hour in range(3, 6) for row in range(2)),
        "e7",
    ]
    assert [each.unknown_columns for each in hourly.files(EVENTS)] == [(), (), (), ("mood",), (), (), ()]


def test_a_lost_ledger_is_told_by_a_compacted_table_what_it_holds(hourly: Workbench) -> None:
    told = [(each.path, each.content_sha256, each.records, each.unknown_columns) for each in hourly.files(EVENTS)]
    packed(hourly)
    for path in hourly.settings.data_dir.glob("ledger*"):
        path.unlink()
    later = Workbench(hourly.folder)
    (next_day,) = days_from(DAY, 2)[1:]
    again = (hourly.settings.raw_dir / f"ingest_date={DAY}" / "hour=04" / "events_raw.csv").read_text()
    later.put("events_raw.csv", again, next_day)
    done = later.land(EVENTS, next_day)
    assert len(done.skipped) == 1, "its content is the other day's"
    records = later.files(EVENTS)
    assert [(each.path, each.content_sha256, each.records, each.unknown_columns) for each in records] == told
    before = later.versions()
    later.run_day()
    assert later.versions() == before
