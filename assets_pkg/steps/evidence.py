"""What the numbers of an alert rule come from, to look at: files, rows with file and row, hours, days before."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import ADDRESS, EVENTS, FEEDS
from assets_pkg.contracts.files import note_on
from assets_pkg.contracts.rules import ORPHAN, duplicate_of
from assets_pkg.contracts.tables import ACTIVITY_METRICS, DAILY_METRICS, EVENT_DATE
from assets_pkg.report.page import hourly_events
from assets_pkg.steps.checks import preview, rejected_rows
from assets_pkg.steps.files import file_lives, records_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import Judgement, is_metric
from assets_pkg.transforms.metrics import later_than
from assets_pkg.transforms.split import TOTAL
from assets_pkg.transforms.windows import compared

Evidence = Mapping[str, pl.DataFrame]
"""Small tables, by what they show."""
_FILES: Final = "files of the day"
_Find = Callable[[Workplace, str, date], Evidence]


def evidence(work: Workplace, judgement: Judgement, day: date) -> Evidence:
    """What a person looks at first when an alert rule fired for a dataset on `day`. Raises LakeError, LedgerError."""
    return _EVIDENCE[judgement.spec.rule](work, judgement.dataset, day)


def _files(work: Workplace, feed: str, day: date) -> Evidence:
    files = [
        {
            "file": file.path,
            "status": file.status,
            "records": file.records,
            "columns it lacks": ", ".join(file.absent_columns),
            "columns nobody knows": ", ".join(file.unknown_columns),
            "note": note_on(file.status, file.error, file.duplicate_of),
        }
        for file in records_of(work, day)[feed]
    ]
    return {_FILES: pl.DataFrame(files)}


def _copies(work: Workplace, feed: str, day: date) -> Evidence:
    of_feed = FEEDS[feed]
    files = [
        {"file": file.path, "records": file.records, "same id": file.id_duplicates, "copies": file.full_row_duplicates}
        for file in file_lives(work, of_feed, day)
    ]
    rows = preview(work, of_feed, day, duplicate_of(of_feed))
    return {_FILES: pl.DataFrame(files), "rows with the id of another (first)": rows}


def _rejected(work: Workplace, feed: str, day: date) -> Evidence:
    rows = rejected_rows(work, FEEDS[feed], day)
    return {
        "reasons": pl.DataFrame(rows.reasons),
        "rejected rows (first)": rows.first,
        **_days_before("quarantine_rate")(work, feed, day),
    }


def _orphans(work: Workplace, feed: str, day: date) -> Evidence:
    return {"orphans (first)": preview(work, FEEDS[feed], day, ORPHAN)}


def _late(work: Workplace, feed: str, day: date) -> Evidence:
    of_feed = FEEDS[feed]
    is_late = later_than(day, work.policy.activity.late_window_days)
    rows = work.lake.scan(of_feed.clean_table, [day]).filter(is_late)
    shown = rows.select(*ADDRESS, of_feed.id, EVENT_DATE, of_feed.time).sort(ADDRESS)
    return {"late events (first)": shown.head(work.policy.checks.sample_rows).collect(engine="streaming")}


def _hours(work: Workplace, _feed: str, day: date) -> Evidence:
    events = hourly_events(work.lake.scan(DAILY_METRICS.name, [day]).collect())
    return {"hours": pl.DataFrame({"hour": list(events), "clean_events": list(events.values())})}


def _days_before(metric: str | None = None) -> _Find:
    """A feed's metric on the days it was compared with; without one, the metric of an event date that is judged."""

    def find(work: Workplace, dataset: str, day: date) -> Evidence:
        table, of, name = (DAILY_METRICS, dataset, metric) if metric else (ACTIVITY_METRICS, EVENTS.name, dataset)
        days = [each for each in compared(work.policy).of(day) if work.lake.is_whole(table.name, each)]
        rows = (
            work.lake.scan(table.name, days).filter(is_metric(of, name)).select(table.partition_by, "value").collect()
        )
        return {f"{name} by day": rows.sort(table.partition_by)}

    return find


_EVIDENCE: Final[Mapping[str, _Find]] = {
    "missing_feed": _files,
    "failed_file": _files,
    "schema_drift": _files,
    "hourly_coverage": _hours,
    "volume_drop": _days_before(TOTAL),
    "volume_spike": _days_before(TOTAL),
    "quarantine_rate": _rejected,
    "orphan_rate": _orphans,
    "duplicate_rate": _copies,
    "late_beyond_window": _late,
    "activity_drop": _days_before(),
    "activity_spike": _days_before(),
}
