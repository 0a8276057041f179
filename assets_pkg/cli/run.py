"""`run`: process ingest dates, and show what the tables hold then."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import polars as pl
import typer
from rich.markup import escape
from rich.table import Table

from assets_pkg.cli.console import FAILED, HIGH_ALERTS, USAGE, day_of, err, fail, out, surroundings
from assets_pkg.cli.instance import process
from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import FAILED as FAILED_FILE
from assets_pkg.contracts.tables import ALERTS, DAILY_METRICS
from assets_pkg.settings import Settings
from assets_pkg.steps.files import file_lives, vanished_files
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.raw_files import day_folder, raw_days, unrecognised_files


def run(
    day: Annotated[
        date | None, typer.Option("--date", parser=day_of, metavar="YYYY-MM-DD", help="one ingest date")
    ] = None,
    start: Annotated[date | None, typer.Option(parser=day_of, metavar="YYYY-MM-DD", help="first of a range")] = None,
    end: Annotated[date | None, typer.Option(parser=day_of, metavar="YYYY-MM-DD", help="last of a range")] = None,
    *,
    fail_on_alert: Annotated[
        bool, typer.Option("--fail-on-alert", help="exit with 3 on alerts of severity high")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="hash every raw file, also those that nobody seems to have touched")
    ] = False,
) -> None:
    """Process ingest dates: raw files to alerts, with every check."""
    days = _days(day, start, end)
    settings, policy = surroundings()
    if not settings.raw_dir.is_dir():
        fail(f"There is no raw folder {settings.raw_dir}. Set PIPELINE_DATA_DIR to the folder that holds raw/.")
    today = datetime.now(UTC).date()
    if days[0] < settings.first_day or days[-1] > today:
        fail(
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
    succeeded, done = process(days, settings, verify=verify)
    high = show_tables(done, settings, succeeded=succeeded)
    _show_files(Workplace(settings, policy), done)
    if not succeeded:
        raise typer.Exit(FAILED)
    if high and fail_on_alert:
        raise typer.Exit(HIGH_ALERTS)


def _days(day: date | None, start: date | None, end: date | None) -> list[date]:
    if day is not None and start is None and end is None:
        return [day]
    if day is None and start is not None and end is not None:
        if end < start:
            fail(f"--end {end} is before --start {start}.", USAGE)
        return [start + timedelta(days=count) for count in range((end - start).days + 1)]
    fail("Give either --date, or both --start and --end.", USAGE)


def _told(days: list[date]) -> str:
    if not days:
        return "There is no day with files at all: is PIPELINE_DATA_DIR right?"
    return f"Days with files: {len(days)}, from {days[0]} to {days[-1]}."


def _show_files(work: Workplace, days: list[date]) -> None:
    """Name the files that somebody has to look at."""
    for day in days:
        for each in file_lives(work, day=day, status=FAILED_FILE):
            err.print(f"[bold red]FAILED[/] {escape(each.path)}: {escape(each.note)}", highlight=False, soft_wrap=True)
        for path in unrecognised_files(work.raw_root, day):
            err.print(f"[yellow]No feed reads[/] {escape(path)}; check its name", highlight=False, soft_wrap=True)
        for path in vanished_files(work, day):
            err.print(
                f"[yellow]Vanished[/] {escape(path)}; its rows are kept (`forget` removes them)",
                highlight=False,
                soft_wrap=True,
            )


def show_tables(days: list[date], settings: Settings, *, succeeded: bool = True) -> int:
    """Print what the tables now hold of the days; gives the number of alerts of severity high."""
    from assets_pkg.storage.lake import Lake  # noqa: PLC0415

    lake = Lake(settings.lake_dir)
    metrics = lake.scan(DAILY_METRICS.name, days).filter(pl.col("dimension").is_null()).collect()
    alerts = lake.scan(ALERTS.name, days).collect()
    value = {(day, data, metric): number for day, data, metric, _, number in metrics.iter_rows()}
    table = Table(
        "ingest date",
        "feed",
        title="What the tables hold" if succeeded else "What the tables hold after the failure",
        title_justify="left",
    )
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
