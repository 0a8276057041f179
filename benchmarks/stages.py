"""Ingest dates from raw to alerts and activity, stage by stage in this process, without Dagster.

PIPELINE_DATA_DIR=… PIPELINE_REPORTS_DIR=… python benchmarks/stages.py --dates 2025-12-10 [2025-12-11 …]    prints JSON

Each date is ingested, then the event dates that it touches are refreshed, then it is checked; --again does the last
date once more, with nothing changed. --backfill does what the command line does with a range: all ingest dates first,
then the activity of all of them. --outcome does nothing but tell what lies there.

A stage is a name and a call of one step: steps to come are further lines of INGEST or ACTIVITY.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any, Final

import polars as pl
from meter import Meter

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    ALERTS,
    CUSTOMERS_KNOWN,
    DAILY_METRICS,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSIONS,
    TABLES,
    USER_DAILY,
    Table,
)
from assets_pkg.settings import Settings
from assets_pkg.steps import activity, activity_checks, checks
from assets_pkg.steps.clean import clean
from assets_pkg.steps.known import know_customers
from assets_pkg.steps.raw import land_raw
from assets_pkg.steps.reports import judge_day, measure, raise_alerts, report_folder, write_page, write_report
from assets_pkg.steps.workplace import Workplace

Stage = Callable[[Workplace, date], object]


def _of(step: Callable[[Workplace, Feed, date], object], feed: Feed) -> Stage:
    return partial(_call, step, feed)


def _call(step: Callable[[Workplace, Feed, date], object], feed: Feed, work: Workplace, day: date) -> object:
    return step(work, feed, day)


def _checks(feed: Feed) -> Stage:
    def run(work: Workplace, day: date) -> None:
        for check in (checks.conservation, checks.schema_failures, checks.rejected_rows):
            check(work, feed, day)

    return run


def _activity_checks(work: Workplace, day: date) -> None:
    """All of every event date that the day refreshed."""
    for event_date in activity.reach(work, [day])[activity.JOIN]:
        if activity.JOIN.exists(work, event_date):
            activity_checks.events_accounted(work, event_date)
            activity_checks.each_in_one_session(work, event_date)
            activity_checks.sessions_add_up(work, event_date)
            activity_checks.sessions_bounded(work, event_date)
            activity_checks.sessions_apart(work, event_date)
            activity.judge_event_date(work, event_date)


INGEST: Final[tuple[tuple[str, Stage], ...]] = (
    *((feed.raw, _of(land_raw, feed)) for feed in FEEDS.values()),
    (CUSTOMERS.clean_table, _of(clean, CUSTOMERS)),
    ("customers_known", know_customers),
    (EVENTS.clean_table, _of(clean, EVENTS)),
    (ORDERS.clean_table, _of(clean, ORDERS)),
    ("validation_report", write_report),
    ("daily_metrics", measure),
    ("alerts", raise_alerts),
    ("day_report", write_page),
)
# Named by what they are for: the first writes session_runs too, the second session_events and user_daily.
ACTIVITY: Final = (
    (EVENTS_BY_DATE.name, activity.GATHER),
    (SESSIONS.name, activity.JOIN),
    (ACTIVITY_METRICS.name, activity.MEASURE),
    (ACTIVITY_ALERTS.name, activity.JUDGE),
)
CHECKS: Final[tuple[tuple[str, Stage], ...]] = (
    *((f"checks of {feed.name}", _checks(feed)) for feed in FEEDS.values()),
    ("checks of alerts", judge_day),
    ("checks of activity", _activity_checks),
)


def ingest(work: Workplace, day: date, meter: Meter) -> None:
    """Raw files to alerts, a lap per stage."""
    for name, run in INGEST:
        with meter.lap(name):
            run(work, day)


def refresh(work: Workplace, days: Sequence[date], meter: Meter) -> None:
    """What `activity.refresh` does, a lap per stage."""
    reach = activity.reach(work, days)
    for name, stage in ACTIVITY:
        with meter.lap(name):
            for event_date in stage.stale(work, reach[stage]):
                stage.build(work, event_date)


def day_by_day(work: Workplace, days: Sequence[date], *, again: bool, with_checks: bool) -> dict[str, Any]:
    """Each date ingested and refreshed before the next one comes."""
    results = []
    for day in days:
        meter, judging = Meter(), Meter()
        ingest(work, day, meter)
        refresh(work, [day], meter)
        results.append({"day": day.isoformat(), **meter.result()})
        if with_checks:
            for name, run in CHECKS:
                with judging.lap(name):
                    run(work, day)
            results[-1] |= {"checks": judging.result(), "outcome": outcome(work, day)}
    found: dict[str, Any] = {"days": results}
    if again:
        meter = Meter()
        ingest(work, days[-1], meter)
        refresh(work, days[-1:], meter)
        found["again"] = meter.result()
    return found


def backfill(work: Workplace, days: Sequence[date]) -> dict[str, Any]:
    """All ingest dates, then the activity of all of them stage by stage; a lap per date of each."""
    landing, moving = Meter(), Meter()
    for day in days:
        with landing.lap(day.isoformat()):
            for _, run in INGEST:
                run(work, day)
    stages, reach = {}, activity.reach(work, days)
    for name, stage in ACTIVITY:
        with moving.lap("what is stale"):
            stale = sorted(stage.stale(work, reach[stage]))
        meter = stages[name] = Meter()
        for event_date in stale:
            with meter.lap(event_date.isoformat()):
                stage.build(work, event_date)
        moving.laps += meter.laps
    return {
        "ingest": landing.result(),
        "activity": moving.result(),
        "activity_stages": {name: meter.result() for name, meter in stages.items()},
    }


# -- what came out ------------------------------------------------------------------------------------------


def outcome(work: Workplace, day: date) -> dict[str, Any]:
    """What the day came to, to be compared with other sides'; not part of what is measured.

    `activity` has every event date there is, as they are after this day.
    """
    report = json.loads((report_folder(work, day) / "validation_report.json").read_text(encoding="utf-8"))
    for name in FEEDS:
        del report[name]["files"]
    tables = (*(TABLES[feed.clean_table] for feed in FEEDS.values()), CUSTOMERS_KNOWN)
    event_dates = sorted(work.lake.partitions(SESSIONS.name))
    return {
        "report": report,
        "metrics": _metrics(work, DAILY_METRICS, day),
        "alerts": _alerts(work, ALERTS, day),
        "tables": {table.name: totals(work, table, day) for table in tables},
        "activity": {str(event_date): _activity(work, event_date) for event_date in event_dates},
    }


def _activity(work: Workplace, event_date: date) -> dict[str, Any]:
    return {
        "metrics": _metrics(work, ACTIVITY_METRICS, event_date),
        "alerts": _alerts(work, ACTIVITY_ALERTS, event_date),
        **{
            table.name: totals(work, table, event_date)
            for table in (EVENTS_BY_DATE, SESSION_EVENTS, SESSIONS, USER_DAILY)
        },
    }


def _metrics(work: Workplace, table: Table, day: date) -> dict[str, float]:
    rows = work.lake.scan(table.name, [day]).select("dataset", "metric", "dimension", "value").collect()
    return {f"{feed} {metric} {dimension or ''}": value for feed, metric, dimension, value in rows.iter_rows()}


def _alerts(work: Workplace, table: Table, day: date) -> list[tuple[Any, ...]]:
    return sorted(work.lake.scan(table.name, [day]).select("rule", "severity", "dataset").collect().rows())


def totals(work: Workplace, table: Table, day: date) -> dict[str, float]:
    """The number of rows of a partition, and one number for each column."""
    # The row of session_runs that an event belongs to is this pipeline's own way, the contract knows nothing of it.
    columns = [_total(name, dtype) for name, dtype in table.schema.items() if name not in ("built_from", "run")]
    rows = work.lake.scan(table.name, [day]).select(pl.len().cast(pl.Float64).alias("rows"), *columns)
    return rows.collect(engine="streaming").row(0, named=True)


def _total(name: str, dtype: pl.DataType) -> pl.Expr:
    """One number for a column: it changes when other rows stay or other values come out."""
    column = pl.col(name)
    if dtype == pl.String:
        column = column.str.len_chars().cast(pl.Int64)
    elif dtype == pl.List(pl.String):
        column = column.list.join("").str.len_chars().cast(pl.Int64)
    elif dtype == pl.Datetime:
        column = column.dt.epoch("s")
    elif dtype == pl.Date:
        column = column.cast(pl.Int64)
    return column.sum().cast(pl.Float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dates", type=date.fromisoformat, nargs="+", required=True, help="ingest dates, in order")
    parser.add_argument("--again", action="store_true", help="the last date once more, with nothing changed")
    parser.add_argument("--no-checks", action="store_true", help="neither checks nor outcome: only what it costs")
    parser.add_argument("--backfill", action="store_true", help="all ingest dates first, then the activity of all")
    parser.add_argument("--outcome", action="store_true", help="only tell what lies there")
    asked = parser.parse_args()
    work = Workplace.from_settings(Settings(), run="benchmark")
    if asked.outcome:
        result = {"outcomes": {str(day): outcome(work, day) for day in asked.dates}}
    elif asked.backfill:
        result = backfill(work, asked.dates)
    else:
        result = day_by_day(work, asked.dates, again=asked.again, with_checks=not asked.no_checks)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
