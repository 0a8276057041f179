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
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=count) for count in range((end - start).days + 1)]


@dataclass(frozen=True)
class RunOfDays:
    """One run over a day (by its partition key) or over a range of days (by tags)."""

    name: str
    key: str | None
    tags: dict[str, str]


def runs_of(days: Iterable[date]) -> list[RunOfDays]:
    """The runs that process `days`: neighbours together, up to DAYS_PER_RUN, in order."""
    parts: list[list[date]] = []
    for day in sorted(set(days)):
        if parts and day - parts[-1][-1] == timedelta(days=1) and len(parts[-1]) < DAYS_PER_RUN:
            parts[-1].append(day)
        else:
            parts.append([day])
    return [
        RunOfDays(str(part[0]), str(part[0]), {})
        if len(part) == 1
        else RunOfDays(f"{part[0]} to {part[-1]}", None, range_tags(part[0], part[-1]))
        for part in parts
    ]


def spans_of(days: Iterable[date]) -> list[tuple[date, date]]:
    """The stretches of days without a gap, first and last of each."""
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def partition_tags(key: str) -> dict[str, str]:
    """The tags that make a run one over a single day."""
    return {_PARTITION: key}


def range_tags(start: date, end: date) -> dict[str, str]:
    """The tags that make a run one over a range of days."""
    return {_RANGE_START: start.isoformat(), _RANGE_END: end.isoformat()}
