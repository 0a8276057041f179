"""Random histories of events: whatever arrives when, and however often days are run, the tables are the oracle's.

Events lie a timeout apart, or a microsecond more or less, around midnights; they arrive late, early, twice, with
another date, and are corrected. Each customer of a history is a history of its own: there are several in each, as
running days is what costs.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.steps.activity import refresh
from assets_pkg.storage import lake
from assets_pkg_tests.activities import ActivityBench, Event, crash_at, differences
from assets_pkg_tests.workbench import days_from

START: Final = date(2025, 12, 30)
EVENT_DAYS: Final = days_from(START, 4)  # chains reach into the day before and after
ARRIVAL_DAYS: Final = days_from(START - timedelta(days=1), 8)
MICROSECOND: Final = timedelta(microseconds=1)
DAY: Final = timedelta(days=1)

ALONE, WITH_WHAT_WAITS, LATER = "alone", "with what waits", "later"


@dataclass(frozen=True)
class Step:
    """A day's file is written, the day run, and its event dates refreshed: now, later, or now but for a crash."""

    day: date
    events: tuple[Event, ...]
    refreshed: str
    crash_at: int | None
    """The commit, from 0, that a refresh does not survive."""


@dataclass(frozen=True)
class History:
    """What the policy says, and what happens in order."""

    timeout_minutes: float
    late_window_days: int
    active_gap_minutes: float | None
    rows_per_file: int
    steps: tuple[Step, ...]


@st.composite
def _times(draw: st.DrawFn, timeout: timedelta) -> list[datetime]:
    """Some events of a customer: a chain of gaps that begins near a midnight, or a day from end to end."""
    midnight = datetime.combine(draw(st.sampled_from(EVENT_DAYS)), datetime.min.time(), UTC)
    if draw(st.integers(0, 2)) == 0:
        offset = draw(st.sampled_from([timedelta(), timeout / 3, -timeout / 3, timeout - MICROSECOND, timeout]))
        step = draw(st.sampled_from([timeout / 1.5, timeout / 1.5, timeout - MICROSECOND, timeout]))
        end = draw(st.sampled_from([DAY, DAY + timeout, DAY + timeout]))
        times = [midnight + offset + number * step for number in range(int((end - offset) / step) + 1)]
        missing = draw(st.integers(-2 * len(times), len(times) - 1))
        return [time for number, time in enumerate(times) if number != missing]
    offset = draw(st.sampled_from([-timeout / 2, -timeout, -MICROSECOND, -timeout / 7, timedelta(), MICROSECOND,
                                   timeout / 2, timeout - MICROSECOND, timeout, timedelta(hours=9, milliseconds=299)]))  # fmt: skip
    near = [timeout - MICROSECOND, timeout - MICROSECOND, timeout, timeout + MICROSECOND]
    gaps = draw(st.lists(st.sampled_from([timeout / 2, timeout / 7, timedelta(), MICROSECOND, *near]), max_size=5))
    times = [midnight + offset]
    for gap in gaps:
        times.append(times[-1] + gap)
    return times


@st.composite
def _copies(draw: st.DrawFn, event: Event, time: datetime) -> Event:
    """The same event_id once more: the same, or with something else in it."""
    change = draw(st.sampled_from(["none", "platform", "kind", "time", "date", "date", "customer"]))
    shift = draw(st.sampled_from([-2, -1, 1, 2])) * (DAY if change == "date" else MICROSECOND)
    return {
        "none": event,
        "platform": replace(event, platform="ios"),
        "kind": replace(event, kind="page_view"),
        "time": replace(event, time=time + shift),
        "date": replace(event, time=time + shift),
        "customer": replace(event, customer="c0"),
    }[change]


@st.composite
def histories(draw: st.DrawFn, customers: tuple[int, int] = (3, 6), most_days: int = 4, most_more: int = 2) -> History:
    minutes = draw(st.sampled_from([30.0, 30.0, 480.0, 480.0, 1440.0]))
    timeout = timedelta(minutes=minutes)
    days = draw(st.lists(st.sampled_from(ARRIVAL_DAYS), min_size=2, max_size=most_days, unique=True))
    arrivals: list[tuple[date, Event]] = []

    def arrive(event: Event, time: datetime, usual: int) -> None:
        """On a day that is not too early for it, as late as the customer usually is or just so."""
        possible = sorted(day for day in days if day >= time.date() - DAY)
        if possible:
            number = usual if draw(st.integers(0, 3)) else draw(st.integers(0, len(possible) - 1))
            arrivals.append((possible[number % len(possible)], event))

    for customer in range(draw(st.integers(*customers))):
        usual = draw(st.integers(0, 1))
        times = [time for chain in draw(st.lists(_times(timeout), min_size=1, max_size=2)) for time in chain]
        for number, time in enumerate(times):
            kind, platform = ("page_view", "web") if number % 3 else ("click", "android")
            event = Event(f"e{customer}.{number}", time, f"c{customer}", kind, platform)
            arrive(event, time, usual)
            if draw(st.integers(0, 4)) == 0:
                copy = draw(_copies(event, time))
                assert isinstance(copy.time, datetime)
                arrive(copy, copy.time, draw(st.integers(0, 3)))

    def content(day: date) -> tuple[Event, ...]:
        """All that arrived on the day, now and then without some of it."""
        arrived = [event for when, event in arrivals if when == day]
        left_out = draw(st.sets(st.integers(0, max(0, len(arrived) - 1)), max_size=3)) if draw(st.booleans()) else ()
        return tuple(event for number, event in enumerate(arrived) if number not in left_out)

    order = [*draw(st.permutations(days)), *draw(st.lists(st.sampled_from(days), max_size=most_more))]
    refreshed = st.sampled_from([ALONE, ALONE, WITH_WHAT_WAITS, LATER])
    crash = st.sampled_from([None, None, None, 0, 1, 3, 5, 8])
    steps = tuple(Step(day, content(day), draw(refreshed), draw(crash)) for day in order)
    window = draw(st.sampled_from([2, 2, 2, 0, 1, 3]))
    active_gap = draw(st.sampled_from([None, None, minutes / 2, minutes]))
    rows_per_file = draw(st.sampled_from([400_000, 400_000, 2, 7]))
    return History(minutes, window, active_gap, rows_per_file, steps)


def _is_the_oracles(history: History) -> None:
    """Whenever nothing waits for a refresh, and at the end, the tables are the oracle's; then nothing is stale."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(lake, "ROWS_PER_FILE", history.rows_per_file)
        bench = ActivityBench(
            Path(folder),
            min_history_days=1,
            session_timeout_minutes=history.timeout_minutes,
            late_window_days=history.late_window_days,
            active_gap_minutes=history.active_gap_minutes,
        )
        waiting: set[date] = set()
        for step in history.steps:
            bench.drop(step.day, *step.events)
            bench.clean_events(step.day)
            waiting.add(step.day)
            if step.refreshed != LATER:
                with crash_at(step.crash_at):
                    _refresh(bench, {step.day} if step.refreshed == ALONE else set(waiting), waiting)
        if waiting:
            _refresh(bench, set(waiting), waiting)
        before = bench.activity_versions()
        assert refresh(bench.work, bench.ingest_dates()) == []
        assert bench.activity_versions() == before


def _refresh(bench: ActivityBench, days: set[date], waiting: set[date]) -> None:
    """Refresh after some ingest dates; built is nothing twice, nothing out of order, nothing far away."""
    built = refresh(bench.work, sorted(days))
    assert built == sorted(set(built))
    late = timedelta(days=bench.numbers.late_window_days)
    for event_date in built:  # an event is at most a day early; a session reaches one date further; alerts a week
        assert any(day - late - DAY <= event_date <= day + 9 * DAY for day in days), (event_date, days)
    waiting -= days
    if not waiting:
        assert differences(bench) == []


def describe(history: History) -> Sequence[str]:
    """A history in lines, for people who debug one."""
    lines = [f"timeout {history.timeout_minutes}, window {history.late_window_days}, gap {history.active_gap_minutes}"]
    lines.append(f"{history.rows_per_file} rows per file")
    for step in history.steps:
        lines.append(f"{step.day} refreshed {step.refreshed}, crash at {step.crash_at}")
        lines += [f"    {event.event_id} {event.customer} {event.time}" for event in step.events]
    return lines


@settings(max_examples=5)
@given(histories())
def test_tables_by_event_date_are_the_oracles(history: History) -> None:
    _is_the_oracles(history)


@pytest.mark.slow
@settings(settings.get_profile("deep"))
@given(histories(customers=(1, 6), most_days=6, most_more=4))
def test_tables_by_event_date_are_the_oracles_deep(history: History) -> None:
    _is_the_oracles(history)
