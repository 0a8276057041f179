"""Runs of the daily job in this process, on the Dagster instance that the web UI uses."""

import os
import re
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterError
from filelock import FileLock
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from assets_pkg.cli.console import err, fail
from assets_pkg.settings import Settings
from assets_pkg.storage.ledger import Ledger, LedgerError

INTERRUPTED = "Interrupted. Tables hold what they held, or the new day; run the days again."


def process(days: list[date], settings: Settings, *, verify: bool = False) -> tuple[bool, list[date]]:
    """Run the daily job for `days`, and then for every day whose files must be judged again because of them.

    Gives whether all succeeded, and the days that were processed.
    """
    with opened_instance() as instance, _interruptible():
        bury_dead_runs(instance)
        try:
            Ledger(settings.ledger, settings.ledger_wait_seconds)
        except LedgerError as error:
            fail(str(error))
        succeeded = _execute(days, instance, verify=verify)
        done = list(days)
        before: list[date] = []
        while (again := _pending(settings)) and again != before:
            err.print(
                f"[yellow]Processed again:[/] {', '.join(map(str, again))}. Files there hold content that came or went "
                "under another path.",
                highlight=False,
                soft_wrap=True,
            )
            succeeded &= _execute(again, instance)
            done += again
            before = again
    return succeeded, sorted(set(done))


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        fail(INTERRUPTED)


def _pending(settings: Settings) -> list[date]:
    try:
        days = list(Ledger(settings.ledger, settings.ledger_wait_seconds).pending_days())
    except LedgerError:
        return []  # the run has said so already
    return [day for day in days if settings.first_day <= day <= datetime.now(UTC).date()]


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


def _execute(days: list[date], instance: dg.DagsterInstance, *, verify: bool = False) -> bool:
    from assets_pkg.definitions import defs  # noqa: PLC0415 - importing it reads the environment and the policy
    from assets_pkg.orchestration.jobs import DAILY_JOB  # noqa: PLC0415
    from assets_pkg.orchestration.partitions import runs_of  # noqa: PLC0415
    from assets_pkg.orchestration.workplace import VERIFY  # noqa: PLC0415

    job = defs.resolve_job_def(DAILY_JOB)
    succeeded = True
    for part in runs_of(days):
        tags = {_PROCESS: _this_process(), **({VERIFY: "true"} if verify else {}), **part.tags}
        run_id = str(uuid.uuid4())
        with _progress(part.name, run_id, len(list(job.nodes)), instance):
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                partition_key=part.key,
            )
        if not result.success:
            succeeded = False
            _explain(part.name, result)
    return succeeded


_PROCESS = "pipeline/process"


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of ours that were killed as failed: nobody else can tell, and each would hold a place in the queue."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, process_id = run.tags.get(_PROCESS, "").partition(":")
        if host == socket.gethostname() and not _is_alive(int(process_id)):
            instance.report_run_failed(run, f"process {process_id} of the command line is gone; run its days again")


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
    err.print(f"[bold red]Failed:[/] {name} (run {result.run_id})", highlight=False, soft_wrap=True)
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
                err.print(
                    f"  check [bold]{escape(where)}[/]: {escape(check.description)}", highlight=False, soft_wrap=True
                )
    if not steps and not blocked:
        err.print(f"  {INTERRUPTED}", highlight=False, soft_wrap=True)
    for reason, failed in steps.items():
        where = f"step [bold]{escape(', '.join(failed))}[/]: " if failed else ""
        err.print(f"  {where}{escape(reason)}", highlight=False, soft_wrap=True)
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
