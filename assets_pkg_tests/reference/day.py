"""One ingest date from its files to everything that the contract derives from them, and its alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from .alerting import find_alerts
from .decisions import FeedDay, decide
from .feeds import FEEDS, Files, Row, read_feed
from .summary import Metric, build_metrics, build_report
from .values import clean_text

__all__ = ["Day", "FeedDay", "Files", "Metric", "alerts", "build_day"]


@dataclass(frozen=True)
class Day:
    """What the tables and reports of one ingest date must hold."""

    date: date
    feeds: dict[str, FeedDay]
    known: dict[str, Row]
    report: dict[str, Any]
    metrics: list[Metric]


def build_day(day: date, files_by_date: Mapping[date, Files]) -> Day:
    """Work one ingest date out from all raw files there are; of other dates only earlier customers matter."""
    known: dict[str, Row] = {}
    for earlier in sorted(other for other in files_by_date if other < day):
        _see_customers(known, earlier, _decide_feed("customers", earlier, files_by_date, known))
    customers = _decide_feed("customers", day, files_by_date, known)
    _see_customers(known, day, customers)
    feeds = {
        "customers": customers,
        "events": _decide_feed("events", day, files_by_date, known),
        "orders": _decide_feed("orders", day, files_by_date, known),
    }
    return Day(day, feeds, known, build_report(day, feeds), build_metrics(day, feeds))


def alerts(day: Day, previous_metrics: Mapping[date, Sequence[Metric]]) -> list[dict[str, Any]]:
    """Give the day's alerts, sorted by rule and dataset; `previous_metrics` may hold any dates."""
    return find_alerts(day.date, day.feeds, day.metrics, previous_metrics)


def _decide_feed(name: str, day: date, files_by_date: Mapping[date, Files], known: Mapping[str, Row]) -> FeedDay:
    """Read and decide one feed on one day."""
    feed = FEEDS[name]
    return decide(feed, day, read_feed(feed, files_by_date.get(day, {})), known)


def _see_customers(known: dict[str, Row], day: date, customers: FeedDay) -> None:
    """Add what one day's customers feed tells; days must be seen in order."""
    for row in customers.raw:
        customer_id = clean_text(row["customer_id"])
        if customer_id is not None:
            attributes = dict.fromkeys(("email", "created_at", "country", "status"))
            known.setdefault(customer_id, {"customer_id": customer_id, "first_seen": day, **attributes})
            known[customer_id]["last_seen"] = day
    for row in customers.clean:
        latest = {column: row[column] for column in ("email", "created_at", "country", "status")}
        known[row["customer_id"]] |= latest
