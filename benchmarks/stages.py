"""One ingest date from raw to alerts, and its checks, stage by stage in this process, without Dagster.

PIPELINE_DATA_DIR=… PIPELINE_REPORTS_DIR=… python benchmarks/stages.py --date 2025-12-10    prints JSON

A stage is a name and a call of one step. Steps to come (activity, sessions) are further lines of STAGES, after the
steps whose tables they read.
"""

import argparse
import json
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any, Final

import polars as pl
from meter import Meter

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.contracts.tables import ALERTS, CUSTOMERS_KNOWN, DAILY_METRICS, TABLES
from assets_pkg.settings import Settings
from assets_pkg.steps import checks
from assets_pkg.steps.clean import clean
from assets_pkg.steps.known import know_customers
from assets_pkg.steps.raw import land_raw
from assets_pkg.steps.reports import judge_day, measure, raise_alerts, report_folder, write_report
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


STAGES: Final[tuple[tuple[str, Stage], ...]] = (
    *((feed.raw, _of(land_raw, feed)) for feed in FEEDS.values()),
    (CUSTOMERS.clean_table, _of(clean, CUSTOMERS)),
    ("customers_known", know_customers),
    (EVENTS.clean_table, _of(clean, EVENTS)),
    (ORDERS.clean_table, _of(clean, ORDERS)),
    ("validation_report", write_report),
    ("daily_metrics", measure),
    ("alerts", raise_alerts),
)
CHECKS: Final[tuple[tuple[str, Stage], ...]] = (
    *((f"checks of {feed.name}", _checks(feed)) for feed in FEEDS.values()),
    ("checks of alerts", judge_day),
)


def outcome(work: Workplace, day: date) -> dict[str, Any]:
    """What the day came to, to be compared with the peer's; not part of what is measured."""
    report = json.loads((report_folder(work, day) / "validation_report.json").read_text(encoding="utf-8"))
    for name in FEEDS:
        del report[name]["files"]
    rows = work.lake.scan(DAILY_METRICS.name, [day]).select("dataset", "metric", "dimension", "value").collect()
    metrics = {f"{feed} {metric} {dimension or ''}": value for feed, metric, dimension, value in rows.iter_rows()}
    alerts = work.lake.scan(ALERTS.name, [day]).select("rule", "severity", "dataset").collect()
    tables = {}
    for table in (*(TABLES[feed.clean_table] for feed in FEEDS.values()), CUSTOMERS_KNOWN):
        columns = [_total(name, dtype) for name, dtype in table.schema.items() if name != "built_from"]
        tables[table.name] = (
            work.lake.scan(table.name, [day]).select(columns).collect(engine="streaming").row(0, named=True)
        )
    return {"report": report, "metrics": metrics, "alerts": alerts.rows(), "tables": tables}


def _total(name: str, dtype: pl.DataType) -> pl.Expr:
    """One number for a column: it changes when other rows stay or other values come out."""
    column = pl.col(name)
    if dtype == pl.String:
        column = column.str.len_chars().cast(pl.Int64)
    elif dtype == pl.Datetime:
        column = column.dt.epoch("s")
    elif dtype == pl.Date:
        column = column.cast(pl.Int64)
    return column.sum().cast(pl.Float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    day = parser.parse_args().date
    steps, judging = Meter(), Meter()
    work = Workplace.from_settings(Settings(), run="benchmark")
    for meter, stages in ((steps, STAGES), (judging, CHECKS)):
        for name, run in stages:
            with meter.lap(name):
                run(work, day)
    print(json.dumps({**steps.result(), "checks": judging.result(), "outcome": outcome(work, day)}))


if __name__ == "__main__":
    main()
