"""Maintenance: what no recent version needs goes, and nothing else, whoever reads, writes or dies meanwhile."""

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.table import TableAlterer

from assets_pkg.contracts.tables import TABLES
from assets_pkg.storage.lake import LOG, Lake
from assets_pkg.storage.maintenance import BUSY, CHECKPOINT_COMMITS, Upkeep, maintain_table
from assets_pkg_tests.orchestration.test_bad_days import small_disk
from assets_pkg_tests.unit.test_lake import D1, D2, D3, TABLE, any_rows, commits, data_files, end, held, put, start

KEEP = 24
PARTED = "events_clean"  # its data files have bounds in the log


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


def age(lake: Lake, hours: float = 2 * KEEP, table: str = TABLE) -> None:
    """Let everything of a table have been done so much earlier. Checkpoints go on saying when files were removed."""
    for path in [each for each in (lake.root / table).rglob("*") if each.is_file()]:
        then = path.stat().st_mtime - hours * 3600
        if path.suffix == ".json":
            earlier = re.sub(
                r'("deletionTimestamp":)(\d+)',
                lambda found: f"{found[1]}{int(found[2]) - int(hours * 3_600_000)}",
                path.read_text(),
            )
            path.write_text(earlier)
        os.utime(path, (then, then))


def orphan(lake: Lake, day: date, hours: float) -> str:
    """A data file that a killed process left so many hours ago."""
    path = lake.root / TABLE / f"ingest_date={day}" / f"part-00000-{'0' * 20}-unsaid-{hours:08.0f}.parquet"
    path.write_bytes(b"PAR1")
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    return path.name


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def read_by_all(lake: Lake, table: str = TABLE) -> tuple[Any, ...]:
    """What our own reader and those of others see of a table."""
    own = Lake(lake.root)
    days = own.partitions(table)
    dataset = DeltaTable(lake.root / table).to_pyarrow_dataset()
    assert dataset.schema.names == list(TABLES[table].full_schema)
    return (
        days,
        {day: own.files(table, day) for day in days},
        own.scan(table, days).collect().rows(),
        sorted(pl.scan_delta(str(lake.root / table)).collect().rows(), key=str),
        sorted(duckdb.execute("SELECT * FROM dataset").fetchall(), key=str),
    )


# -- what goes --------------------------------------------------------------------------------------


def test_what_no_recent_version_names_goes_and_nothing_else(lake: Lake) -> None:
    put(lake, D1, 1)
    put(lake, D1, 2)
    put(lake, D2, 5)
    (replaced,) = data_files(lake, D1) - {Path(file.location).name for file in lake.files(TABLE, D1)}
    age(lake)
    old, young = orphan(lake, D1, KEEP + 1), orphan(lake, D1, KEEP - 1)
    frozen = Lake(lake.root, frozen=True)
    assert frozen.rows(TABLE, D1) == 1
    put(lake, D1, 3)  # what held 2 is old, but was in use until now
    before, size = data_files(lake, D1), (lake.root / TABLE / f"ingest_date={D1}" / replaced).stat().st_size
    done = maintain_table(lake.root, TABLE, KEEP)
    assert before - data_files(lake, D1) == {old, replaced}
    assert young in data_files(lake, D1)
    assert (done.files, done.files_removed, done.bytes_removed, done.problem) == (6, 2, size + 4, "")
    assert done.bytes == sum(path.stat().st_size for path in (lake.root / TABLE).glob("*=*/*")) + size + 4
    assert (held(lake, D1), held(lake, D2), held(frozen, D1)) == ([3], [5], [2])


def test_a_dry_run_tells_what_would_go_and_touches_nothing(lake: Lake) -> None:
    for value in range(CHECKPOINT_COMMITS + 2):
        put(lake, D1, value)
    age(lake)
    before = tree(lake.root)
    would = maintain_table(lake.root, TABLE, KEEP, dry_run=True)
    assert tree(lake.root) == before
    did = maintain_table(lake.root, TABLE, KEEP)
    assert would.files_removed == did.files_removed == CHECKPOINT_COMMITS + 1
    assert replace(did, log_entries_after=would.log_entries_after, log_bytes_removed=0) == would


def test_maintenance_of_what_was_maintained_changes_nothing(lake: Lake) -> None:
    for value in range(CHECKPOINT_COMMITS):
        put(lake, D1, value)
    age(lake)
    for _ in range(2):
        maintain_table(lake.root, TABLE, KEEP)
    before = tree(lake.root)
    done = maintain_table(lake.root, TABLE, KEEP)
    assert tree(lake.root) == before
    assert done.files_removed == 0
    assert (done.numbers()["bytes freed"], done.files, done.log_entries) == (0, 1, done.log_entries_after)


# -- the log ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [TABLE, PARTED])
def test_a_table_is_read_the_same_when_its_log_is_a_checkpoint(table: str, lake: Lake) -> None:
    for number in range(CHECKPOINT_COMMITS):
        for day in (D1, D2):
            with lake.replace(table, day, built_from=f"v{number}") as writer:
                writer.write(any_rows(table))
    age(lake, table=table)
    watching = Lake(lake.root)
    before = read_by_all(lake, table)
    assert watching.partitions(table) == before[0]
    first = maintain_table(lake.root, table, KEEP)
    assert first.log_entries_after == first.log_entries + 3, "the properties, the checkpoint and its name"
    assert first.files_removed == 2 * CHECKPOINT_COMMITS - 2
    assert read_by_all(lake, table) == before
    age(lake, table=table)
    second = maintain_table(lake.root, table, KEEP)
    assert second.log_entries_after == commits(lake, table) + 2 == 3, "the last commit, the checkpoint and its name"
    assert second.log_bytes_removed > 0
    assert read_by_all(lake, table) == before
    assert watching.partitions(table) == before[0]
    with lake.replace(table, D3) as writer:
        writer.write(any_rows(table))
    assert list(watching.partitions(table)) == [D1, D2, D3]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose log was read, each time."""
    read: list[str] = []
    really = Lake._listed

    def listed(lake: Lake, table: str) -> Any:
        read.append(table)
        return really(lake, table)

    monkeypatch.setattr(Lake, "_listed", listed)
    return read


def test_a_log_that_is_a_checkpoint_alone_is_read_once(lake: Lake, looks: list[str]) -> None:
    """As engines of others leave it; deltalake keeps the last commit beside it."""
    put(lake, D1, 1)
    put(lake, D2, 2)
    DeltaTable(lake.root / TABLE).create_checkpoint()
    before = read_by_all(lake)
    for commit in (lake.root / TABLE / LOG).glob("*.json"):
        commit.unlink()
    looks.clear()
    found = [lake.partitions(TABLE) for _ in range(3)]
    assert found == [before[0]] * 3
    assert looks == [TABLE]
    assert read_by_all(lake) == before


def test_a_log_that_was_cleaned_up_is_read_once_more(lake: Lake, looks: list[str]) -> None:
    for value in range(CHECKPOINT_COMMITS):
        put(lake, D1, value)
    age(lake)
    maintain_table(lake.root, TABLE, KEEP)
    looks.clear()
    for _ in range(3):
        assert held(lake, D1) == [CHECKPOINT_COMMITS - 1]
    assert looks == [TABLE]


def test_a_commit_that_was_cleaned_up_did_come(lake: Lake) -> None:
    """Entries of a log go in no order: who looked long ago may find its commit there, and the next one gone."""
    put(lake, D1, 1)
    long_ago = Lake(lake.root)
    assert held(long_ago, D1) == [1]
    last_seen = commits(lake)
    put(lake, D1, 2)
    put(lake, D1, 3)
    DeltaTable(lake.root / TABLE).create_checkpoint()
    (lake.root / TABLE / LOG / f"{last_seen:020d}.json").unlink()
    assert held(long_ago, D1) == [3]


def test_a_log_that_has_hardly_grown_gets_no_checkpoint(lake: Lake) -> None:
    for value in range(CHECKPOINT_COMMITS - 2):
        put(lake, D1, value)
    maintain_table(lake.root, TABLE, KEEP)
    assert not list((lake.root / TABLE / LOG).glob("*.checkpoint.*"))
    put(lake, D1, 99)
    maintain_table(lake.root, TABLE, KEEP)
    assert list((lake.root / TABLE / LOG).glob("*.checkpoint.*"))


def test_recent_versions_can_still_be_read(lake: Lake) -> None:
    for value in range(CHECKPOINT_COMMITS):
        put(lake, D1, value)
    age(lake)
    then = DeltaTable(lake.root / TABLE).version()
    for value in range(100, 100 + CHECKPOINT_COMMITS):
        put(lake, D1, value)
    for _ in range(2):
        assert maintain_table(lake.root, TABLE, KEEP).problem == ""
    versions = [DeltaTable(lake.root / TABLE, version=then + number) for number in range(CHECKPOINT_COMMITS + 1)]
    values = [table.to_pyarrow_table()["value"].to_pylist() for table in versions]
    assert values == [[value] for value in (CHECKPOINT_COMMITS - 1, *range(100, 100 + CHECKPOINT_COMMITS))]


def test_a_checkpoint_says_what_was_removed_for_as_long_as_it_is_kept(lake: Lake) -> None:
    """Else a file's age alone would count, and Delta forgets after a week."""
    hours = 24 * 30
    put(lake, D1, 1)
    (first,) = (Path(file.location) for file in lake.files(TABLE, D1))
    put(lake, D1, 2)
    maintain_table(lake.root, TABLE, hours)
    age(lake, 24 * 20)
    os.utime(first, (0, 0))
    DeltaTable(lake.root / TABLE).create_checkpoint()
    assert maintain_table(lake.root, TABLE, hours).files_removed == 0


def test_what_deltalake_did_not_finish_goes_when_it_is_old(lake: Lake) -> None:
    put(lake, D1, 1)
    log = lake.root / TABLE / LOG
    old, young = log / f"{7:020d}.json#1", log / f"{8:020d}.checkpoint.parquet#12"
    for path, hours in ((old, KEEP + 1), (young, KEEP - 1)):
        path.write_bytes(b"{")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    maintain_table(lake.root, TABLE, KEEP)
    assert [old.exists(), young.exists()] == [False, True]


# -- other processes --------------------------------------------------------------------------------

REPLACES = """
tell("ready")
number = -1
while not Path(words[0]).exists():
    number += 1
    for day in (D1, D2, D3):
        put(lake, day, number)
tell(number)
"""


def test_maintenance_beside_a_writer_takes_nothing_that_is_needed(
    lake: Lake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for day in (D1, D2, D3):
        put(lake, day, -1)
    put(lake, D1, -2)
    age(lake)
    enough = tmp_path / "enough"
    reader = Lake(lake.root)
    writer = start(lake, REPLACES, enough)
    request.addfinalizer(partial(end, writer, kill=True))
    removed, then = 0, DeltaTable(lake.root / TABLE).version()
    for _ in range(8):
        present = {day: data_files(lake, day) for day in (D1, D2, D3)}
        done = maintain_table(lake.root, TABLE, KEEP)
        assert done.problem in ("", BUSY)  # a writer that does not pause may win every time: then again, as it says
        removed += done.files_removed
        gone = {name for day, names in present.items() for name in names - data_files(lake, day)}
        assert len(gone) == done.files_removed
        for day in (D1, D2, D3):
            assert reader.is_whole(TABLE, day)
            assert len(held(reader, day)) == 1
    enough.touch()
    assert writer.stdout is not None
    last = float(writer.stdout.readline())
    assert [held(lake, day) for day in (D1, D2, D3)] == [[last]] * 3
    assert maintain_table(lake.root, TABLE, KEEP).problem == ""
    assert removed == 1, "what -2 replaced; all else was in use a moment ago"
    # Every version since can be read: none of their data files is gone.
    delta = DeltaTable(lake.root / TABLE)
    for version in range(then, delta.version() + 1):
        delta.load_as_version(version)
        assert delta.to_pyarrow_table().num_rows == 3


DIES = """
from deltalake import DeltaTable
from deltalake.table import TableAlterer
from assets_pkg.storage import maintenance
where, times = words[0], int(words[1])
def stop(*args, **kwargs):
    global times
    times -= 1
    if times < 0:
        tell("ready")
        time.sleep(60)
    return really(*args, **kwargs)
owner = {"unlink": Path, "set_table_properties": TableAlterer, "remove_older": maintenance}.get(where, DeltaTable)
really = getattr(owner, where)
setattr(owner, where, stop)
maintenance.maintain_table(lake.root, TABLE, 24)
"""


@pytest.mark.parametrize(
    ("where", "times"),
    [
        ("unlink", 5),
        ("set_table_properties", 0),
        ("create_checkpoint", 0),
        ("cleanup_metadata", 0),
        ("remove_older", 0),
    ],
)
def test_maintenance_killed_anywhere_loses_nothing_and_is_finished_by_the_next(
    where: str, times: int, lake: Lake
) -> None:
    for value in range(CHECKPOINT_COMMITS):
        put(lake, D1, value)
    put(lake, D2, 7)
    age(lake)
    orphan(lake, D2, KEEP + 1)
    before = read_by_all(lake)
    process = start(lake, DIES, where, times)
    assert end(process, kill=True) == -9
    assert read_by_all(lake) == before
    put(lake, D3, 8)
    for _ in range(2):
        assert maintain_table(lake.root, TABLE, KEEP).problem == ""
        age(lake)
    assert sum(len(data_files(lake, day)) for day in (D1, D2, D3)) == 3
    assert commits(lake) <= 2
    assert (held(lake, D1), held(lake, D2), held(lake, D3)) == ([CHECKPOINT_COMMITS - 1], [7], [8])


def test_a_cleaning_of_the_log_that_was_killed_is_finished_by_the_next(lake: Lake) -> None:
    for value in range(CHECKPOINT_COMMITS):
        put(lake, D1, value)
    age(lake)
    maintain_table(lake.root, TABLE, KEEP)
    age(lake)
    log = lake.root / TABLE / LOG
    for version in (1, 4, 5, 8):  # in no order, as deltalake removes them
        (log / f"{version:020d}.json").unlink()
    before = read_by_all(lake)
    assert maintain_table(lake.root, TABLE, KEEP).problem == ""
    assert commits(lake) == 1
    assert read_by_all(lake) == before


# -- when something goes wrong ------------------------------------------------------------------------


def broken_log(log: Path) -> None:
    max(log.glob("*.json")).write_text("{broken")


def no_log(log: Path) -> None:
    for commit in log.iterdir():
        commit.unlink()


@pytest.mark.parametrize("spoil", [broken_log, no_log])
def test_a_table_that_cannot_be_opened_is_left_alone(spoil: Callable[[Path], None], lake: Lake) -> None:
    put(lake, D1, 1)
    put(lake, D1, 2)
    age(lake)
    spoil(lake.root / TABLE / LOG)
    before = tree(lake.root)
    done = maintain_table(lake.root, TABLE, KEEP)
    assert tree(lake.root) == before
    assert (done.files, done.files_removed) == (2, 0)
    assert "maintain it again" in done.problem
    assert len(done.problem.splitlines()) == 1


def fill(folder: Path) -> Path:
    """Leave no room on a disk."""
    filling = folder / "filling"
    with suppress(OSError), filling.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    return filling


def test_a_full_disk_gets_room_before_its_log_is_written(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with small_disk(lake.root, "400k"):
        for value in range(CHECKPOINT_COMMITS):
            put(lake, D1, value)
        age(lake)
        before = read_by_all(lake)
        fill(lake.root)
        done = maintain_table(lake.root, TABLE, KEEP)
        assert (done.problem, done.files_removed) == ("", CHECKPOINT_COMMITS - 1)
        assert read_by_all(lake) == before


@pytest.fixture
def contend(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let another process replace a partition whenever maintenance is about to commit, some times; nobody waits."""
    really = TableAlterer.set_table_properties
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def contending(times: int) -> None:
        left = iter(range(times))

        def overtaken(alterer: TableAlterer, properties: dict[str, str]) -> None:
            if (number := next(left, None)) is not None:
                put(Lake(Path(alterer.table.table_uri.removeprefix("file://")).parent), D1, 100 + number)
            really(alterer, properties)

        monkeypatch.setattr(TableAlterer, "set_table_properties", overtaken)

    return contending


@pytest.mark.parametrize(("times", "problem"), [(3, ""), (99, "other processes kept writing it; maintain it again")])
def test_maintenance_that_a_writer_overtakes_tries_again(
    times: int, problem: str, lake: Lake, contend: Callable[[int], None]
) -> None:
    put(lake, D1, 1)
    contend(times)
    assert maintain_table(lake.root, TABLE, KEEP).problem == problem
    assert len(held(lake, D1)) == 1
    assert len(DeltaTable(lake.root / TABLE).metadata().configuration) == (0 if problem else 2)


def test_a_disk_that_stays_full_is_told_and_loses_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with small_disk(lake.root, "400k"):
        for value in range(CHECKPOINT_COMMITS):
            put(lake, D1, value)
        before = read_by_all(lake)
        filling = fill(lake.root)
        assert maintain_table(lake.root, TABLE, KEEP).problem.startswith("its disk is full; make room")
        assert read_by_all(lake) == before
        filling.unlink()
        assert maintain_table(lake.root, TABLE, KEEP).problem == ""
        assert read_by_all(lake) == before


def test_numbers_add_up() -> None:
    numbers = Upkeep("t", 5, 50, 2, 20, 9, 4, 7, 3).numbers()
    assert list(numbers.values()) == [5, 3, 50, 30, 3, 9, 4, 27]
