"""The day report: one HTML page that needs nothing else, no network and no script.

Everything that comes from data is escaped by the template. The same facts give the same page.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from assets_pkg.contracts.feeds import EVENTS, FEEDS, Feed
from assets_pkg.contracts.files import FAILED, STATUSES, SUCCESS, FileRecord, explain_command, note_on
from assets_pkg.contracts.rules import SEPARATOR, Rule, reject_rules, warning_rules
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.report.charts import Trend, hours_chart, trends_chart
from assets_pkg.transforms.alerts import ALERT_METRICS, SEVERITIES, SPECS, some, urgency, usual
from assets_pkg.transforms.metrics import HOURS, Profile
from assets_pkg.transforms.split import CLEAN, QUARANTINE, REASON, TOTAL, WARNING
from assets_pkg.transforms.windows import Window, compared

if TYPE_CHECKING:
    from jinja2 import Template

TREND: Final = Window(-27, 0)  # four weeks: every weekday four times
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST: Final = 1_000  # characters of a text that are shown: a broken record may be megabytes long
_MOST_FILES: Final = 500
_RATE: Final = "quarantine_rate"
# The metrics that are shown, and what people call them.
_GLANCE: Final = {
    TOTAL: "rows",
    CLEAN: "clean",
    QUARANTINE: "in quarantine",
    _RATE: "quarantine rate",
    "duplicate_full_row": "exact copies, dropped",
    "duplicate_id": "same id as another, in quarantine",
}
_TRENDS: Final = {TOTAL: "rows", _RATE: "quarantine rate", "active_customers": "active customers"}


@dataclass(frozen=True)
class DayFacts:
    """What the report is made from.

    `metrics`: daily_metrics rows of the day and of the days before it that `days_told` names, as far as there are
    any; `alerts`: the day's. By feed name: `profiles`, its counts; `files`, its files of the day; `rejected`, its first
    rejected rows (source_file, source_row, reject_reason, and what they say as `row`).
    """

    day: date
    policy: Policy
    metrics: pl.DataFrame
    alerts: pl.DataFrame
    profiles: Mapping[str, Profile]
    files: Mapping[str, Sequence[FileRecord]]
    rejected: Mapping[str, pl.DataFrame]


def days_told(day: date, policy: Policy) -> list[date]:
    """The days whose metrics the report of `day` shows or compares with, in order."""
    return sorted({*TREND.of(day), *compared(policy).of(day)})


def day_page(facts: DayFacts) -> str:
    """The report of a day, as HTML."""
    hours = hourly_events(facts.metrics.filter(pl.col(INGEST_DATE) == facts.day))
    return _template().render(
        day=facts.day,
        weekday=_WEEKDAYS[facts.day.weekday()],
        alerts=_alerts(facts.alerts),
        count_of=Counter(facts.alerts["severity"].to_list()),
        severities=SEVERITIES,
        feeds=[_feed(facts, feed) for feed in FEEDS.values()],
        history_days=facts.policy.alerts.history_days,
        hours=hours,
        hours_said=hours_said(hours),
        hours_svg=hours_chart(hours, hours_said(hours)),
        trend_days=len(TREND.of(facts.day)),
        files=_files(facts),
        files_of_day=sum(map(len, facts.files.values())),
    )


def hourly_events(metrics: pl.DataFrame) -> dict[str, int]:
    """The clean events of each hour of a day, from its metrics."""
    of_hours = metrics.filter((pl.col("dataset") == EVENTS.name) & (pl.col("metric") == "by_hour"))
    events = dict(of_hours.select("dimension", "value").iter_rows())
    return {hour: int(events.get(hour, 0)) for hour in HOURS}


def hours_said(hours: Mapping[str, int]) -> str:
    """What the picture of the hours shows, in words."""
    missing = [hour for hour, events in hours.items() if not events]
    if len(missing) == len(hours):
        return "No hour of the day has a clean event."
    busiest = max(hours, key=lambda hour: hours[hour])
    said = (
        f"{some(sum(hours.values()), 'clean event')} happened on the day, most in hour {busiest} ({hours[busiest]:,})."
    )
    if not missing:
        return f"{said} Every hour has events."
    return f"{said} {some(len(missing), 'hour')} without any: {', '.join(missing)}."


def _alerts(alerts: pl.DataFrame) -> list[dict[str, Any]]:
    def rank(alert: Mapping[str, Any]) -> tuple[int, str, str]:
        return urgency(alert["severity"]), alert["rule"], alert["dataset"]

    return [
        {
            **alert,
            "advice": SPECS[alert["rule"]].advice if alert["rule"] in SPECS else "",
            "details": {
                name.replace("_", " "): shortened(_said(value)) for name, value in json.loads(alert["details"]).items()
            },
        }
        for alert in sorted(alerts.to_dicts(), key=rank)
    ]


def _said(value: Any) -> str:
    """A value of an alert's details, as people read it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_said(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    return "none" if value is None else str(value)


def _feed(facts: DayFacts, feed: Feed) -> dict[str, Any]:
    own = facts.metrics.filter((pl.col("dataset") == feed.name) & pl.col("dimension").is_null())
    value = {(day, metric): number for day, metric, number in own.select(INGEST_DATE, "metric", "value").iter_rows()}
    total = int(value.get((facts.day, TOTAL), 0))
    history = own.filter(pl.col(INGEST_DATE).is_in(compared(facts.policy).of(facts.day)[:-1])).select(ALERT_METRICS)
    trends = _trends(facts, value)
    said = _trends_said(feed, trends)
    days = TREND.of(facts.day)
    rejected = [_rejected(*row) for row in facts.rejected[feed.name].iter_rows()]
    return {
        "name": feed.name,
        "total": total,
        "glance": [
            {
                "name": name,
                "value": _number(metric, value.get((facts.day, metric), 0.0)),
                "usual": _number(metric, usual(history, feed.name, metric, facts.policy)[0]),
            }
            for metric, name in _GLANCE.items()
        ],
        "statuses": _by_status(facts.files[feed.name]),
        "reasons": _counts(facts, feed, REASON, total),
        "warnings": _counts(facts, feed, WARNING, total),
        "trends": [trend.name for trend in trends.values()],
        "trends_said": said,
        "trends_svg": trends_chart(days, trends.values(), said) if trends else "",
        "trend_rows": [
            (day, [_number(metric, trend.values[number]) for metric, trend in trends.items()])
            for number, day in reversed(list(enumerate(days)))
            if (day, TOTAL) in value
        ],
        "quarantine": int(value.get((facts.day, QUARANTINE), 0)),
        "quarantine_table": feed.quarantine,
        "rejected": rejected,
        "first_with": {reason: number for number, row in reversed([*enumerate(rejected)]) for reason in row["reasons"]},
    }


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if metric == _RATE else f"{value:,.15g}"


def _by_status(files: Sequence[FileRecord]) -> dict[str, int]:
    counts = Counter(file.status for file in files)
    return {status: counts[status] for status in STATUSES if counts[status]}


def _counts(facts: DayFacts, feed: Feed, kind: str, total: int) -> list[dict[str, Any]]:
    rules = reject_rules(feed, facts.policy, facts.day) if kind == REASON else warning_rules(feed, facts.policy)
    meanings = {rule.reason: _meaning(rule) for rule in rules}
    counts = facts.profiles[feed.name].of_kind(kind)
    return [
        {
            "name": name,
            "rows": rows,
            "share": rows / total if total else 0.0,
            "meaning": meanings.get(name, "no rule of the policy in force; run the day again"),
        }
        for name, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _meaning(rule: Rule) -> str:
    return rule.meaning.replace("`", "")


def _trends(facts: DayFacts, value: Mapping[tuple[date, str], float]) -> dict[str, Trend]:
    """What the days up to this one tell of each metric; nothing when it is the first that has any."""
    days = TREND.of(facts.day)
    if not any((day, TOTAL) in value for day in days[:-1]):
        return {}
    found = {
        metric: Trend(name, [value.get((day, metric)) for day in days], is_rate=metric == _RATE)
        for metric, name in _TRENDS.items()
    }
    return {metric: trend for metric, trend in found.items() if any(each is not None for each in trend.values)}


def _trends_said(feed: Feed, trends: Mapping[str, Trend]) -> str:
    """What the picture of the trends shows, in words."""
    said = []
    for metric, trend in trends.items():
        known = [each for each in trend.values if each is not None]
        least, most, last = (_number(metric, each) for each in (min(known), max(known), trend.values[-1]))
        said.append(f"{trend.name} from {least} to {most} on {some(len(known), 'day')}, {last} on the last")
    return f"{feed.name}: {'; '.join(said)}."


def _rejected(path: str, row: int, reasons: str, said: str) -> dict[str, Any]:
    return {
        "path": path,
        "row": row,
        "reasons": reasons.split(SEPARATOR),
        "said": shortened(said),
        "command": explain_command(path, row),
    }


def _files(facts: DayFacts) -> list[dict[str, Any]]:
    """The day's files, those that failed first, so that a long list hides none of them."""
    files = [(feed, file) for feed in FEEDS.values() for file in facts.files[feed.name]]
    files.sort(key=lambda of: (of[1].status != FAILED, of[1].path))
    return [
        {
            "path": file.path,
            "status": file.status,
            "records": file.records if file.status == SUCCESS else 0,
            "note": shortened("; ".join(_notes(file, feed.required(facts.policy)))),
        }
        for feed, file in files[:_MOST_FILES]
    ]


def _notes(file: FileRecord, required: Sequence[str]) -> Iterator[str]:
    if note := note_on(file.status, file.error, file.duplicate_of):
        yield note
    if absent := [column for column in required if column in file.absent_columns]:
        yield f"lacks {', '.join(absent)}"
    if file.unknown_columns:
        yield f"unknown columns: {', '.join(file.unknown_columns)}"


def shortened(text: str) -> str:
    """The text, or as much of it as people want to read."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} characters more)"


@cache
def _template() -> "Template":
    import jinja2  # noqa: PLC0415 - most processes render nothing

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assets_pkg", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["share"] = lambda share: f"{share:.1%}"
    return environment.get_template("page.html")
