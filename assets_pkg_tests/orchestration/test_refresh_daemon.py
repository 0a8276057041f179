"""Real processes: ingest dates are run, and the daemon alone brings the event dates up to date.

Whatever happens on the way (an update in the middle, a kill), the tables by event date end as the steps build them in
one go from the same raw files.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData

from assets_pkg.contracts.tables import ACTIVITY_TABLES, INGEST_TABLES, RESTATEMENTS
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.automation import REFRESH
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.partitions import range_tags
from assets_pkg.steps.activity import refresh
from assets_pkg_tests.orchestration.pipeline import environment, event_rows, good_day, put_files
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, days_from, feed_csv

# The project's daemons, which look every few seconds and not every 15 or 30: what they do, and in which order, is theirs.
_DAEMON: Final = """
from dagster._daemon import controller, sensor
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 3
sensor.MIN_INTERVAL_LOOP_TIME = 3
sensor.is_under_min_interval = lambda *_: False
from dagster._daemon.cli import main
main()
"""
WAIT_SECONDS: Final = 420.0  # machines are shared and slow; every wait ends
# What event dates are made from; the rest of the daily job is none of their business.
INGEST: Final = tuple(name for name in INGEST_TABLES if "customers" in name or "events" in name)
FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH = days_from(DAY, 6)
Tables = dict[str, dict[date, str]]  # the version of each partition
_T = TypeVar("_T")


class Shop:
    """A project's folder with its own instance, raw files and lake, and a daemon that works on it."""

    def __init__(self, folder: Path) -> None:
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / name, folder)
        self.folder = folder
        self.bench = Workbench(folder)
        self.defs = build_definitions(self.bench.settings, self.bench.work.policy)
        self.instance = dg.DagsterInstance.from_config(str(folder))
        self._log = folder / "daemon.log"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start_daemon(self) -> None:
        with self._log.open("ab") as out:
            daemon = subprocess.Popen(
                [sys.executable, "-c", _DAEMON, "run", "-w", "workspace.yaml"],
                cwd=self.folder,
                env=environment(self.folder, self.folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # code servers and runs are of its group: they end with it
            )
        self._daemons.append(daemon)

    def kill_daemon(self, *, alone: bool = False) -> None:
        """Alone, or with its code server and its runs, and with those of the daemons before it."""
        if self._daemons:
            os.kill(self._daemons[-1].pid, signal.SIGKILL)
            self._daemons[-1].wait(timeout=30)
        while self._daemons and not alone:
            with suppress(ProcessLookupError):
                os.killpg(self._daemons.pop().pid, signal.SIGKILL)

    def ingest(self, first: date, last: date | None = None) -> None:
        """Run the daily job by hand, as far as event dates are concerned."""
        result = self.defs.resolve_job_def(DAILY_JOB).execute_in_process(
            instance=self.instance,
            tags=range_tags(first, last or first),
            asset_selection=[dg.AssetKey(name) for name in INGEST],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success

    def tables(self) -> Tables:
        return _tables(self.bench)

    def built_by_steps(self) -> Tables:
        """The tables as the steps build them in one go, in order, from the raw files that are there."""
        with _for_a_moment(self.folder / "by steps") as folder:
            other = Workbench(folder)
            shutil.copytree(self.bench.settings.raw_dir, other.settings.raw_dir)
            days = sorted(date.fromisoformat(each.name[-10:]) for each in other.settings.raw_dir.iterdir())
            for day in days:
                other.clean_feeds(day)
            refresh(other.work, days)
            return _tables(other)

    def wait_until_refreshed(self) -> None:
        expected = self.built_by_steps()

        def looked() -> bool | None:
            return self.tables() == expected or None

        self.wait_for("the tables to be as the steps build them", looked)

    def wait_for(self, what: str, look: Callable[[], _T | None]) -> _T:
        """Look until there is something other than None; fails with `what` when the time is over."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            if (found := look()) is not None:
                return found
            assert self._daemons[-1].poll() is None, self._said()
            time.sleep(0.3)
        pytest.fail(f"waited {WAIT_SECONDS:.0f} s for {what}; {self._runs()}\n{self._said()}")

    def wait_for_ticks(self, count: int) -> None:
        """Until the sensor has looked some times more."""
        for _ in range(count):
            now = time.time()
            self.wait_for("a tick", lambda now=now: (_last_tick(self.instance) > now) or None)

    def wait_for_refresh_to_begin(self) -> None:
        """Until a run of the automation's works."""

        def looked() -> bool | None:
            runs = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            return any("dagster/from_automation_condition" in run.tags for run in runs) or None

        self.wait_for("a run of the automation", looked)

    def done(self) -> tuple[int, int, dict[str, int]]:
        """How many runs and backfills there were, and commits by table of event dates."""
        commits = {name: count for name, count in self.bench.commits().items() if name in ACTIVITY_TABLES}
        return self.instance.get_runs_count(), len(self.instance.get_backfills()), commits

    def _runs(self) -> list[str]:
        return [f"{run.run_id[:8]} {run.status.value} {run.tags}" for run in self.instance.get_runs()]

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def _tables(bench: Workbench) -> Tables:
    """All but what tells of how they came about."""
    lake = bench.work.lake
    return {
        table: {day: each.version for day, each in lake.partitions(table).items()}
        for table in ACTIVITY_TABLES
        if table != RESTATEMENTS.name
    }


@contextmanager
def _for_a_moment(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def _last_tick(instance: dg.DagsterInstance) -> float:
    """When the last tick that ended well began."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.instigator_data
        if state.name == REFRESH and isinstance(data, SensorInstigatorData) and data.last_tick_success_timestamp:
            return data.last_tick_timestamp or 0.0
    return 0.0


def late_file(day: date, hour: int) -> str:
    """An event of a day, for a file of another."""
    return feed_csv("events", {"event_id": f"late-{day}-{hour}", "event_time": f"{day}T{hour:02d}:10:00Z"})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Two ingest dates were run by hand; nobody asked for their event dates."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)  # dagster.yaml's paths are relative
        made = Shop(folder)
        try:
            for day in (FIRST, SECOND):
                put_files(made.bench, day, good_day(day))
            made.instance.get_runs_count()  # makes the databases: two processes that make them at once fail
            made.start_daemon()
            made.ingest(FIRST, SECOND)
            yield made
        finally:
            made.kill_daemon()
            made.instance.dispose()


def test_days_that_were_run_refresh_their_event_dates_and_an_unchanged_rerun_does_nothing(shop: Shop) -> None:
    shop.wait_until_refreshed()
    shop.wait_for_ticks(2)
    before = shop.done()
    shop.ingest(SECOND)
    shop.wait_for_ticks(3)
    runs, backfills, commits = before
    assert shop.done() == (runs + 1, backfills, commits)  # the one by hand


@pytest.mark.slow
def test_a_late_event_restates_its_date_and_no_other(shop: Shop) -> None:
    shop.wait_until_refreshed()
    shop.bench.put("events_raw.csv", late_file(FIRST, 5), THIRD)
    shop.bench.put("customers_raw.csv", good_day(THIRD)["customers_raw.csv"], THIRD)
    before = shop.bench.work.lake.partitions("activity_metrics")
    shop.ingest(THIRD)
    shop.wait_until_refreshed()
    after = shop.bench.work.lake.partitions("activity_metrics")
    changed = {day for day in after if day not in before or after[day].version != before[day].version}
    assert changed == {FIRST, THIRD}  # the third had no numbers
    restated = [row for day in after for row in shop.bench.rows("restatements", day)]
    assert {(row["event_date"], *row["caused_by"]) for row in restated} == {(FIRST, THIRD)}
    # 20 minutes before another event, it makes a session of one into a session of two.
    assert {row["metric"] for row in restated} == {"bounce_rate", "events_per_session_mean"}


@pytest.mark.slow
def test_a_day_that_is_run_again_during_the_refresh_is_not_missed(shop: Shop) -> None:
    put_files(shop.bench, FOURTH, good_day(FOURTH))
    shop.ingest(FOURTH)
    shop.wait_for_refresh_to_begin()
    shop.bench.put("events_raw.csv", feed_csv("events", *event_rows(FOURTH, hours=7)), FOURTH)
    shop.bench.put("events_raw_late.csv", late_file(THIRD, 6), FOURTH)
    shop.ingest(FOURTH)
    shop.wait_until_refreshed()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("day", "alone"),
    [
        pytest.param(FIFTH, True, id="the daemon, and its code server ends the run, and then itself"),
        pytest.param(SIXTH, False, id="all servers and runs"),
    ],
)
def test_a_refresh_that_was_killed_is_done_by_the_next_daemon(shop: Shop, day: date, alone: bool) -> None:
    put_files(shop.bench, day, good_day(day))
    shop.ingest(day)
    shop.wait_for_refresh_to_begin()
    shop.kill_daemon(alone=alone)
    shop.start_daemon()
    shop.wait_until_refreshed()
