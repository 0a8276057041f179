"""Customers' activity by event date, worked out from the clean events of all ingest dates at once.

Nothing is done day by day: every event that counts is gathered first, then each customer's whole life is cut into
sessions in one go, and only then everything is told apart by date. Slow, and nothing to go stale.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

from .feeds import Row
from .summary import PERCENTILES, Metric

Clean = Mapping[date, Sequence[Row]]
"""The clean events of every ingest date that was processed; one without events has none."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
PAGE_VIEW = "page_view"
DROP_BELOW = Fraction(50, 100)
SPIKE_ABOVE = 3


@dataclass(frozen=True)
class Numbers:
    """What the policy says; the defaults are the contract's."""

    late_window_days: int = 2
    session_timeout: timedelta = timedelta(minutes=30)
    active_gap: timedelta | None = None
    history_days: int = 7
    min_history_days: int = 3


@dataclass(frozen=True)
class Session:
    """Some events of one customer, in order."""

    customer_id: str
    events: tuple[Row, ...]

    @property
    def start(self) -> datetime:
        """Give the time of the first event."""
        time: datetime = self.events[0]["event_time"]
        return time

    @property
    def end(self) -> datetime:
        """Give the time of the last event."""
        time: datetime = self.events[-1]["event_time"]
        return time

    @property
    def session_id(self) -> str:
        """Give customer and start, the latter in epoch microseconds."""
        return f"{self.customer_id}-{(self.start - EPOCH) // MICROSECOND}"

    @property
    def row(self) -> Row:
        """Give the row of the table `sessions`."""
        return {
            "session_id": self.session_id,
            "customer_id": self.customer_id,
            "session_start": self.start,
            "session_end": self.end,
            "event_count": len(self.events),
            "page_views": _page_views(self.events),
            "duration_seconds": float(_seconds(self)),
            "platforms": sorted({event["platform"] for event in self.events}),
        }


@dataclass
class EventDay:
    """Everything about one event date."""

    events_by_date: list[Row] = field(default_factory=list)
    session_events: list[Row] = field(default_factory=list)
    sessions: list[Row] = field(default_factory=list)
    user_daily: list[Row] = field(default_factory=list)
    activity_metrics: list[Metric] = field(default_factory=list)
    activity_alerts: list[dict[str, Any]] = field(default_factory=list)


def build_activity(clean: Clean, numbers: Numbers | None = None) -> dict[date, EventDay]:
    """Give every event date with an event that counts, and every ingest date, in order."""
    numbers = numbers or Numbers()
    by_date = _events_that_count(clean, numbers.late_window_days)
    all_sessions = _cut_into_sessions((event for events in by_date.values() for event in events), numbers)
    days: dict[date, EventDay] = {}
    for day in sorted(by_date.keys() | clean.keys()):
        events = by_date.get(day, [])
        touching = [each for each in all_sessions if any(event["event_date"] == day for event in each.events)]
        starting = [each for each in touching if each.start.date() == day]
        days[day] = EventDay(
            events_by_date=events,
            session_events=[
                {**event, "session_id": session.session_id}
                for session in touching
                for event in session.events
                if event["event_date"] == day
            ],
            sessions=[session.row for session in starting],
            user_daily=_user_daily(day, touching, numbers.active_gap),
            activity_metrics=_metrics(events, starting),
        )
    for day, built in days.items():
        built.activity_alerts = find_activity_alerts(day, days, numbers)
    return days


# -- which events count --------------------------------------------------------------------------------


def _events_that_count(clean: Clean, late_window_days: int) -> dict[date, list[Row]]:
    """Give the rows of events_by_date; a date without any is left out.

    Of all copies of an event in the date's ingest dates, whatever date they claim, the first to arrive decides.
    """
    claimed = {row["event_date"] for rows in clean.values() for row in rows}
    found: dict[date, list[Row]] = {}
    for day in sorted(claimed):
        first: dict[str, Row] = {}
        for ingest_date in (day + timedelta(days=late) for late in range(-1, late_window_days + 1)):
            for row in clean.get(ingest_date, ()):
                first.setdefault(row["event_id"], {**row, "ingest_date": ingest_date})
        events = [row for row in first.values() if row["event_date"] == day]
        if events:
            found[day] = events
    return found


# -- sessions ------------------------------------------------------------------------------------------


def _cut_into_sessions(events: Iterable[Row], numbers: Numbers) -> list[Session]:
    """Cut at every gap of the timeout or more, and at the midnight after a date without one."""
    by_customer: dict[str, list[Row]] = defaultdict(list)
    for event in events:
        by_customer[event["customer_id"]].append(event)
    sessions = []
    for customer_id, theirs in sorted(by_customer.items()):
        ordered = sorted(theirs, key=lambda event: (event["event_time"], event["event_id"]))
        without_gap = _dates_without_gap(ordered, numbers.session_timeout)
        parts = [[ordered[0]]]
        for event, following in pairwise(ordered):
            too_far = following["event_time"] - event["event_time"] >= numbers.session_timeout
            midnight_cut = following["event_date"] != event["event_date"] and event["event_date"] in without_gap
            if too_far or midnight_cut:
                parts.append([])
            parts[-1].append(following)
        sessions += [Session(customer_id, tuple(part)) for part in parts]
    return sessions


def _dates_without_gap(ordered: Sequence[Row], timeout: timedelta) -> set[date]:
    """Give a customer's dates with no gap of the timeout or more, from 00:00 to the date's last event."""
    times: dict[date, list[datetime]] = defaultdict(list)
    for event in ordered:
        times[event["event_date"]].append(event["event_time"])
    found = set()
    for day, of_day in times.items():
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if all(later - earlier < timeout for earlier, later in pairwise([midnight, *of_day])):
            found.add(day)
    return found


# -- what is counted -----------------------------------------------------------------------------------


def _user_daily(day: date, touching: Iterable[Session], active_gap: timedelta | None) -> list[Row]:
    """Give one row per customer with an event on the date."""
    by_customer: dict[str, list[Session]] = defaultdict(list)
    for session in touching:
        by_customer[session.customer_id].append(session)
    rows = []
    for customer_id, sessions in by_customer.items():
        events = [event for session in sessions for event in session.events if event["event_date"] == day]
        gaps = [
            following["event_time"] - event["event_time"]
            for session in sessions
            for event, following in pairwise(session.events)
            if event["event_date"] == following["event_date"] == day
        ]
        active = sum((gap for gap in gaps if active_gap is None or gap <= active_gap), timedelta())
        rows.append(
            {
                "customer_id": customer_id,
                "page_views": _page_views(events),
                "events": len(events),
                "sessions": len({session.session_id for session in sessions}),
                "active_minutes": rounded_minutes(active),
            }
        )
    return rows


def rounded_minutes(active: timedelta) -> float:
    """Give minutes with two decimals, a half away from zero; exact until the last step."""
    hundredth = timedelta(minutes=1) // 100
    whole, rest = divmod(active, hundredth)
    return (whole + (2 * rest >= hundredth)) / 100


def _metrics(events: Sequence[Row], starting: Sequence[Session]) -> list[Metric]:
    """Give what is measured of a date: customers and page views over its events, the rest over its sessions."""
    count = len(starting)
    values: dict[str, Fraction | int] = {
        "sessions": count,
        "active_customers": len({event["customer_id"] for event in events}),
        "page_views": _page_views(events),
        "bounce_rate": Fraction(sum(len(each.events) == 1 for each in starting), count) if count else 0,
    }
    if count:
        values["events_per_session_mean"] = Fraction(sum(len(each.events) for each in starting), count)
        durations = sorted(_seconds(each) for each in starting)
        for percent in PERCENTILES:
            values[f"session_duration_seconds_p{percent}"] = _percentile(durations, percent)
    return [Metric("events", metric, None, float(value)) for metric, value in sorted(values.items())]


def _percentile(ordered: Sequence[Fraction], percent: int) -> Fraction:
    """Interpolate linearly between the two values around a place in an ordered row of them."""
    below, hundredths = divmod(percent * (len(ordered) - 1), 100)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * Fraction(hundredths, 100)


def find_activity_alerts(day: date, days: Mapping[date, EventDay], numbers: Numbers) -> list[dict[str, Any]]:
    """Give the date's alerts, sorted by rule and dataset; the dataset is the metric's name."""
    before = [day - back * ONE_DAY for back in range(1, numbers.history_days + 1)]
    before = [other for other in before if other in days]
    fired = []
    if len(before) >= numbers.min_history_days:
        for metric in ("sessions", "active_customers"):
            now = _count(days[day], metric)
            usual = median(Fraction(_count(days[other], metric)) for other in before)
            if now < usual * (1 - DROP_BELOW):
                fired.append({"rule": "activity_drop", "severity": "high", "dataset": metric})
            if now > usual * SPIKE_ABOVE:
                fired.append({"rule": "activity_spike", "severity": "medium", "dataset": metric})
    return sorted(fired, key=lambda alert: (alert["rule"], alert["dataset"]))


def _count(day: EventDay, metric: str) -> int:
    return next(int(each.value) for each in day.activity_metrics if each.metric == metric)


def _page_views(events: Iterable[Row]) -> int:
    return sum(event["event_type"] == PAGE_VIEW for event in events)


def _seconds(session: Session) -> Fraction:
    return Fraction((session.end - session.start) // MICROSECOND, 1_000_000)
