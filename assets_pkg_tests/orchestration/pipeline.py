"""The pipeline as Dagster runs it, on a real instance and a real lake in a folder of its own."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.test_utils import instance_for_test
from sqlalchemy import Connection

from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.partitions import range_tags
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, customers_csv, feed_csv

QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_EVENTS = "events.db"
CUSTOMERS_A_DAY, ORDERS_A_DAY, HOURS = 5, 10, 24
Check = tuple[str, str]  # asset, check
Result = dg.ExecuteInProcessResult


class Pipeline:
    """A workbench whose days are run by the project's own job."""

    def __init__(self, bench: Workbench, instance: dg.DagsterInstance) -> None:
        self.bench = bench
        self.instance = instance
        self.defs = build_definitions(self.bench.settings, self.bench.work.policy)

    @property
    def check_specs(self) -> list[dg.AssetCheckSpec]:
        """All checks of the definitions."""
        graph = self.defs.resolve_asset_graph()
        return [graph.get_check_spec(key) for key in graph.asset_check_keys]

    def under(self, overlay: dict[str, Any]) -> "Pipeline":
        """The same data and instance under another policy."""
        return Pipeline(self.bench.under(overlay), self.instance)

    def versions(self) -> dict[tuple[str, date], str]:
        """What the partitions of the tables by ingest date hold, by table and day."""
        return {
            (table, day): each.version for table, days in self.bench.versions().items() for day, each in days.items()
        }

    def run(
        self,
        first: date = DAY,
        last: date | None = None,
        assets: Sequence[str] | None = None,
        *,
        job: str = DAILY_JOB,
        tags: Sequence[str] = (),
    ) -> Result:
        """The daily job, or another, for a day or for a range of days in one run; some tags of the run set to true."""
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
            raise_on_error=False,
            run_config=QUIET,
            tags=_days(first, last) | dict.fromkeys(tags, "true"),
        )

    def run_dates(self, first: date, last: date | None = None, *tags: str) -> Result:
        """The job of event dates."""
        return self.run(first, last, job=ACTIVITY_JOB, tags=tags)

    def check(self, *checks: Check, first: date = DAY, last: date | None = None) -> Result:
        """Some checks alone, as the button in the web UI executes them."""
        keys = {dg.AssetCheckKey(dg.AssetKey(asset), name) for asset, name in checks}
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=QUIET,
            tags=_days(first, last),
        )

    def stored(self, asset: str, check: str) -> list[AssetCheckEvaluation]:
        """All evaluations of a check that the instance keeps, the newest first."""
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        history = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
        events = [each.event.dagster_event for each in history if each.event]
        of_type = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        return [event.asset_check_evaluation_data for event in events if event and event.event_type == of_type]


def _days(first: date, last: date | None) -> dict[str, str]:
    """As the web UI tells a run of its days."""
    return {"dagster/partition": str(first)} if last is None else range_tags(first, last)


class EventsInMemory(InMemoryEventLogStorage):
    """Dagster's own, which opens a connection for every statement; this keeps one, with which one thread is at a time."""

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._db_lock, self._held_conn.begin():
            yield self._held_conn


@contextmanager
def instance_in_memory(home: Path | None = None) -> Iterator[dg.DagsterInstance]:
    """An instance for one process whose events are in memory: on disk, Dagster's half of a run takes thrice the time.

    Tests with several processes, and those of what Dagster itself does, have theirs on disk, as people have. `home`: a
    folder for the rest of it, and for the events that `keep_events` left there.
    """
    events = {"module": __name__, "class": EventsInMemory.__name__}
    place = str(home) if home else None
    with instance_for_test(overrides={"event_log_storage": events}, temp_dir=place) as instance:
        if home and (home / _EVENTS).exists():
            _copy(sqlite3.connect(home / _EVENTS), _events_of(instance))
        yield instance


def keep_events(instance: dg.DagsterInstance, home: Path) -> None:
    """Write an instance's events where another one finds them."""
    _copy(_events_of(instance), sqlite3.connect(home / _EVENTS))


def _events_of(instance: dg.DagsterInstance) -> sqlite3.Connection:
    held: sqlite3.Connection = instance.event_log_storage._held_conn.connection.driver_connection  # type: ignore[attr-defined]
    return held


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    source.commit()
    source.backup(target)


@contextmanager
def pipeline_in(folder: Path) -> Iterator[Pipeline]:
    """A pipeline with an instance that lives as long as the block."""
    with instance_in_memory() as instance:
        yield Pipeline(Workbench(folder), instance)


def evaluations(result: Result) -> dict[tuple[str, str, str], AssetCheckEvaluation]:
    """A run's evaluations by asset, check and day."""
    found = result.get_asset_check_evaluations()
    by_name = {(each.asset_key.to_user_string(), each.check_name, each.partition or ""): each for each in found}
    assert len(by_name) == len(found), "a check was evaluated twice for a day"
    return by_name


def failed_steps(result: Result) -> list[str]:
    """The steps of a run that failed."""
    return [event.step_key or "" for event in result.all_events if event.is_step_failure]


def started_steps(result: Result) -> set[str]:
    """The steps of a run that began."""
    return {event.step_key or "" for event in result.all_events if event.is_step_start}


def facts(evaluation: AssetCheckEvaluation) -> dict[str, Any]:
    """The plain values of an evaluation's metadata; a table as its rows."""
    plain: dict[str, Any] = {}
    for name, value in evaluation.metadata.items():
        if isinstance(value, dg.TableMetadataValue):
            plain[name] = [dict(record.data) for record in value.records]
        else:
            plain[name] = value.value
    return plain


# -- raw files ------------------------------------------------------------------------------------------------


def event_rows(day: date, hours: int = HOURS, customer: str = "c1") -> list[dict[str, str]]:
    """An event in each hour of a day."""
    start = datetime.fromisoformat(f"{day}T00:30:00")
    return [
        {
            "event_id": f"e{day}-{hour}",
            "customer_id": customer,
            "event_time": f"{(start + timedelta(hours=hour)).isoformat()}Z",
        }
        for hour in range(hours)
    ]


def order_rows(day: date, customer: str = "c1") -> list[dict[str, str]]:
    """Some orders of a day."""
    rows = range(ORDERS_A_DAY)
    return [
        {"order_id": f"o{day}-{number}", "customer_id": customer, "order_time": f"{day}T05:00:{number:02d}Z"}
        for number in rows
    ]


def customer_ids() -> list[str]:
    """The customers of a good day."""
    return [f"c{number}" for number in range(1, CUSTOMERS_A_DAY + 1)]


def good_day(day: date) -> dict[str, str]:
    """Raw files of a day that no rule and no alert has anything to say about."""
    return {
        "customers_raw.csv": customers_csv(*customer_ids()),
        "events_raw.csv": feed_csv("events", *event_rows(day)),
        "orders_raw.csv": feed_csv("orders", *order_rows(day)),
    }


def put_files(bench: Workbench, day: date, files: Mapping[str, str | bytes]) -> None:
    """Write the raw files of a day."""
    for name, content in files.items():
        bench.put(name, content, day)


# -- real processes -------------------------------------------------------------------------------------------


def environment(folder: Path, home: Path, **settings: str) -> dict[str, str]:
    """The environment of a command on the pipeline in `folder`, with the Dagster instance in `home`."""
    of_ours = {"PIPELINE_DATA_DIR": str(folder / "data"), "PIPELINE_REPORTS_DIR": str(folder / "reports")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DAGSTER_"))}
    return {**inherited, **of_ours, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(home), **settings}


def command_line(
    *arguments: str, folder: Path, home: Path, cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """`python -m assets_pkg` in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "assets_pkg", *arguments],
        cwd=cwd or home,
        env={**environment(folder, home), "COLUMNS": "200", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
