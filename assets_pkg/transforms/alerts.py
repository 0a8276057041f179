"""Which days deserve a look: every alert rule judged once (contract §5).

A judgement says what was measured and against what, fired or not: the alerts table takes those that fired, the
asset checks show them all.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any, Final, get_args

import polars as pl

from assets_pkg.contracts.feeds import EVENTS, FEEDS, ORDERS
from assets_pkg.contracts.files import FAILED, SKIPPED, SUCCESS, FileRecord
from assets_pkg.contracts.tables import ALERTS, SESSIONS, USER_DAILY
from assets_pkg.policy import Policy
from assets_pkg.policy.model import AlertRule, Drop, Severity, Spike
from assets_pkg.transforms.metrics import HOURS

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)  # the severest first
_NOISE: Final = 1e-9  # what floating point adds to a difference of rates


@dataclass(frozen=True)
class AlertSpec:
    """An alert rule: its name, what it judges (the datasets), and what to do when it fires.

    `tables`: for each dataset the table that the rule's check stands on.
    """

    rule: str
    tables: Mapping[str, str]
    meaning: str
    advice: str


@dataclass(frozen=True)
class Judgement:
    """One rule's verdict on one dataset and day."""

    spec: AlertSpec
    dataset: str
    severity: str
    fired: bool
    message: str
    details: dict[str, Any]


_RAW: Final = {feed.name: feed.raw for feed in FEEDS.values()}
_CLEAN: Final = {feed.name: feed.clean_table for feed in FEEDS.values()}
_QUARANTINE: Final = {feed.name: feed.quarantine for feed in FEEDS.values()}
# What activity rules judge: metrics of an event date, and the tables that they tell of.
_ACTIVITY: Final = {"sessions": SESSIONS.name, "active_customers": USER_DAILY.name}


SPECS: Final[dict[str, AlertSpec]] = {
    spec.rule: spec
    for spec in (
        AlertSpec(
            "missing_feed",
            _RAW,
            "no readable file, or no record, of the feed",
            "Look for the file in the day's raw folder; ask its sender for it, and run the day again when it comes.",
        ),
        AlertSpec(
            "failed_file",
            _RAW,
            "a file that cannot be opened or decoded",
            "Read the file's error below, ask for the file again, put it in the same place and run the day again.",
        ),
        AlertSpec(
            "hourly_coverage",
            {EVENTS.name: EVENTS.clean_table},
            "too many hours of the day without a clean event",
            "Compare the missing hours with the source's outages; ask for what was not sent and run the day again.",
        ),
        AlertSpec(
            "volume_drop",
            _RAW,
            "far fewer rows than on the days before",
            "Check with the sender whether the day is complete; run it again when the rest has come.",
        ),
        AlertSpec(
            "volume_spike",
            _RAW,
            "far more rows than on the days before",
            "Look for files that were sent twice or hold several days; if the growth is real, nothing is to do.",
        ),
        AlertSpec(
            "quarantine_rate",
            _QUARANTINE,
            "a far larger share of rejected rows than on the days before",
            "See the row_rules check for the reasons; a new format or name at the source is the usual cause.",
        ),
        AlertSpec(
            "orphan_rate",
            {name: _QUARANTINE[name] for name in (EVENTS.name, ORDERS.name)},
            "too many rows of customers that no customers file names",
            "Check that the customers files up to this day are there and complete; then run this day again.",
        ),
        AlertSpec(
            "duplicate_rate",
            _CLEAN,
            "too many rows that repeat others",
            "The tables are right: each row counts once. The sender should know that rows repeat.",
        ),
        AlertSpec(
            "late_beyond_window",
            {EVENTS.name: EVENTS.clean_table},
            "events too late to count for their own day",
            "The events are kept in events_clean; widen activity.late_window_days only if this goes on.",
        ),
        AlertSpec(
            "schema_drift",
            _RAW,
            "a file without a required column, or with an unknown one",
            "Ask the sender what changed; a renamed column needs an alias in the policy, then run the day again.",
        ),
    )
}


ACTIVITY_SPECS: Final[dict[str, AlertSpec]] = {
    spec.rule: spec
    for spec in (
        AlertSpec(
            "activity_drop",
            _ACTIVITY,
            "far less activity than on the days before",
            "See whether all events of the date have come (late ones restate it); compare the platforms' outages.",
        ),
        AlertSpec(
            "activity_spike",
            _ACTIVITY,
            "far more activity than on the days before",
            "Look for a client that sends too much or a campaign; if the growth is real, nothing is to do.",
        ),
    )
}


class _Day:
    """What rules judge by: the day's metrics, those of the days before, and the files."""

    def __init__(
        self, metrics: pl.DataFrame, history: pl.DataFrame, files: Mapping[str, Sequence[FileRecord]], policy: Policy
    ) -> None:
        self.policy = policy
        self.files = files
        self._values: dict[tuple[str, str, str | None], float] = {
            (dataset, metric, dimension): value
            for dataset, metric, dimension, value in metrics.select(list(ALERT_METRICS)).iter_rows()
        }
        self._history = history

    def value(self, feed: str, metric: str, dimension: str | None = None) -> float:
        return self._values.get((feed, metric, dimension), 0.0)

    def usual(self, feed: str, metric: str) -> tuple[float | None, int]:
        return usual(self._history, feed, metric, self.policy)


def usual(history: pl.DataFrame, dataset: str, metric: str, policy: Policy) -> tuple[float | None, int]:
    """The median of a metric over the days before, None when too few of them have it, and how many have.

    `history`: their metrics.
    """
    values = history.filter(is_metric(dataset, metric))["value"].to_list()
    return (median(values) if len(values) >= policy.alerts.min_history_days else None), len(values)


def is_metric(dataset: str, metric: str) -> pl.Expr:
    """Whether a row of metrics is that one, and no breakdown. Needs dataset, metric and dimension."""
    return (pl.col("dataset") == dataset) & (pl.col("metric") == metric) & pl.col("dimension").is_null()


ALERT_METRICS: Final = ("dataset", "metric", "dimension", "value")
_Verdict = tuple[bool, str, dict[str, Any]]


def judge(
    metrics: pl.DataFrame, history: pl.DataFrame, files: Mapping[str, Sequence[FileRecord]], policy: Policy
) -> list[Judgement]:
    """Every enabled rule's verdict on every feed it speaks of, in the order of alerts.

    `metrics` are the day's daily_metrics rows, `history` those of the `history_days` before it, as far as there
    are any; `files` the day's file records by feed name.
    """
    day = _Day(metrics, history, files, policy)
    return sorted(_judgements(day, SPECS), key=lambda judgement: (judgement.spec.rule, judgement.dataset))


def judge_activity(metrics: pl.DataFrame, history: pl.DataFrame, policy: Policy) -> list[Judgement]:
    """The activity rules' verdicts on an event date, in the order of alerts; none for a date without metrics.

    `metrics` are the date's activity_metrics rows, `history` those of the `history_days` before it.
    """
    if metrics.is_empty():
        return []
    day = _Day(metrics, history, {}, policy)
    return sorted(_judgements(day, ACTIVITY_SPECS), key=lambda judgement: (judgement.spec.rule, judgement.dataset))


def _judgements(day: "_Day", specs: Mapping[str, AlertSpec]) -> Iterator[Judgement]:
    for name, spec in specs.items():
        rule: AlertRule = getattr(day.policy.alerts, name)
        if rule.enabled:
            for dataset in spec.tables:
                fired, message, details = _RULES[name](day, dataset)
                yield Judgement(spec, dataset, rule.severity, fired, message, details)


def fired_alerts(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """The alerts of a day as alerts.json holds them."""
    return [
        {
            "rule": judgement.spec.rule,
            "severity": judgement.severity,
            "dataset": judgement.dataset,
            "message": judgement.message,
            "details": judgement.details,
        }
        for judgement in judgements
        if judgement.fired
    ]


def alerts_frame(alerts: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Alerts as the alerts table holds them: details as JSON text."""
    rows = [{**alert, "details": json.dumps(alert["details"], ensure_ascii=False, sort_keys=True)} for alert in alerts]
    return pl.DataFrame(rows, schema=ALERTS.schema)


def alerts_file(day: date, alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of alerts.json."""
    return {"ingest_date": day.isoformat(), "alerts": list(alerts)}


def urgency(severity: str) -> int:
    """A severity's place among all, the severest first; one that the policy does not know comes last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def some(count: float, what: str) -> str:
    """A number of things, in words."""
    return f"{int(count):,} {what}{'' if count == 1 else 's'}"


def _missing_feed(day: _Day, feed: str) -> _Verdict:
    total, readable = day.value(feed, "total"), [file for file in day.files[feed] if file.status == SUCCESS]
    skipped = sum(file.status == SKIPPED for file in day.files[feed])
    details = {
        "files": len(day.files[feed]),
        "readable_files": len(readable),
        "skipped_files": skipped,
        "records": int(total),
    }
    held = f" ({some(skipped, 'file')} hold what came under another path)" if skipped else ""
    return total == 0, f"{feed}: {some(len(readable), 'readable file')}{held}, {some(total, 'record')}", details


def _failed_file(day: _Day, feed: str) -> _Verdict:
    failed = {file.path: file.error for file in day.files[feed] if file.status == FAILED}
    return bool(failed), f"{feed}: {some(len(failed), 'file')} could not be read", {"files": failed}


def _hourly_coverage(day: _Day, feed: str) -> _Verdict:
    hours = [hour for hour in HOURS if not day.value(feed, "by_hour", hour)]
    most = day.policy.alerts.hourly_coverage.max_missing_hours
    message = f"{feed}: {some(len(hours), 'hour')} without a clean event ({most} are allowed)"
    return len(hours) > most, message, {"missing_hours": hours, "max_missing_hours": most}


def _volume_drop(day: _Day, feed: str) -> _Verdict:
    fired, against, details = _drop(day, feed, "total", day.policy.alerts.volume_drop)
    return fired, f"{feed}: {some(details['total'], 'row')}, {against}", details


def _volume_spike(day: _Day, feed: str) -> _Verdict:
    fired, against, details = _spike(day, feed, "total", day.policy.alerts.volume_spike)
    return fired, f"{feed}: {some(details['total'], 'row')}, {against}", details


def _activity_drop(day: _Day, metric: str) -> _Verdict:
    fired, against, details = _drop(day, EVENTS.name, metric, day.policy.alerts.activity_drop)
    return fired, f"{metric}: {details[metric]:,}, {against}", details


def _activity_spike(day: _Day, metric: str) -> _Verdict:
    fired, against, details = _spike(day, EVENTS.name, metric, day.policy.alerts.activity_spike)
    return fired, f"{metric}: {details[metric]:,}, {against}", details


def _drop(day: _Day, dataset: str, metric: str, rule: Drop) -> _Verdict:
    """Whether a count is far below its median of the days before; in words against what; the numbers."""
    usual, days = day.usual(dataset, metric)
    value = day.value(dataset, metric)
    fired = usual is not None and usual * (1 - rule.max_drop) - value > _NOISE
    details = {metric: int(value), "median": usual, "days": days, "max_drop": rule.max_drop}
    return fired, _against(usual, days), details


def _spike(day: _Day, dataset: str, metric: str, rule: Spike) -> _Verdict:
    """Whether a count is far above its median of the days before; in words against what; the numbers."""
    usual, days = day.usual(dataset, metric)
    value = day.value(dataset, metric)
    fired = usual is not None and value - usual * rule.max_ratio > _NOISE
    details = {metric: int(value), "median": usual, "days": days, "max_ratio": rule.max_ratio}
    return fired, _against(usual, days), details


def _against(usual: float | None, days: int) -> str:
    return (
        f"median of {days} days before {usual:,g}"
        if usual is not None
        else f"only {some(days, 'day')} before to compare"
    )


def _quarantine_rate(day: _Day, feed: str) -> _Verdict:
    usual, days = day.usual(feed, "quarantine_rate")
    rate, most = day.value(feed, "quarantine_rate"), day.policy.alerts.quarantine_rate.max_points_above
    details = {"quarantine_rate": rate, "median": usual, "days": days, "max_points_above": most}
    against = (
        f"median of {days} days before {usual:.1%}" if usual is not None else f"only {some(days, 'day')} to compare"
    )
    fired = usual is not None and rate - usual - most > _NOISE
    return fired, f"{feed}: {rate:.1%} of rows rejected, {against}", details


def _orphan_rate(day: _Day, feed: str) -> _Verdict:
    rate, most = day.value(feed, "orphan_rate"), day.policy.alerts.orphan_rate.max_rate
    message = f"{feed}: {rate:.1%} of rows name no known customer ({most:.0%} are allowed)"
    return rate - most > _NOISE, message, {"orphan_rate": rate, "max_rate": most}


def _duplicate_rate(day: _Day, feed: str) -> _Verdict:
    total, most = day.value(feed, "total"), day.policy.alerts.duplicate_rate.max_rate
    copies, same_id = day.value(feed, "duplicate_full_row"), day.value(feed, "duplicate_id")
    rate = (copies + same_id) / total if total else 0.0
    details = {"duplicate_full_row": int(copies), "duplicate_id": int(same_id), "rate": rate, "max_rate": most}
    return rate - most > _NOISE, f"{feed}: {rate:.1%} of rows repeat others ({most:.0%} are allowed)", details


def _late_beyond_window(day: _Day, feed: str) -> _Verdict:
    late, most = int(day.value(feed, "late_beyond_window")), day.policy.alerts.late_beyond_window.max_events
    window = day.policy.activity.late_window_days
    message = f"{feed}: {some(late, 'event')} too late to count for their own day (more than {some(window, 'day')})"
    return late > most, message, {"late_beyond_window": late, "late_window_days": window, "max_events": most}


def _schema_drift(day: _Day, feed: str) -> _Verdict:
    required = FEEDS[feed].required(day.policy)
    drifted = {}
    for file in day.files[feed]:
        missing = [column for column in required if column in file.absent_columns]
        if file.status == SUCCESS and (missing or file.unknown_columns):
            drifted[file.path] = {"missing": missing, "unknown": sorted(file.unknown_columns)}
    return (
        bool(drifted),
        f"{feed}: {some(len(drifted), 'file')} with other columns than agreed",
        {"files": drifted},
    )


_RULES: Final[dict[str, Callable[[_Day, str], _Verdict]]] = {
    "missing_feed": _missing_feed,
    "failed_file": _failed_file,
    "hourly_coverage": _hourly_coverage,
    "volume_drop": _volume_drop,
    "volume_spike": _volume_spike,
    "quarantine_rate": _quarantine_rate,
    "orphan_rate": _orphan_rate,
    "duplicate_rate": _duplicate_rate,
    "late_beyond_window": _late_beyond_window,
    "schema_drift": _schema_drift,
    "activity_drop": _activity_drop,
    "activity_spike": _activity_spike,
}
