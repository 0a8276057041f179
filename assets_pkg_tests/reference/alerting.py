"""The alert rules, over a decided day and the metrics of the days before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from statistics import median
from typing import Any

from .decisions import FeedDay
from .summary import Metric

MAX_HOURS_WITHOUT_EVENTS = 4
BASELINE_DAYS = 7
BASELINE_MIN_DAYS = 3
VOLUME_DROP_BELOW = Fraction(50, 100)
VOLUME_SPIKE_ABOVE = 3
QUARANTINE_RATE_RISE = Fraction(20, 100)
MAX_ORPHAN_RATE = Fraction(10, 100)
MAX_DUPLICATE_RATE = Fraction(20, 100)

SEVERITY = {
    "missing_feed": "high",
    "failed_file": "high",
    "hourly_coverage": "medium",
    "volume_drop": "high",
    "volume_spike": "medium",
    "quarantine_rate": "medium",
    "orphan_rate": "medium",
    "duplicate_rate": "low",
    "late_beyond_window": "low",
    "schema_drift": "medium",
}


@dataclass(frozen=True)
class Figures:
    """The plain numbers of one feed and day; rates are exact, never met or missed by rounding."""

    total: int
    quarantine: int
    duplicates: int

    @property
    def quarantine_rate(self) -> Fraction:
        """Give the share of quarantined rows."""
        return share(self.quarantine, self.total)


def share(part: int, whole: int) -> Fraction:
    """Give an exact share, 0 of nothing."""
    return Fraction(part, whole) if whole else Fraction(0)


def find_alerts(
    day: date,
    feeds: Mapping[str, FeedDay],
    metrics: Sequence[Metric],
    previous_metrics: Mapping[date, Sequence[Metric]],
) -> list[dict[str, Any]]:
    """Give the day's alerts, sorted by rule and dataset."""
    fired: list[tuple[str, str, dict[str, Any]]] = []
    for name, feed in feeds.items():
        now = figures(metrics, name)
        before = [
            figures(previous_metrics[earlier], name)
            for earlier in (day - timedelta(days=back) for back in range(1, BASELINE_DAYS + 1))
            if earlier in previous_metrics
        ]
        fired += [(rule, name, details) for rule, details in _of_any_feed(feed, now, before)]
    silent_hours = [m.dimension for m in metrics if m.metric == "by_hour" and m.value == 0]
    if len(silent_hours) > MAX_HOURS_WITHOUT_EVENTS:
        fired.append(("hourly_coverage", "events", {"hours": silent_hours}))
    late = count(metrics, "events", "late_beyond_window")
    if late > 0:
        fired.append(("late_beyond_window", "events", {"events": late}))
    return [
        {"rule": rule, "severity": SEVERITY[rule], "dataset": dataset, "details": details}
        for rule, dataset, details in sorted(fired, key=lambda alert: alert[:2])
    ]


def _of_any_feed(feed: FeedDay, now: Figures, before: Sequence[Figures]) -> list[tuple[str, dict[str, Any]]]:
    """Give the rules that fire for one feed."""
    fired: list[tuple[str, dict[str, Any]]] = []
    if now.total == 0:
        fired.append(("missing_feed", {}))
    if feed.failed_files:
        fired.append(("failed_file", {"files": feed.failed_files}))
    if feed.drifted_files:
        fired.append(("schema_drift", {"files": feed.drifted_files}))
    orphans = sum("orphan_customer_id" in row["reject_reason"].split("|") for row in feed.quarantine)
    if share(orphans, now.total) > MAX_ORPHAN_RATE:
        fired.append(("orphan_rate", {"orphans": orphans, "total": now.total}))
    if share(now.duplicates, now.total) > MAX_DUPLICATE_RATE:
        fired.append(("duplicate_rate", {"duplicates": now.duplicates, "total": now.total}))
    if len(before) >= BASELINE_MIN_DAYS:
        usual_total = median(Fraction(figures.total) for figures in before)
        usual_rate = median(figures.quarantine_rate for figures in before)
        if now.total < usual_total * (1 - VOLUME_DROP_BELOW):
            fired.append(("volume_drop", {"total": now.total, "median": float(usual_total)}))
        if now.total > usual_total * VOLUME_SPIKE_ABOVE:
            fired.append(("volume_spike", {"total": now.total, "median": float(usual_total)}))
        if now.quarantine_rate > usual_rate + QUARANTINE_RATE_RISE:
            rates = {"rate": float(now.quarantine_rate), "median": float(usual_rate)}
            fired.append(("quarantine_rate", rates))
    return fired


def figures(metrics: Sequence[Metric], dataset: str) -> Figures:
    """Pick one feed's plain numbers from a day's metrics."""
    return Figures(
        total=count(metrics, dataset, "total"),
        quarantine=count(metrics, dataset, "quarantine"),
        duplicates=count(metrics, dataset, "duplicate_full_row") + count(metrics, dataset, "duplicate_id"),
    )


def count(metrics: Sequence[Metric], dataset: str, metric: str) -> int:
    """Look one undivided count up; a day that has no such metric counts as 0."""
    return next((int(m.value) for m in metrics if m[:3] == (dataset, metric, None)), 0)
