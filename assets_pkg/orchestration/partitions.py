"""The days things are partitioned by, and what a run's days are."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from assets_pkg.policy import Policy
from assets_pkg.settings import Settings

# One run takes up to this many days: a month of backfill is one run, and a year's runs stay small enough to retry.
DAYS_PER_RUN = 31
BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN)


_PARTITION = "dagster/partition"
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def ingest_dates(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Ingest dates from the first day of the settings up to today (UTC), which may be run before it is over."""
    return dg.DailyPartitionsDefinition(start_date=settings.first_day.isoformat(), end_offset=1)


def event_dates(settings: Settings, policy: Policy) -> dg.DailyPartitionsDefinition:
    """Event dates, from those of the latest events that the first ingest date can bring to those of the earliest."""
    first = settings.first_day - timedelta(days=policy.activity.late_window_days)
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), end_offset=1 + policy.values.early_days)


def days_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[date]:
    """The days a step is to do, in order."""
    keys: Iterable[Any] = context.partition_keys
    return sorted(date.fromisoformat(key) for key in keys)


def days_of_run(tags: dict[str, str]) -> list[date]:
    """The days a run is about, from its tags; none for a run that is not about days."""
    if key := tags.get(_PARTITION):
        return [date.fromisoformat(key)]
    first, last = tags.get(_RANGE_START), tags.get(_RANGE_END)
    if not first or not last:
        return []
    return days_between(date.fromisoformat(first), date.fromisoformat(last))


def days_between(first: date, last: date) -> list[date]:
    """All days from the first to the last."""
    return [first + timedelta(days=count) for count in range((last - first).days + 1)]


@dataclass(frozen=True)
class RunOfDays:
    """One run over a day (by its partition key) or over a range of days (by tags)."""

    name: str
    key: str | None
    tags: dict[str, str]

    @property
    def days(self) -> list[date]:
        """All of them, in order."""
        return [date.fromisoformat(self.key)] if self.key else days_of_run(self.tags)


def runs_of(days: Iterable[date]) -> list[RunOfDays]:
    """The runs that process `days`: neighbours together, up to DAYS_PER_RUN, in order."""
    return [
        RunOfDays(str(first), str(first), {})
        if first == last
        else RunOfDays(span_name(first, last), None, range_tags(first, last))
        for first, last in spans_of(days, DAYS_PER_RUN)
    ]


def spans_of(days: Iterable[date], most: int | None = None) -> list[tuple[date, date]]:
    """The stretches of days without a gap, first and last of each; of at most so many days."""
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        first, last = spans[-1] if spans else (day, day)
        if day - last == timedelta(days=1) and (most is None or (day - first).days < most):
            spans[-1] = (first, day)
        else:
            spans.append((day, day))
    return spans


def span_name(first: date, last: date) -> str:
    """A stretch of days, or a day, in words."""
    return str(first) if first == last else f"{first} to {last}"


def no_partitions(settings: Settings, days: Iterable[date]) -> list[str]:
    """A sentence on days that have raw files and are no ingest dates; none if there are no such days."""
    spans = ", ".join(span_name(first, last) for first, last in spans_of(days))
    if not spans:
        return []
    return [f"Nobody runs {spans}: ingest dates are the days from {settings.first_day} (PIPELINE_FIRST_DAY) to today."]


def run_command(first: date, last: date) -> str:
    """The command that processes a stretch of ingest dates, or one."""
    days = f"--date {first}" if first == last else f"--start {first} --end {last}"
    return f"python -m assets_pkg run {days}"


def partition_tags(key: str) -> dict[str, str]:
    """The tags that make a run one over a single day."""
    return {_PARTITION: key}


def range_tags(start: date, end: date) -> dict[str, str]:
    """The tags that make a run one over a range of days."""
    return {_RANGE_START: start.isoformat(), _RANGE_END: end.isoformat()}
