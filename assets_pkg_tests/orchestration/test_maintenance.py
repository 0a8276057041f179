"""Maintenance as people meet it: the job, its schedule, the command, and what they say of a table that is broken."""

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import INGEST_TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.health import unhealthy
from assets_pkg.orchestration.jobs import MAINTENANCE_SCHEDULE
from assets_pkg.orchestration.maintenance import MAINTENANCE_JOB
from assets_pkg.orchestration.notifications import failed_runs
from assets_pkg.policy import load_policy
from assets_pkg.settings import Settings
from assets_pkg.steps.maintenance import maintain
from assets_pkg.storage.lake import LOG, LakeError
from assets_pkg.storage.locks import FolderLocks, day_locks
from assets_pkg.transforms.notices import NO_AXIS, News, message
from assets_pkg_tests.orchestration.pipeline import QUIET, good_day, instance_in_memory, put_files
from assets_pkg_tests.orchestration.test_cli import fails, told_here
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, days_from

LEFT_BY_A_KILLED_RUN = "part-00000-00000000000000000000-unsaid-00000000.parquet"
OLD = "raw_orders"  # whose broken log is met after other tables and before more of them


def processed(folder: Path) -> Workbench:
    """A day that was run, and in each table a file of 100 bytes that a run left which was killed long ago."""
    bench = Workbench(folder)
    put_files(bench, DAY, good_day(DAY))
    bench.run_day()
    for table in INGEST_TABLES:
        made_long_ago(bench.settings.lake_dir / table / f"ingest_date={DAY}" / LEFT_BY_A_KILLED_RUN)
    return bench


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processed day, to be copied."""
    return processed(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def bench(template: Path, tmp_path: Path) -> Workbench:
    """A processed day."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    return Workbench(tmp_path)


def made_long_ago(path: Path) -> Path:
    """A file of 100 bytes that nobody wrote to for ten days."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    os.utime(path, (time.time() - 240 * 3600,) * 2)
    return path


def spoil(bench: Workbench) -> Path:
    """One table cannot be opened."""
    path = bench.settings.lake_dir / OLD / LOG / f"{1:020d}.json"
    path.write_text("{broken")
    return path


def left(bench: Workbench) -> set[str]:
    """The tables that still have the killed run's file."""
    return {path.parts[-3] for path in bench.settings.lake_dir.rglob(LEFT_BY_A_KILLED_RUN)}


# -- the step -------------------------------------------------------------------------------------------------


def test_every_table_is_maintained_and_rows_are_as_before(bench: Workbench) -> None:
    before = bench.versions()
    done = maintain(bench.work)
    assert ({each.table for each in done.tables}, left(bench), done.problems) == ({*INGEST_TABLES}, set(), [])
    assert (done.total["files"] - done.total["files after"], done.freed) == (
        len(INGEST_TABLES),
        100 * len(INGEST_TABLES),
    )
    assert bench.versions() == before
    commits = bench.commits()
    bench.run_day()
    assert bench.commits() == commits, "nothing is built anew"


def test_partitions_of_many_files_are_compacted_and_stay_up_to_date(bench: Workbench) -> None:
    for hour in range(8):
        row = {"event_id": f"h{hour}", "event_time": f"{DAY}T{hour:02}:30:00Z"}
        bench.put_feed("events", row, name=f"hour={hour:02}/events_raw.csv")
    bench.run_day()
    before, rows = bench.versions(), bench.rows("raw_events")
    files = len(bench.work.lake.files("raw_events", DAY))
    assert files > 8
    would = maintain(bench.work, dry_run=True)
    assert len(bench.work.lake.files("raw_events", DAY)) == files
    holder = day_locks(bench.settings.ledger, bench.settings.lock_dir, "a-run")
    assert holder.take(DAY, 0)
    assert maintain(bench.work).total["files compacted"] == 0, "a run has the day"
    holder.close()
    done = maintain(bench.work)
    assert would.total["files compacted"] == done.total["files compacted"] == files - 1
    assert len(bench.work.lake.files("raw_events", DAY)) == 1
    assert (bench.versions(), bench.rows("raw_events")) == (before, rows)
    assert maintain(bench.work).total["files compacted"] == 0
    commits = bench.commits()
    bench.run_day()
    assert bench.commits() == commits, "nothing is built anew"


def test_a_partition_that_cannot_be_read_is_told_and_others_are_compacted(bench: Workbench) -> None:
    days = days_from(DAY, 2)
    for day in days:
        for hour in range(8):
            bench.put_feed("events", {"event_id": f"{day} {hour}"}, day=day, name=f"hour={hour:02}/events_raw.csv")
        bench.land(EVENTS, day)
    before = bench.rows("raw_events")
    spoilt = Path(bench.work.lake.files("raw_events", DAY)[3].location)
    spoilt.write_bytes(b"x" * spoilt.stat().st_size)
    done = maintain(bench.work)
    (problem,) = done.problems
    assert problem.startswith(f"raw_events: raw_events of {DAY} cannot be read: its data file {spoilt} is spoilt (")
    assert len(bench.work.lake.files("raw_events", days[1])) == 1
    spoilt.unlink()  # as it says
    bench.land(EVENTS)
    assert (bench.rows("raw_events"), maintain(bench.work).problems) == (before, [])
    assert len(bench.work.lake.files("raw_events", DAY)) == 1


def test_a_day_whose_lock_cannot_be_taken_is_told(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(8):
        bench.put_feed("events", {"event_id": f"h{hour}"}, name=f"hour={hour:02}/events_raw.csv")
    bench.land(EVENTS)

    def refused(*_: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FolderLocks, "take", refused)
    assert maintain(bench.work).problems == [
        f"raw_events: the lock on {DAY} cannot be taken: [Errno {errno.ENOSPC}] No space left on device"
    ]


def test_a_table_that_cannot_be_opened_does_not_keep_others_from_being_maintained(bench: Workbench) -> None:
    spoil(bench)
    done = maintain(bench.work)
    assert left(bench) == {OLD}
    (problem,) = done.problems
    assert problem.startswith(f"{OLD}: ")


def test_what_else_killed_processes_left_goes_and_what_is_in_use_stays(bench: Workbench) -> None:
    reports, locks = bench.settings.reports_dir / f"ingest_date={DAY}", bench.settings.lock_dir
    old = made_long_ago(reports / ".alerts.json.new")
    young = reports / ".validation_report.json.new"
    young.write_text("{")
    whole = {path.name: path.read_bytes() for path in reports.iterdir() if path.suffix == ".json"}
    held = day_locks(bench.settings.ledger, locks, "a-run")
    assert held.take(DAY, 0)
    for name in (f"{DAY}.lock", f"{DAY}.holder"):
        os.utime(locks / "ingest_date" / name, (0, 0))
    unheld = made_long_ago(locks / "event_date" / "2025-01-01.lock")
    would = maintain(bench.work, dry_run=True)
    assert all(path.exists() for path in (old, unheld))
    done = maintain(bench.work)
    assert done.others == would.others == {"unfinished reports": 1, "locks that nobody holds": 1}
    assert [path.exists() for path in (old, unheld, young)] == [False, False, True]
    assert held.holder(DAY).startswith("run a-run")
    assert {path.name: path.read_bytes() for path in reports.iterdir() if path.suffix == ".json"} == whole
    held.close()


def test_where_nothing_was_run_there_is_nothing_to_maintain(tmp_path: Path) -> None:
    done = maintain(Workbench(tmp_path).work)
    assert (done.tables, done.freed, done.problems) == ([], 0, [])


# -- job and schedule -----------------------------------------------------------------------------------------


def run(bench: Workbench, instance: dg.DagsterInstance | None = None) -> dg.ExecuteInProcessResult:
    job = build_definitions(bench.settings, bench.work.policy).resolve_job_def(MAINTENANCE_JOB)
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)


def rows_of(metadata: Any) -> dict[str, dict[str, Any]]:
    return {record.data["table"]: dict(record.data) for record in metadata["tables"].records}


def test_the_job_shows_every_table_and_what_was_freed(bench: Workbench) -> None:
    result = run(bench)
    assert result.success
    (event,) = [each for each in result.all_events if each.is_successful_output]
    metadata = event.step_output_data.metadata
    assert metadata["bytes freed"].value == 100 * len(INGEST_TABLES)
    assert metadata["files"].value - metadata["files after"].value == len(INGEST_TABLES)
    rows = rows_of(metadata)
    assert rows.keys() == INGEST_TABLES.keys()
    assert {row["bytes freed"] for row in rows.values()} == {100}
    assert left(bench) == set()


def test_a_table_that_is_not_maintained_fails_the_run_at_its_end(bench: Workbench) -> None:
    spoil(bench)
    result = run(bench)
    assert not result.success
    assert left(bench) == {OLD}
    (failure,) = [each.step_failure_data for each in result.all_events if each.is_step_failure]
    assert failure.user_failure_data.description.startswith(f"Not everything could be maintained:\n{OLD}: ")
    rows = rows_of(failure.user_failure_data.metadata)
    assert [name for name, row in rows.items() if row["problem"]] == [OLD]


def test_a_run_of_maintenance_that_fails_is_told_of_no_day_until_one_succeeds(bench: Workbench) -> None:
    broken = spoil(bench)
    with instance_in_memory() as instance:
        for _ in range(2):
            failed = run(bench, instance)
            assert not failed.success
            (problem,) = failed_runs(instance)
        why = "in maintain_tables: Not everything could be maintained: "
        assert problem.axis == NO_AXIS
        assert problem.text.startswith(f"maintenance failed (run {failed.run_id[:8]}) {why}")
        told = message(News((problem,), (), ()))
        assert told.body.startswith(f"- high: maintenance failed (run {failed.run_id[:8]}) {why}")
        with pytest.raises(LakeError, match=f"{OLD} cannot be opened at .* backup, or move the table's folder away"):
            unhealthy(bench.work, instance, [])
        broken.unlink()
        (row,) = (row for row in unhealthy(bench.work, instance, []) if row["state"] == "failed")
        assert (row["asset"], row["days"], row["mended by"]) == (
            "maintenance",
            "",
            "python -m assets_pkg maintain",
        )
        assert run(bench, instance).success
        assert failed_runs(instance) == []


@pytest.mark.parametrize(
    ("settings", "cron", "status"),
    [
        ({}, "0 6 * * SUN", dg.DefaultScheduleStatus.STOPPED),
        (
            {"automatic": True, "schedule_hour": 23, "schedule_zone": "Europe/Berlin"},
            "0 1 * * SUN",
            dg.DefaultScheduleStatus.RUNNING,
        ),
    ],
)
def test_the_schedule_runs_the_job_every_week(
    settings: dict[str, Any], cron: str, status: dg.DefaultScheduleStatus
) -> None:
    made = Settings(data_dir=Path("unused"), **settings)
    schedule = build_definitions(made, load_policy()).resolve_schedule_def(MAINTENANCE_SCHEDULE)
    assert (schedule.job_name, schedule.cron_schedule, schedule.default_status) == (MAINTENANCE_JOB, cron, status)
    assert schedule.execution_timezone == made.schedule_zone.key


# -- the command ----------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_did_and_a_dry_run_does_not_do_it(bench: Workbench) -> None:
    places = {
        "PIPELINE_DATA_DIR": str(bench.settings.data_dir),
        "PIPELINE_REPORTS_DIR": str(bench.settings.reports_dir),
    }
    dry = told_here(bench.folder, "maintain", "--dry-run", **places)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert left(bench) == INGEST_TABLES.keys()
    told = told_here(bench.folder, "maintain", **places)
    assert (told.returncode, told.stderr, left(bench)) == (0, "", set())
    for said in (dry.stdout, told.stdout):
        (total,) = [line.split("│")[1:-1] for line in said.splitlines() if "│ total " in line]
        assert total[-1].strip() == "1.5 kB"
        assert int(total[1]) - int(total[2]) == len(INGEST_TABLES)


def test_the_command_names_a_table_that_it_could_not_maintain(bench: Workbench) -> None:
    spoil(bench)
    places = {
        "PIPELINE_DATA_DIR": str(bench.settings.data_dir),
        "PIPELINE_REPORTS_DIR": str(bench.settings.reports_dir),
    }
    fails(told_here(bench.folder, "maintain", **places), 1, "Not maintained:", f"{OLD}: ")
    assert left(bench) == {OLD}
