"""Runs of the jobs in this process, on the Dagster instance that the web UI uses."""

import os
import re
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterError
from filelock import FileLock
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from assets_pkg.cli.console import INTERRUPTED, err, escape, fail, say
from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.orchestration.launcher import PROCESS, command_is_gone
from assets_pkg.orchestration.materialize import untold_days
from assets_pkg.orchestration.partitions import RunOfDays, range_tags, runs_of, spans_of
from assets_pkg.orchestration.workplace import ACTIVITY_JOB, DAILY_JOB, ONLY_STALE, VERIFY
from assets_pkg.steps.activity import MEASURE, reach
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError
from assets_pkg.storage.ledger import LedgerError


@dataclass
class Processed:
    """What runs did: the ingest dates they processed, the event dates they refreshed, since when.

    `had`: ingest dates that were processed before that.
    """

    had: frozenset[date]
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    succeeded: bool = True
    ingest_dates: list[date] = field(default_factory=list)
    event_dates: list[date] = field(default_factory=list)


def process(days: list[date], work: Workplace, *, verify: bool = False) -> Processed:
    """Run the daily job for `days`, then for every day whose files must be judged again because of them.

    Then refresh the event dates that all of these touch.
    """
    done = Processed(_processed(work))
    with opened_instance() as instance, _interruptible():
        bury_dead_runs(instance)
        try:
            work.ledger.pending_days()
        except LedgerError as error:
            fail(str(error))
        runner = _Runner(instance, verify=verify)
        again, before = days, list[date]()
        while again and again != before:
            done.ingest_dates = sorted({*done.ingest_dates, *again})
            done.succeeded &= runner.process(again)
            before, again = again, _pending(work)
            if again:
                say(
                    f"[yellow]Processed again:[/] {', '.join(map(str, again))}. Files there hold content that came or "
                    "went under another path.",
                    err,
                )
        done.succeeded &= runner.refresh(done.ingest_dates, replace(work, verify=verify))
        done.event_dates = sorted(runner.refreshed)
    return done


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        fail(INTERRUPTED)


def _processed(work: Workplace) -> frozenset[date]:
    try:
        return frozenset(work.lake.partitions(EVENTS.clean_table))
    except LakeError:
        return frozenset()  # the run will say so


def _pending(work: Workplace) -> list[date]:
    try:
        days = list(work.ledger.pending_days())
    except LedgerError:
        return []  # the run has said so already
    return [day for day in days if work.settings.is_ingest_date(day, datetime.now(UTC).date())]


@contextmanager
def opened_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that the web UI uses: DAGSTER_HOME's, else the one that dagster.yaml in this folder describes."""
    if not os.environ.get("DAGSTER_HOME"):
        home = Path.cwd()
        if not (home / "dagster.yaml").is_file():
            fail(
                f"There is no dagster.yaml in {home}. Give the command in the project's root, "
                "or set DAGSTER_HOME to the folder of your Dagster instance."
            )
        os.environ["DAGSTER_HOME"] = str(home)
    try:
        instance = _made(Path(os.environ["DAGSTER_HOME"]))
    except (DagsterError, OSError, SQLAlchemyError) as error:
        fail(f"The Dagster instance in DAGSTER_HOME={os.environ['DAGSTER_HOME']} cannot be used: {error}")
    with instance:
        yield instance


def _made(home: Path) -> dg.DagsterInstance:
    """The instance with its databases: Dagster's SQLite storages fail when two processes make them at once."""
    opening = home / ".dagster" / "opening.lock"
    opening.parent.mkdir(exist_ok=True)
    with FileLock(opening):
        return dg.DagsterInstance.get()


# Also made where no number changed, only to know what the numbers are made from.
_REMEMBERING = {dg.AssetKey(table.name) for table in MEASURE.tables}


class _Runner:
    """Runs jobs of the definitions, one after the other, in this process."""

    def __init__(self, instance: dg.DagsterInstance, *, verify: bool) -> None:
        from assets_pkg.definitions import defs  # noqa: PLC0415 - importing it reads the environment and the policy

        self._defs = defs
        self._instance = instance
        self._tags = {PROCESS: f"{socket.gethostname()}:{os.getpid()}", **({VERIFY: "true"} if verify else {})}
        self.refreshed: set[date] = set()

    def process(self, days: list[date]) -> bool:
        """Raw to alerts of ingest dates; whether all succeeded."""
        results = [self._run(DAILY_JOB, run) for run in runs_of(days)]  # all are run, also after a failure
        return all(result.success for result in results)

    def refresh(self, ingest_dates: list[date], work: Workplace) -> bool:
        """Bring event dates up to date, those that ingest dates touch and all others; whether all succeeded."""
        try:
            reached = reach(work, ingest_dates)
            if not any(
                stage.stale(work, dates, by_any_code=False)
                or untold_days(self._instance, work.lake, stage.names, dates)
                for stage, dates in reached.items()
            ):
                return True
        except LakeError as error:
            fail(str(error))
        days = self._defs.resolve_job_def(ACTIVITY_JOB).partitions_def
        dates = [each for each in {*chain(*reached.values())} if days is None or days.has_partition_key(str(each))]
        succeeded = True
        for first, last in spans_of(dates):
            tags = {**range_tags(first, last), ONLY_STALE: "true"}
            result = self._run(ACTIVITY_JOB, RunOfDays(f"event dates {first} to {last}", None, tags))
            self.refreshed |= {
                date.fromisoformat(event.partition)
                for event in result.all_events
                if event.is_step_materialization and event.partition and event.asset_key not in _REMEMBERING
            }
            succeeded &= result.success
        return succeeded

    def _run(self, job_name: str, run: RunOfDays) -> dg.ExecuteInProcessResult:
        job = self._defs.resolve_job_def(job_name)
        run_id = str(uuid.uuid4())
        with _progress(run.name, run_id, len(list(job.nodes)), self._instance):
            result = job.execute_in_process(
                instance=self._instance,
                run_id=run_id,
                tags={**self._tags, **run.tags},
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                partition_key=run.key,
            )
        if not result.success:
            _explain(run.name, result)
        return result


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark killed runs of ours as failed, also where no daemon is there to: each holds a place in the queue."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        if command_is_gone(run):
            instance.report_run_failed(run, f"{run.tags[PROCESS]}, a command line, is gone; run its days again")


@contextmanager
def _progress(name: str, run_id: str, steps: int, instance: dg.DagsterInstance) -> Iterator[None]:
    """A progress bar fed from the run's own event log, on terminals only."""
    done = threading.Event()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=steps)

        def follow() -> None:
            cursor: str | None = None
            while not done.wait(0.3):
                page = instance.get_records_for_run(run_id, cursor=cursor)
                cursor = page.cursor
                for record in page.records:
                    event = record.event_log_entry.dagster_event
                    if event and event.is_step_start:
                        progress.update(task, description=f"{name}  {event.step_key}")
                    elif event and event.is_step_success:
                        progress.advance(task)

        follower = threading.Thread(target=follow, daemon=True)
        if err.is_terminal:
            follower.start()
        try:
            yield
        finally:
            done.set()
            if follower.is_alive():
                follower.join()


def _explain(name: str, result: Any) -> None:
    """What failed, without a traceback; the run's log in the UI has it all."""
    say(f"[bold red]Failed:[/] {name} (run {result.run_id})", err)
    steps: dict[str, list[str]] = defaultdict(list)
    blocked = False
    for event in result.all_events:
        if event.is_step_failure:
            steps[_innermost(event.step_failure_data.error)].append(event.step_key)
        elif event.is_resource_init_failure:
            steps[_innermost(event.engine_event_data.error)] = []
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                blocked = True
                where = f"{check.check_name} of {check.asset_key.to_user_string()} {check.partition}"
                say(f"  check [bold]{escape(where)}[/]: {escape(check.description)}", err)
    if not steps and not blocked:
        say(f"  {INTERRUPTED}", err)
    for reason, failed in steps.items():
        where = f"step [bold]{escape(', '.join(failed))}[/]: " if failed else ""
        say(f"  {where}{escape(reason)}", err)
    err.print("  See the run in the web UI (dagster dev) for the whole log.")


_OUR_ERROR = re.compile(r"^assets_pkg\.[\w.]+: ")  # an error of ours is a message; its class says nothing to its reader


def _innermost(error: Any) -> str:
    """The message of the first error that is ours, which explains its cause; else of what all others came from."""
    while error is not None and error.cause is not None and not _OUR_ERROR.match(error.message):
        error = error.cause
    if error is None:
        return "no reason given"
    if error.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}:
        return INTERRUPTED
    return _OUR_ERROR.sub("", error.message.strip())
