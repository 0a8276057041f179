"""The command line: the same assets, storage and instance as the web UI, from a terminal.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done with alerts of severity high under --fail-on-alert.
"""

import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import dagster as dg
import polars as pl
import typer
from dagster import DagsterError
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import ALERTS, DAILY_METRICS
from assets_pkg.policy import Policy, PolicyError, load_policy
from assets_pkg.settings import Settings
from assets_pkg.storage.raw_files import day_folder, raw_days

FAILED, USAGE, HIGH_ALERTS = 1, 2, 3

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console()
err = Console(stderr=True)


def _day(text: str) -> date:
    try:
        # Python also reads week dates, which nobody means.
        return date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else _no_day(text)
    except ValueError:
        _no_day(text)


def _no_day(text: str) -> NoReturn:
    raise typer.BadParameter(f"{text!r} is no date; write it as YYYY-MM-DD, for example 2025-12-10")


@app.command()
def run(
    day: Annotated[
        date | None, typer.Option("--date", parser=_day, metavar="YYYY-MM-DD", help="one ingest date")
    ] = None,
    start: Annotated[date | None, typer.Option(parser=_day, metavar="YYYY-MM-DD", help="first of a range")] = None,
    end: Annotated[date | None, typer.Option(parser=_day, metavar="YYYY-MM-DD", help="last of a range")] = None,
    *,
    fail_on_alert: Annotated[
        bool, typer.Option("--fail-on-alert", help="exit with 3 on alerts of severity high")
    ] = False,
) -> None:
    """Process ingest dates: raw files to alerts, with every check."""
    days = _days(day, start, end)
    settings, _ = _surroundings()
    if not settings.raw_dir.is_dir():
        _fail(f"There is no raw folder {settings.raw_dir}. Set PIPELINE_DATA_DIR to the folder that holds raw/.")
    today = datetime.now(UTC).date()
    if days[0] < settings.first_day or days[-1] > today:
        _fail(
            f"Ingest dates run from {settings.first_day} (PIPELINE_FIRST_DAY) to today, {today} UTC; "
            f"{days[0]} to {days[-1]} is not within.",
            USAGE,
        )
    there = raw_days(settings.raw_dir)
    for empty in [each for each in days if each not in there]:
        err.print(
            f"[yellow]No files for {empty}[/]: "
            f"there is no {escape(str(day_folder(settings.raw_dir, empty)))}. The day is "
            f"processed as empty and raises missing_feed. {_told(there)}",
            highlight=False,
            soft_wrap=True,
        )
    with _instance() as instance:
        _bury_dead_runs(instance)
        succeeded = _execute(days, instance)
    high = _summary(days, settings)
    if not succeeded:
        raise typer.Exit(FAILED)
    if high and fail_on_alert:
        raise typer.Exit(HIGH_ALERTS)


@app.command()
def generate(
    start: Annotated[date, typer.Option(parser=_day, metavar="YYYY-MM-DD", help="first ingest date")],
    end: Annotated[date, typer.Option(parser=_day, metavar="YYYY-MM-DD", help="last ingest date")],
    events: Annotated[int, typer.Option(min=50, help="events a day, about")] = 2000,
    seed: Annotated[int, typer.Option(help="another seed, another shop")] = 1,
    into: Annotated[Path | None, typer.Option("--out", help="raw root; the pipeline's own by default")] = None,
    missing_hours: Annotated[
        list[str] | None, typer.Option(metavar="YYYY-MM-DD:FIRST-LAST", help="hours without events; may be repeated")
    ] = None,
) -> None:
    """Make sample days of a believable, messy shop."""
    from assets_pkg.sampledata import generate as generate_days  # noqa: PLC0415 - only this command needs it

    if end < start:
        _fail(f"--end {end} is before --start {start}.", USAGE)
    root = into or _surroundings()[0].raw_dir
    gaps = dict(_gap(text) for text in missing_hours or [])
    try:
        made = generate_days(root, start, end, events, seed, gaps)
    except (FileExistsError, ValueError) as error:
        _fail(str(error))
    table = Table("ingest date", "files", *FEEDS, "bytes")
    for each in made:
        counts = (f"{each.records[feed]:,}" for feed in FEEDS)
        table.add_row(str(each.day), str(len(each.files)), *counts, f"{each.bytes:,}")
    out.print(table)


@app.command()
def rules() -> None:
    """Print every reason and warning with its meaning, as Markdown (the README's table)."""
    from assets_pkg.contracts.summary import rules_table  # noqa: PLC0415

    _, policy = _surroundings()
    typer.echo(rules_table(policy))


def _days(day: date | None, start: date | None, end: date | None) -> list[date]:
    if day is not None and start is None and end is None:
        return [day]
    if day is None and start is not None and end is not None:
        if end < start:
            _fail(f"--end {end} is before --start {start}.", USAGE)
        return [start + timedelta(days=count) for count in range((end - start).days + 1)]
    _fail("Give either --date, or both --start and --end.", USAGE)


def _told(days: list[date]) -> str:
    if not days:
        return "There is no day with files at all: is PIPELINE_DATA_DIR right?"
    return f"Days with files: {len(days)}, from {days[0]} to {days[-1]}."


def _gap(text: str) -> tuple[date, range]:
    day, _, hours = text.partition(":")
    first, _, last = hours.partition("-")
    try:
        return date.fromisoformat(day), range(int(first), int(last or first) + 1)
    except ValueError:
        _fail(f"--missing-hours {text!r}: write YYYY-MM-DD:FIRST-LAST, for example 2025-12-12:1-6.", USAGE)


def _surroundings() -> tuple[Settings, Policy]:
    try:
        settings = Settings()
        return settings, load_policy(settings.policy)
    except PolicyError as error:
        _fail(str(error))
    except ValidationError as error:
        faults = "; ".join(f"PIPELINE_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        _fail(f"The environment cannot be used: {faults}")


def _fail(message: str, status: int = FAILED) -> NoReturn:
    err.print(f"[bold red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(status)


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The instance that the web UI uses: DAGSTER_HOME's, else the one that dagster.yaml in this folder describes."""
    if not os.environ.get("DAGSTER_HOME"):
        home = Path.cwd()
        if not (home / "dagster.yaml").is_file():
            _fail(
                f"There is no dagster.yaml in {home}. Give the command in the project's root, "
                "or set DAGSTER_HOME to the folder of your Dagster instance."
            )
        os.environ["DAGSTER_HOME"] = str(home)
    try:
        instance = dg.DagsterInstance.get()
    except DagsterError as error:
        _fail(f"The Dagster instance in DAGSTER_HOME={os.environ['DAGSTER_HOME']} cannot be used: {error}")
    with instance:
        yield instance


def _execute(days: list[date], instance: dg.DagsterInstance) -> bool:
    from assets_pkg.definitions import defs  # noqa: PLC0415 - importing it reads the environment and the policy
    from assets_pkg.orchestration.jobs import DAILY_JOB  # noqa: PLC0415
    from assets_pkg.orchestration.partitions import DAYS_PER_RUN, range_tags  # noqa: PLC0415

    job = defs.resolve_job_def(DAILY_JOB)
    succeeded = True
    for part in [days[at : at + DAYS_PER_RUN] for at in range(0, len(days), DAYS_PER_RUN)]:
        name = str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}"
        key = str(part[0]) if len(part) == 1 else None
        tags = {_PROCESS: _this_process(), **(range_tags(part[0], part[-1]) if key is None else {})}
        run_id = str(uuid.uuid4())
        with _progress(name, run_id, len(list(job.nodes)), instance):
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                partition_key=key,
            )
        if not result.success:
            succeeded = False
            _explain(name, result)
    return succeeded


_PROCESS = "pipeline/process"


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of ours that were killed as failed: nobody else can tell, and each would hold a place in the queue."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, process = run.tags.get(_PROCESS, "").partition(":")
        if host == socket.gethostname() and not _is_alive(int(process)):
            instance.report_run_failed(run, f"process {process} of the command line is gone; run its days again")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
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
    for event in result.all_events:
        if event.is_step_failure:
            reason = _innermost(event.step_failure_data.error)
            err.print(f"  step [bold]{escape(event.step_key)}[/]: {escape(reason)}", highlight=False, soft_wrap=True)
        elif event.is_resource_init_failure:
            err.print(f"  {escape(_innermost(event.engine_event_data.error))}", highlight=False, soft_wrap=True)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                where = f"{check.check_name} of {check.asset_key.to_user_string()} {check.partition}"
                err.print(
                    f"  check [bold]{escape(where)}[/]: {escape(check.description)}", highlight=False, soft_wrap=True
                )
    err.print("  See the run in the web UI (dagster dev) for the whole log.")


def _innermost(error: Any) -> str:
    """The message of the error that all others came from."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no reason given"


def _summary(days: list[date], settings: Settings) -> int:
    """Print what the tables now hold of the days; gives the number of alerts of severity high."""
    from assets_pkg.storage.lake import Lake  # noqa: PLC0415

    lake = Lake(settings.lake_dir)
    metrics = lake.scan(DAILY_METRICS.name, days).filter(pl.col("dimension").is_null()).collect()
    alerts = lake.scan(ALERTS.name, days).collect()
    value = {(day, data, metric): number for day, data, metric, _, number in metrics.iter_rows()}
    table = Table("ingest date", "feed", title="What the tables hold", title_justify="left")
    for column in ("total", "clean", "quarantine", "copies"):
        table.add_column(column, justify="right")
    for day in days:
        for feed in FEEDS:
            names = ("total", "clean", "quarantine", "duplicate_full_row")
            numbers = [value.get((day, feed, name)) for name in names]
            table.add_row(str(day), feed, *("-" if number is None else f"{int(number):,}" for number in numbers))
        table.add_section()
    out.print(table)
    if alerts.height:
        shown = Table("ingest date", "severity", "rule", "message", title="Alerts", title_justify="left")
        for alert in alerts.sort("ingest_date", "rule", "dataset").iter_rows(named=True):
            colour = {"high": "bold red", "medium": "yellow"}.get(alert["severity"], "")
            shown.add_row(
                str(alert["ingest_date"]), alert["severity"], alert["rule"], escape(alert["message"]), style=colour
            )
        out.print(shown)
    return alerts.filter(pl.col("severity") == "high").height
