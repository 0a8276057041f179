"""`run`: process ingest dates, refresh the event dates they touch, and show what the tables hold then."""

from datetime import UTC, date, datetime
from typing import Annotated

import polars as pl
import typer
from rich.table import Table

from assets_pkg.cli.console import (
    FAILURE,
    HIGH_ALERTS,
    USAGE,
    day_of,
    err,
    escape,
    fail,
    number_table,
    out,
    say,
    workplace,
)
from assets_pkg.cli.instance import Processed, process
from assets_pkg.cli.notify import tell
from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import FAILED
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    ALERTS,
    DAILY_METRICS,
    EVENTS_BY_DATE,
    RESTATEMENTS,
)
from assets_pkg.orchestration.partitions import days_between, run_command
from assets_pkg.steps.checks import healable_orphans, healable_said, undecided_days
from assets_pkg.steps.files import file_lives, vanished_files
from assets_pkg.steps.landed import is_processed
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import Lake
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
        bool, typer.Option("--verify", help="take nothing on trust: hash every raw file, build every partition anew")
    ] = False,
) -> None:
    """Process ingest dates, raw files to alerts, and refresh the event dates that they touch, with every check."""
    days = _days(day, start, end)
    work = workplace()
    settings = work.settings
    if not settings.raw_dir.is_dir():
        fail(f"There is no raw folder {settings.raw_dir}. Set PIPELINE_DATA_DIR to the folder that holds raw/.")
    today = datetime.now(UTC).date()
    if not all(settings.is_ingest_date(each, today) for each in (days[0], days[-1])):
        fail(
            f"Ingest dates run from {settings.first_day} (PIPELINE_FIRST_DAY) to today, {today} UTC; "
            f"{days[0]} to {days[-1]} is not within.",
            USAGE,
        )
    there = raw_days(settings.raw_dir)
    for empty in [each for each in days if each not in there]:
        say(
            f"[yellow]No files for {empty}[/]: there is no {escape(str(day_folder(settings.raw_dir, empty)))}. The day "
            f"is processed as empty and raises missing_feed. {_told(there)}",
            err,
        )
    done = process(days, work, verify=verify)
    high = show_tables(done, work)
    _show_files(work, done.ingest_dates)
    _show_healable(work)
    tell(work)
    if not done.succeeded:
        raise typer.Exit(FAILURE)
    if high and fail_on_alert:
        raise typer.Exit(HIGH_ALERTS)


def _days(day: date | None, start: date | None, end: date | None) -> list[date]:
    if day is not None and start is None and end is None:
        return [day]
    if day is None and start is not None and end is not None:
        if end < start:
            fail(f"--end {end} is before --start {start}.", USAGE)
        return days_between(start, end)
    fail("Give either --date, or both --start and --end.", USAGE)


def _told(days: list[date]) -> str:
    if not days:
        return "There is no day with files at all: is PIPELINE_DATA_DIR right?"
    return f"Days with files: {len(days)}, from {days[0]} to {days[-1]}."


def _show_files(work: Workplace, days: list[date]) -> None:
    """Name the files that somebody has to look at."""
    for day in days:
        for each in file_lives(work, day=day, status=FAILED):
            say(f"[bold red]FAILED[/] {escape(each.path)}: {escape(each.note)}", err)
        for path, advice in unrecognised_files(work.raw_root, day).items():
            say(f"[yellow]No feed reads[/] {escape(path)}; {advice}", err)
        for path in vanished_files(work, day):
            say(f"[yellow]Vanished[/] {escape(path)}; its rows are kept (`forget` removes them)", err)


def _show_healable(work: Workplace) -> None:
    """Name the days that are worth running again, as customers came or changed since."""
    for feed in FEEDS.values():
        if not feed.policy(work.policy).check_orphans:
            continue
        for day in undecided_days(work, feed):
            if not (found := healable_orphans(work, feed, day)).is_decided:
                said = f"{feed.name} {day}: {healable_said(feed, day, found)}"
                say(f"[yellow]Healable:[/] {said}; `{run_command(day, day)}` heals them.", err)


def show_tables(done: Processed, work: Workplace) -> int:
    """Print what the tables now hold of the days; gives the number of alerts of severity high."""
    lake = work.lake
    after = "" if done.succeeded else " after the failure"
    out.print(_ingested(lake, done.ingest_dates, f"What the tables hold{after}"))
    if done.event_dates:
        out.print(_happened(lake, done.event_dates, f"What customers did, by event date{after}"))
    # That a day has other numbers once its own files have come is no news.
    known = sorted(set(done.event_dates) - (set(done.ingest_dates) - done.had))
    restated = lake.scan(RESTATEMENTS.name, known).filter(pl.col("restated_at") >= done.since).collect()
    if restated.height:
        out.print(_restated(restated))
    # Early and late events alone make a date look as if almost nothing happened: no reason to wake anybody.
    judged = [day for day in sorted({*done.ingest_dates, *done.event_dates}) if is_processed(work, day)]
    alerts = [
        alert
        for table, days in ((ALERTS, done.ingest_dates), (ACTIVITY_ALERTS, judged))
        for alert in lake.scan(table.name, days).collect().sort(table.partition_by, "rule", "dataset").iter_rows()
    ]
    if alerts:
        shown = Table("date", "severity", "rule", "message", title="Alerts", title_justify="left")
        for day, rule, severity, _, message, _ in alerts:
            colour = {"high": "bold red", "medium": "yellow"}.get(severity, "")
            shown.add_row(str(day), severity, rule, escape(message), style=colour)
        out.print(shown)
    return sum(severity == "high" for _, _, severity, *_ in alerts)


def _ingested(lake: Lake, days: list[date], title: str) -> Table:
    metrics = lake.scan(DAILY_METRICS.name, days).filter(pl.col("dimension").is_null()).collect()
    value = {(day, data, metric): number for day, data, metric, _, number in metrics.iter_rows()}
    table = number_table(title, ("ingest date", "feed"), ("total", "clean", "quarantine", "copies"))
    for day in days:
        for feed in FEEDS:
            names = ("total", "clean", "quarantine", "duplicate_full_row")
            table.add_row(str(day), feed, *(_shown(value.get((day, feed, name))) for name in names))
        table.add_section()
    return table


def _happened(lake: Lake, days: list[date], title: str) -> Table:
    metrics = lake.scan(ACTIVITY_METRICS.name, days).collect()
    value = {(day, metric): number for day, _, metric, _, number in metrics.iter_rows()}
    names = ("sessions", "active_customers", "page_views")
    table = number_table(title, ("event date",), ("events", *(name.replace("_", " ") for name in names)))
    for day in days:
        events = lake.rows(EVENTS_BY_DATE.name, day)
        table.add_row(str(day), f"{events:,}", *(_shown(value.get((day, name))) for name in names))
    return table


def _restated(rows: pl.DataFrame) -> Table:
    table = number_table("Restated", ("event date", "metric"), ("before", "after", "because of"))
    for row in rows.sort(RESTATEMENTS.partition_by, "metric").iter_rows(named=True):
        why = [*map(str, row["caused_by"]), *(["the policy"] if row["policy_changed"] else [])]
        numbers = ("-" if number is None else f"{number:,.6g}" for number in (row["before"], row["after"]))
        table.add_row(str(row["event_date"]), row["metric"], *numbers, ", ".join(why))
    return table


def _shown(number: float | None) -> str:
    return "-" if number is None else f"{int(number):,}"
