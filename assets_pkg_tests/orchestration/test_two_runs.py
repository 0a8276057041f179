"""Real processes: two runs of a day at once, and runs that are killed while they work."""

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.activity import refresh
from assets_pkg.storage.lake import Partition
from assets_pkg.storage.locks import FolderLocks, days_locked
from assets_pkg_tests.orchestration.pipeline import command_line, environment, good_day, put_files
from assets_pkg_tests.workbench import DAY, ROOT, Workbench

# What a run leaves behind, in the order in which it does. A kill comes as soon as one of them is there.
INSTANTS = [
    "data/locks/ingest_date/2025-12-10.holder",
    "data/ledger.db",
    "data/lake/raw_events/ingest_date=2025-12-10/*.parquet",
    "data/lake/raw_events/_delta_log/00000000000000000001.json",
    "data/lake/customers_clean/ingest_date=2025-12-10/*.parquet",
    "data/lake/events_clean/_delta_log/00000000000000000000.json",
    "data/lake/events_quarantine/ingest_date=2025-12-10/*.parquet",
    "data/lake/events_profile/_delta_log/00000000000000000001.json",
    "reports/ingest_date=2025-12-10/validation_report.json",
    "data/lake/daily_metrics/_delta_log/00000000000000000001.json",
    "data/lake/alerts/_delta_log/00000000000000000001.json",
]


def project(folder: Path) -> Path:
    """A folder with the project's own dagster.yaml, to be DAGSTER_HOME and working folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    return folder


def started(folder: Path, **settings: str) -> subprocess.Popen[str]:
    """A run of DAY in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "assets_pkg", "run", "--date", str(DAY)],
        cwd=folder,
        env={**environment(folder, folder), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tables(bench: Workbench) -> dict[str, dict[date, Partition]]:
    """Each partition's content version."""
    return {table: bench.work.lake.partitions(table) for table in TABLES}


def ledger(bench: Workbench) -> list[tuple[str, str, int]]:
    """Every file with what became of it."""
    return [(file.path, file.status, file.records) for feed in FEEDS.values() for file in bench.files(feed)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """The day, run without Dagster and without haste."""
    bench = Workbench(tmp_path_factory.mktemp("undisturbed"))
    put_files(bench, DAY, good_day(DAY))
    bench.run_day(with_page=True)
    refresh(bench.work, [DAY])
    return bench


def as_undisturbed(bench: Workbench, undisturbed: Workbench) -> None:
    assert tables(bench) == tables(undisturbed)
    assert bench.report_bytes() == undisturbed.report_bytes()
    assert ledger(bench) == ledger(undisturbed)
    for table in TABLES:  # the rows are there, not only their names
        assert bench.work.lake.scan(table, [DAY]).collect().height == bench.work.lake.rows(table, DAY)


# -- two at once ----------------------------------------------------------------------------------------------


def test_two_runs_of_a_day_at_once_both_succeed_and_give_the_same_tables(
    tmp_path: Path, undisturbed: Workbench
) -> None:
    bench = Workbench(project(tmp_path))
    put_files(bench, DAY, good_day(DAY))
    both = [started(tmp_path), started(tmp_path)]
    told = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    as_undisturbed(bench, undisturbed)
    # The second came to what the first had written, and wrote nothing: one commit for the table, one for the day.
    assert set(bench.commits().values()) == {2}


def test_a_run_waits_for_the_day_to_be_free(tmp_path: Path, undisturbed: Workbench) -> None:
    bench = Workbench(project(tmp_path))
    put_files(bench, DAY, good_day(DAY))
    locks = bench.settings.lock_dir
    with days_locked(FolderLocks(locks, "an earlier run"), [DAY], wait_seconds=0, say=print):
        process = started(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=8)
        assert not bench.settings.lake_dir.exists()
        assert not bench.settings.reports_dir.exists()
    said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    as_undisturbed(bench, undisturbed)


@pytest.mark.parametrize("seconds", ["0", pytest.param("0.5", marks=pytest.mark.slow)])
def test_a_run_that_may_not_wait_fails_and_names_who_holds_the_day(tmp_path: Path, seconds: str) -> None:
    bench = Workbench(project(tmp_path))
    put_files(bench, DAY, good_day(DAY))
    with days_locked(FolderLocks(bench.settings.lock_dir, "an-earlier-run"), [DAY], wait_seconds=0, say=print):
        holder = json.loads((bench.settings.lock_dir / INGEST_DATE / f"{DAY}.holder").read_text())
        told = command_line(
            "run", "--date", str(DAY), folder=tmp_path, home=tmp_path, PIPELINE_LOCK_WAIT_SECONDS=seconds
        )
    assert told.returncode == 1
    assert holder["run"] == "an-earlier-run"
    assert f"{DAY} is still being processed by run an-earlier-run (process {holder['process']})" in told.stderr
    assert "start it again" in told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    assert not bench.settings.lake_dir.exists()


# -- killed ---------------------------------------------------------------------------------------------------


def kill_when_there(process: subprocess.Popen[str], folder: Path, what: str) -> None:
    """SIGKILL as soon as the run has made a file."""
    until = time.monotonic() + 120
    while process.poll() is None and not any(folder.glob(what)):
        assert time.monotonic() < until, f"{what} never came"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"the run had ended before {what} was seen"


@pytest.mark.slow  # the normal suite kills runs in test_kills.py, and steps at each of their commits in test_file_histories.py
@pytest.mark.parametrize("instant", range(len(INSTANTS)))
def test_a_run_that_was_killed_and_started_again_gives_what_an_undisturbed_one_gives(
    tmp_path: Path, undisturbed: Workbench, instant: int
) -> None:
    bench = Workbench(project(tmp_path))
    put_files(bench, DAY, good_day(DAY))
    kill_when_there(started(tmp_path), tmp_path, INSTANTS[instant])
    for table, partitions in tables(bench).items():  # whatever is there is whole
        assert set(partitions.values()) <= set(tables(undisturbed)[table].values())
    told = command_line("run", "--date", str(DAY), folder=tmp_path, home=tmp_path)
    assert told.returncode == 0, told.stderr
    as_undisturbed(bench, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("instant", range(1, len(INSTANTS)))
def test_a_rerun_over_changed_files_that_was_killed_leaves_old_or_new_partitions(tmp_path: Path, instant: int) -> None:
    bench = Workbench(project(tmp_path / "killed"))
    put_files(bench, DAY, good_day(DAY))
    assert command_line("run", "--date", str(DAY), folder=bench.folder, home=bench.folder).returncode == 0
    old = tables(bench)
    corrected = good_day(DAY)["events_raw.csv"].replace("login", "click")
    bench.put("events_raw.csv", corrected)
    process = started(bench.folder)
    time.sleep(1.5 + 0.4 * instant)
    process.kill()
    process.communicate(timeout=60)
    other = Workbench(tmp_path / "undisturbed")
    put_files(other, DAY, {**good_day(DAY), "events_raw.csv": corrected})
    other.run_day(with_page=True)
    refresh(other.work, [DAY])
    new = tables(other)
    for table, partitions in tables(bench).items():
        assert partitions[DAY] in (old[table][DAY], new[table][DAY])
    assert command_line("run", "--date", str(DAY), folder=bench.folder, home=bench.folder).returncode == 0
    assert tables(bench) == new
    assert bench.report_bytes() == other.report_bytes()
