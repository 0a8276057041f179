"""What is counted over a decided day: the validation report and the daily metrics."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from .decisions import FeedDay
from .feeds import FEEDS, Row
from .values import clean_text

LATE_WINDOW = timedelta(days=2)
PERCENTILES = (50, 95)


class Metric(NamedTuple):
    """One row of daily_metrics, its ingest_date left out."""

    dataset: str
    metric: str
    dimension: str | None
    value: float


def build_report(day: date, feeds: Mapping[str, FeedDay]) -> dict[str, Any]:
    """Give the validation report, without what it says of files."""
    by_feed = {name: _report_of_feed(name, feed) for name, feed in feeds.items()}
    return {"ingest_date": day.isoformat(), **by_feed}


def build_metrics(day: date, feeds: Mapping[str, FeedDay]) -> list[Metric]:
    """Give the day's metrics."""
    return [
        *(metric for name, feed in feeds.items() for metric in _metrics_of_any_feed(name, feed)),
        *_metrics_of_events(day, feeds["events"].clean),
        *_metrics_of_orders(feeds["orders"].clean),
    ]


def _report_of_feed(name: str, feed: FeedDay) -> dict[str, Any]:
    """Count one feed's rows by where they went and why."""
    by_reason = _count_joined(row["reject_reason"] for row in feed.quarantine)
    return {
        "total": len(feed.raw),
        "clean": len(feed.clean),
        "quarantine": len(feed.quarantine),
        "duplicates": {
            "full_row": feed.full_row_duplicates,
            "id": by_reason.get(f"duplicate_{FEEDS[name].id_column}", 0),
        },
        "quarantine_by_reason": by_reason,
        "warnings_by_reason": _count_joined(row["warnings"] for row in feed.clean),
    }


def _count_joined(texts: Iterable[str | None]) -> dict[str, int]:
    """Count the parts of texts joined by a bar, sorted by part."""
    return dict(sorted(Counter(part for text in texts if text for part in text.split("|")).items()))


def _metrics_of_any_feed(name: str, feed: FeedDay) -> list[Metric]:
    """Give what is measured of every feed, and of the two that speak of customers."""
    spec = FEEDS[name]
    report = _report_of_feed(name, feed)
    total: int = report["total"]
    by_reason: dict[str, int] = report["quarantine_by_reason"]
    bad_times = sum(by_reason.get(f"{what}_{spec.time_column}", 0) for what in ("missing", "invalid"))
    full_row, same_id = report["duplicates"]["full_row"], report["duplicates"]["id"]
    values = {
        "total": total,
        "clean": report["clean"],
        "quarantine": report["quarantine"],
        "duplicate_full_row": full_row,
        "duplicate_id": same_id,
        "duplicate_full_row_rate": _rate(full_row, total),
        "duplicate_id_rate": _rate(same_id, total),
        "quarantine_rate": _rate(report["quarantine"], total),
        "invalid_timestamp_rate": _rate(bad_times, total),
    }
    if name != "customers":
        values["orphan_rate"] = _rate(by_reason.get("orphan_customer_id", 0), total)
        values["active_customers"] = len({row["customer_id"] for row in feed.clean})
    well_formed = [row for row in feed.raw if row["raw_text"] is None]
    null_rates = [
        Metric(name, "null_rate", column, _rate(_count_nulls(well_formed, column), len(well_formed)))
        for column in spec.required
    ]
    return [Metric(name, metric, None, float(value)) for metric, value in values.items()] + null_rates


def _metrics_of_events(day: date, clean: Sequence[Row]) -> list[Metric]:
    """Give what is measured of events only."""
    hours = Counter(f"{row['event_time'].hour:02d}" for row in clean if row["event_date"] == day)
    late = sum(row["event_date"] < day for row in clean)
    late_beyond_window = sum(row["event_date"] + LATE_WINDOW < day for row in clean)
    return [
        *_breakdown("events", "by_event_type", Counter(row["event_type"] for row in clean)),
        *_breakdown("events", "by_platform", Counter(row["platform"] for row in clean)),
        *_breakdown("events", "by_hour", {f"{hour:02d}": hours[f"{hour:02d}"] for hour in range(24)}),
        *_percentiles("events", "duration_ms", None, [row["duration_ms"] for row in clean]),
        Metric("events", "late_events", None, float(late)),
        Metric("events", "late_beyond_window", None, float(late_beyond_window)),
    ]


def _metrics_of_orders(clean: Sequence[Row]) -> list[Metric]:
    """Give what is measured of orders only."""
    metrics = [
        *_breakdown("orders", "by_status", Counter(row["status"] for row in clean)),
        *_percentiles("orders", "amount", None, [row["amount"] for row in clean]),
    ]
    for currency in sorted({row["currency"] for row in clean}):
        amounts = [row["amount"] for row in clean if row["currency"] == currency]
        metrics += _percentiles("orders", "amount", currency, amounts)
    return metrics


def _rate(part: int, whole: int) -> float:
    """Give a share, 0 of nothing."""
    return part / whole if whole else 0.0


def _count_nulls(rows: Sequence[Row], column: str) -> int:
    """Count the rows in which a column is null after trimming and null tokens."""
    return sum(clean_text(row[column]) is None for row in rows)


def _breakdown(dataset: str, metric: str, counts: Mapping[str, int]) -> list[Metric]:
    """Give one metric per value."""
    return [Metric(dataset, metric, value, float(count)) for value, count in sorted(counts.items())]


def _percentiles(
    dataset: str, column: str, dimension: str | None, values: Iterable[int | Decimal | None]
) -> list[Metric]:
    """Interpolate linearly between the values around each percentile; nothing where there is no value."""
    ordered = sorted(Fraction(value) for value in values if value is not None)
    metrics: list[Metric] = []
    for percent in PERCENTILES if ordered else ():
        below, hundredths = divmod(percent * (len(ordered) - 1), 100)
        above = min(below + 1, len(ordered) - 1)
        value = ordered[below] + (ordered[above] - ordered[below]) * hundredths / 100
        metrics.append(Metric(dataset, f"{column}_p{percent}", dimension, float(value)))
    return metrics
