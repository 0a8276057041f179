"""Reports, metrics and alerts of an ingest date."""

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import ALERTS, DAILY_METRICS
from assets_pkg.report.page import DayFacts, day_page, days_told
from assets_pkg.steps.checks import preview
from assets_pkg.steps.files import records_of
from assets_pkg.steps.provenance import inputs_of, is_current, replacing
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import Judgement, alerts_file, alerts_frame, fired_alerts, judge
from assets_pkg.transforms.metrics import Profile, daily_metrics
from assets_pkg.transforms.report import as_json, validation_report
from assets_pkg.transforms.windows import compared

VALIDATION_REPORT: Final = "validation_report"
DAY_REPORT: Final = "day_report"


def profiles(work: Workplace, day: date) -> dict[str, Profile]:
    """Every feed's counts of the day."""
    return {name: Profile(work.lake.scan(feed.profile, [day]).collect()) for name, feed in FEEDS.items()}


def report_folder(work: Workplace, day: date) -> Path:
    """Where the day's reports lie."""
    return work.reports / f"ingest_date={day.isoformat()}"


def report_paths(work: Workplace, day: date) -> dict[str, Path]:
    """The files of the day's reports, by the asset that writes them."""
    names = {VALIDATION_REPORT: "validation_report.json", ALERTS.name: "alerts.json", DAY_REPORT: "report.html"}
    return {asset: report_folder(work, day) / name for asset, name in names.items()}


def write_report(work: Workplace, day: date) -> dict[str, Any]:
    """Write validation_report.json of `day`; gives its content."""
    report = validation_report(day, profiles(work, day), records_of(work, day))
    write_whole(report_paths(work, day)[VALIDATION_REPORT], as_json(report))
    return report


def measure(work: Workplace, day: date) -> pl.DataFrame:
    """Replace the day's daily_metrics partition, unless it is up to date; gives its rows."""
    lake = work.lake
    inputs = measured_from(work, day)
    if is_current(work, [DAILY_METRICS.name], day, inputs):
        return lake.scan(DAILY_METRICS.name, [day]).drop(DAILY_METRICS.partition_by).collect()
    clean = {name: lake.scan(feed.clean_table, [day]) for name, feed in FEEDS.items()}
    metrics = daily_metrics(day, profiles(work, day), clean, work.policy)
    with replacing(work, day, inputs)(DAILY_METRICS.name) as writer:
        writer.write(metrics)
    return metrics


def measured_from(work: Workplace, day: date) -> str:
    """A digest of what daily_metrics of `day` is made from."""
    tables = (table for feed in FEEDS.values() for table in (feed.profile, feed.clean_table))
    return inputs_of(work, ("feeds", "activity"), {table: [day] for table in tables})


def judge_day(work: Workplace, day: date) -> list[Judgement]:
    """Every alert rule's verdict on `day`, from the metrics of the day and those before it.

    A day before whose numbers are lost is left out, as one that never was: it shall not take this one down.
    """
    *before, own = compared(work.policy).of(day)
    history, metrics = (work.lake.scan(DAILY_METRICS.name, days).collect() for days in (_whole(work, before), [own]))
    return judge(metrics, history, records_of(work, day), work.policy)


def _whole(work: Workplace, days: Iterable[date]) -> list[date]:
    return [day for day in days if work.lake.is_whole(DAILY_METRICS.name, day)]


def judged_from(work: Workplace, day: date) -> str:
    """A digest of what the alerts of `day` follow. Metrics of days before do not count: alerts go by their own day."""
    files = (
        f"{file.path} {file.content_sha256} {file.status} {file.records} {file.absent_columns} {file.unknown_columns}"
        for records in records_of(work, day).values()
        for file in records
    )
    return inputs_of(work, ("feeds", "alerts", "activity"), {DAILY_METRICS.name: [day]}, *files)


def raise_alerts(work: Workplace, day: date) -> list[dict[str, Any]]:
    """Replace the day's alerts partition and write alerts.json; gives the alerts."""
    inputs = judged_from(work, day)
    alerts = fired_alerts(judge_day(work, day))
    with replacing(work, day, inputs)(ALERTS.name) as writer:
        writer.write(alerts_frame(alerts))
    write_whole(report_paths(work, day)[ALERTS.name], as_json(alerts_file(day, alerts)))
    return alerts


def write_page(work: Workplace, day: date) -> Path:
    """Write report.html of `day`, from what its tables hold; gives its path. With it the day is done."""
    lake = work.lake
    before = [told for told in days_told(day, work.policy) if told < day]
    facts = DayFacts(
        day=day,
        policy=work.policy,
        metrics=lake.scan(DAILY_METRICS.name, [*_whole(work, before), day]).collect(),
        alerts=lake.scan(ALERTS.name, [day]).drop(ALERTS.partition_by).collect(),
        profiles=profiles(work, day),
        files=records_of(work, day),
        rejected={name: preview(work, feed, day) for name, feed in FEEDS.items()},
    )
    path = report_paths(work, day)[DAY_REPORT]
    write_whole(path, day_page(facts))
    work.ledger.day_done(day)
    return path


def unfinished_reports(work: Workplace) -> Iterator[Path]:
    """Reports that are being written, or were when their process was killed."""
    return work.reports.glob(f"ingest_date=*/{_new(Path('*')).name}")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never half.

    Nobody else writes it: its day is locked. So what a crash left is written over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _new(path)
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
