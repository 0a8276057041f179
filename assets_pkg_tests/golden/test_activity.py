"""Sessions and days of activity with numbers known beforehand, by hand and from samples."""

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets_pkg.steps.activity import refresh
from assets_pkg_tests.activities import ActivityBench, Event, crash_at, differences, numbers
from assets_pkg_tests.workbench import SAMPLES, csv_of, days_from

D1, D2, D3, D4, D5, D6 = days_from(date(2025, 12, 10), 6)
EVE = D1 - timedelta(days=1)


@pytest.fixture
def activity(tmp_path: Path) -> ActivityBench:
    return ActivityBench(tmp_path)


def every_twenty(day: date, first: int = 0, last: int = 1439) -> list[Event]:
    """An event every 20 minutes, from one minute of the day to another."""
    return [Event(f"{day}m{minute}", _clock(day, minute)) for minute in range(first, last + 1, 20)]


def _clock(day: date, minute: int) -> str:
    return f"{day}T{minute // 60:02}:{minute % 60:02}:00Z"


# -- the resent files of another exercise --------------------------------------------------------------


@pytest.mark.parametrize(
    ("active_gap", "expected_file"),
    [(None, "expected_user_daily.csv"), (5, "expected_user_daily_active_gap_5min.csv")],
)
def test_resent_events(active_gap: float | None, expected_file: str, samples: Path, tmp_path: Path) -> None:
    folder = samples / "resent_events"
    bench = ActivityBench(tmp_path, active_gap_minutes=active_gap)
    files = ("events_2025-03-01.csv", "events_2025-03-02.csv", "events_2025-03-02_resent.csv")
    for day, file in zip(days_from(date(2025, 3, 1), 3), files, strict=True):
        bench.put("events_raw.csv", (folder / file).read_bytes(), day)
        bench.clean_events(day)
        refresh(bench.work, [day])
    with (folder / expected_file).open(newline="") as lines:
        expected = {
            (row["user_id"], row["dt"], int(row["pageviews"]), float(row["active_minutes"]))
            for row in csv.DictReader(lines)
        }
    found = [
        (row["customer_id"], str(day), row["page_views"], row["active_minutes"])
        for day, rows in bench.by_date("user_daily").items()
        for row in rows
    ]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert differences(bench) == []


# -- session windows of stream engines ------------------------------------------------------------------

UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1)}
MICROSECOND = timedelta(microseconds=1)
Window = tuple[str, datetime, datetime, int]


def vectors(rule: str) -> list[Any]:
    """The cases of a rule, as test parameters; one that is skipped where the samples are not here."""
    file = SAMPLES / "session_vectors" / "vectors.json"
    if not file.is_file():
        return [pytest.param({}, marks=pytest.mark.skip("../shared/samples/session_vectors is not here"))]
    cases = [case for case in json.loads(file.read_text()) if case["rule"] == rule]
    return [pytest.param(case, id=f"{case['engine']}-{number}") for number, case in enumerate(cases)]


def instant(time: str | int, unit: timedelta) -> datetime:
    """A number counts units from the epoch."""
    if isinstance(time, str):
        return datetime.fromisoformat(time)
    return datetime(1970, 1, 1, tzinfo=UTC) + time * unit


def windows(folder: Path, events: Sequence[tuple[str, datetime | None]], timeout: timedelta) -> set[Window]:
    """The sessions that the pipeline makes of somebody's events; all are of one date."""
    bench = ActivityBench(folder, session_timeout_minutes=timeout / timedelta(minutes=1))
    (day,) = {time.date() for _, time in events if time is not None}
    bench.bring(day, *(Event(f"e{n}", time or "null", customer=who) for n, (who, time) in enumerate(events)))
    assert differences(bench) == []
    sessions = bench.rows("sessions", day)
    found = {(row["customer_id"], row["session_start"], row["session_end"], row["event_count"]) for row in sessions}
    assert len(found) == len(sessions)
    return found


@pytest.mark.parametrize("case", vectors("ge"))
def test_windows_of_engines_in_which_a_gap_of_the_timeout_splits(case: dict[str, Any], tmp_path: Path) -> None:
    """An engine's window ends at its last event plus the gap."""
    unit = UNITS[case["unit"]]
    gap = case["gap"] * unit
    events = [(who, None if time is None else instant(time, unit)) for who, time in case["events"]]
    found = windows(tmp_path, events, gap)
    if "expected_window" in case:
        assert {(who, start, end + gap, count) for who, start, end, count in found} == {
            (who, instant(start, unit), instant(end, unit), count) for who, start, end, count in case["expected_window"]
        }
    else:  # the engine's own test counts rows, not windows
        assert sum(count for *_, count in found) == case["expected_rows_kept"]


@pytest.mark.parametrize("case", vectors("gt"))
def test_windows_of_engines_in_which_only_a_longer_gap_splits(case: dict[str, Any], tmp_path: Path) -> None:
    """Theirs are ours with a timeout one microsecond longer; with the timeout itself, gaps of just it differ."""
    unit = timedelta(milliseconds=1)
    if "windows" in case:  # each is an event and its gap
        gap = unit
        events = [("k", instant(start, unit)) for start, _ in case["windows"]]
        theirs = {("k", instant(start, unit), instant(end, unit) - gap, end - start) for start, end in case["merged"]}
        each_alone = {("k", time, time, 1) for _, time in events}
    else:  # no gap of these is just the timeout: nothing differs
        gap = case["gap"] * unit
        events = [(who, instant(time, unit)) for who, time in case["events"]]
        theirs = {(who, instant(start, unit), instant(end, unit), count) for who, start, end, count in case["expected"]}
        each_alone = theirs
    assert windows(tmp_path / "longer", events, gap + MICROSECOND) == theirs
    assert windows(tmp_path / "ours", events, gap) == each_alone


# -- sessions, by hand ---------------------------------------------------------------------------------


def test_a_gap_of_the_timeout_splits(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T10:00:00Z"), Event("b", f"{D1}T10:30:00Z"))
    assert activity.spans(D1) == [("10 10:00:00.00", "10 10:00:00.00", 1), ("10 10:30:00.00", "10 10:30:00.00", 1)]
    assert differences(activity) == []


def test_a_gap_of_a_microsecond_less_does_not(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T10:00:00Z"), Event("b", f"{D1}T10:29:59.999999Z"))
    (session,) = activity.rows("sessions", D1)
    assert session["session_id"] == "c1-1765360800000000"
    assert (session["event_count"], session["duration_seconds"]) == (2, 1799.999999)
    assert [row["active_minutes"] for row in activity.rows("user_daily", D1)] == [30.0]
    assert differences(activity) == []


@pytest.mark.parametrize(
    ("last", "first", "split"),
    [
        ("23:45:00", "00:15:00", True),
        ("23:45:00", "00:14:59.999999", False),
        ("23:30:00", "00:00:00", True),
        ("23:30:00.000001", "00:00:00", False),
        ("23:59:59.999999", "00:29:59.999999", True),
        ("23:59:59.999999", "00:29:59.999998", False),
    ],
)
def test_a_gap_of_the_timeout_over_midnight_splits_and_a_microsecond_less_does_not(
    last: str, first: str, split: bool, activity: ActivityBench
) -> None:
    activity.bring(D1, Event("a", f"{D1}T{last}Z"))
    activity.bring(D2, Event("b", f"{D2}T{first}Z"))
    assert [len(activity.rows("sessions", day)) for day in (D1, D2)] == ([1, 1] if split else [1, 0])
    assert differences(activity) == []


def test_events_at_one_instant_are_one_session(activity: ActivityBench) -> None:
    at_once = [Event(each, f"{D1}T10:00:00Z", kind="view", platform=each) for each in ("web", "ios", "fax", "and")]
    activity.bring(D1, *at_once)
    (session,) = activity.rows("sessions", D1)
    assert (session["event_count"], session["page_views"], session["duration_seconds"]) == (4, 4, 0.0)
    assert session["platforms"] == ["android", "ios", "unknown", "web"]
    assert differences(activity) == []


def test_one_event_is_a_session(activity: ActivityBench) -> None:
    assert activity.bring(D1, Event("a", f"{D1}T10:00:00Z", kind="page_view")) == [D1]
    assert activity.spans(D1) == [("10 10:00:00.00", "10 10:00:00.00", 1)]
    assert numbers(activity, D1) == {
        "sessions": 1,
        "active_customers": 1,
        "page_views": 1,
        "session_duration_seconds_p50": 0,
        "session_duration_seconds_p95": 0,
        "events_per_session_mean": 1,
        "bounce_rate": 1,
    }
    assert differences(activity) == []


@pytest.mark.parametrize(
    ("day", "last", "first", "backwards"),
    [
        (D1, "2025-12-10T23:50:00Z", "2025-12-11T00:05:00Z", False),
        (D1, "2025-12-10T23:50:00Z", "2025-12-11T00:05:00Z", True),
        (date(2025, 11, 30), "2025-11-30T23:50:00Z", "2025-12-01T00:05:00Z", True),
        (date(2024, 2, 29), "2024-02-29T23:50:00Z", "2024-03-01T00:05:00Z", False),
        (date(2025, 12, 31), "2025-12-31T23:50:00Z", "2026-01-01T00:05:00Z", True),
    ],
)
def test_a_session_over_midnight(day: date, last: str, first: str, backwards: bool, activity: ActivityBench) -> None:
    """Over the end of a day, a month, a leap February, a year; whichever day is run first."""
    next_day = day + timedelta(days=1)
    arrivals = [(day, Event("a", last)), (next_day, Event("b", first, kind="page_view"))]
    for arrived, event in reversed(arrivals) if backwards else arrivals:
        activity.bring(arrived, event)
    (session,) = activity.rows("sessions", day)
    assert (session["event_count"], session["page_views"], session["duration_seconds"]) == (2, 1, 900.0)
    assert activity.rows("sessions", next_day) == []
    ids = {row["session_id"] for each in (day, next_day) for row in activity.rows("session_events", each)}
    assert ids == {session["session_id"]}
    (daily,) = activity.rows("user_daily", next_day)
    assert (daily["sessions"], daily["events"], daily["active_minutes"]) == (1, 1, 0.0)
    assert numbers(activity, next_day) == {"sessions": 0, "active_customers": 1, "page_views": 1, "bounce_rate": 0}
    assert differences(activity) == []


def test_round_the_clock_for_three_days_is_cut_at_each_midnight(activity: ActivityBench) -> None:
    for day in (D1, D2, D3):
        activity.bring(day, *every_twenty(day))
    for day in (D1, D2, D3):
        assert activity.spans(day) == [(f"{day:%d} 00:00:00.00", f"{day:%d} 23:40:00.00", 72)]
        assert [row["active_minutes"] for row in activity.rows("user_daily", day)] == [1420.0]
    assert differences(activity) == []


def test_the_midnight_before_a_day_without_a_gap_is_not_cut_the_one_after_is(activity: ActivityBench) -> None:
    activity.bring(EVE, Event("eve", f"{EVE}T23:45:00Z"))
    activity.bring(D1, *every_twenty(D1, 10))
    activity.bring(D2, Event("after", f"{D2}T00:05:00Z"))
    assert activity.spans(EVE) == [("09 23:45:00.00", "10 23:50:00.00", 73)]
    assert activity.spans(D1) == []
    assert activity.spans(D2) == [("11 00:05:00.00", "11 00:05:00.00", 1)]
    assert differences(activity) == []


@pytest.mark.parametrize(("first", "cut"), [("00:30:00", False), ("00:29:59.999999", True)])
def test_a_day_has_no_gap_when_its_first_event_is_less_than_the_timeout_after_midnight(
    first: str, cut: bool, activity: ActivityBench
) -> None:
    activity.bring(D1, Event("first", f"{D1}T{first}Z"), *every_twenty(D1, 50))
    activity.bring(D2, Event("after", f"{D2}T00:05:00Z"))
    assert len(activity.rows("sessions", D2)) == cut
    assert differences(activity) == []


def test_the_event_that_closes_the_last_gap_of_a_day_cuts_its_midnight(activity: ActivityBench) -> None:
    """And taking it away joins the two again: both dates after it are restated."""
    whole = every_twenty(D1)
    activity.bring(D1, *(event for event in whole if event.event_id != f"{D1}m600"))
    activity.bring(D2, Event("after", f"{D2}T00:05:00Z"))
    assert activity.spans(D1)[1:] == [("10 10:20:00.00", "11 00:05:00.00", 42)]
    assert {D1, D2} <= set(activity.bring(D1, *whole))
    assert activity.spans(D1) == [("10 00:00:00.00", "10 23:40:00.00", 72)]
    assert activity.spans(D2) == [("11 00:05:00.00", "11 00:05:00.00", 1)]
    assert differences(activity) == []
    assert {D1, D2} <= set(activity.bring(D1, *whole[1:]))  # the first event is then at 00:20
    assert activity.spans(D2) == [("11 00:05:00.00", "11 00:05:00.00", 1)]
    activity.bring(D1, *whole[2:])  # at 00:40
    assert activity.spans(D2) == []
    assert differences(activity) == []


def test_a_day_without_events_between_two(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T23:55:00Z"))
    activity.bring(D2)
    activity.bring(D3, Event("b", f"{D3}T00:05:00Z"))
    assert [len(activity.rows("sessions", day)) for day in (D1, D2, D3)] == [1, 0, 1]
    assert numbers(activity, D2) == {"sessions": 0, "active_customers": 0, "page_views": 0, "bounce_rate": 0}
    assert differences(activity) == []


def test_active_minutes_are_rounded_half_away_from_zero(activity: ActivityBench) -> None:
    """Of the exact sum: 0.145 and 1.005 have no float of their own."""
    minutes = {0.299999: 0.0, 0.3: 0.01, 0.9: 0.02, 1.5: 0.03, 8.7: 0.15, 60.3: 1.01, 60.299999: 1.0}
    start = datetime(2025, 12, 10, 12, tzinfo=UTC)
    times = [(f"c{seconds}", time) for seconds in minutes for time in (start, start + timedelta(seconds=seconds))]
    activity.bring(D1, *(Event(f"e{number}", time, who) for number, (who, time) in enumerate(times)))
    found = {row["customer_id"]: row["active_minutes"] for row in activity.rows("user_daily", D1)}
    assert found == {f"c{seconds}": rounded for seconds, rounded in minutes.items()}
    assert differences(activity) == []


# -- late, early, resent -------------------------------------------------------------------------------


def test_a_late_event_joins_two_sessions(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T10:00:00Z"), Event("c", f"{D1}T10:40:00Z"))
    assert len(activity.rows("sessions", D1)) == 2
    assert D1 in activity.bring(D3, Event("b", f"{D1}T10:20:00Z"))
    assert activity.spans(D1) == [("10 10:00:00.00", "10 10:40:00.00", 3)]
    assert {row["session_id"] for row in activity.rows("session_events", D1)} == {"c1-1765360800000000"}
    assert [row["active_minutes"] for row in activity.rows("user_daily", D1)] == [40.0]
    assert differences(activity) == []


def test_a_late_event_moves_the_start_of_a_session_to_the_day_before(activity: ActivityBench) -> None:
    activity.bring(D2, Event("b", f"{D2}T00:10:00Z"), Event("c", f"{D2}T00:20:00Z"))
    assert activity.spans(D2) == [("11 00:10:00.00", "11 00:20:00.00", 2)]
    assert {D1, D2} <= set(activity.bring(D3, Event("a", f"{D1}T23:50:00Z")))
    assert activity.spans(D1) == [("10 23:50:00.00", "11 00:20:00.00", 3)]
    assert activity.spans(D2) == []
    start = datetime(2025, 12, 10, 23, 50, tzinfo=UTC)
    assert {row["session_id"] for row in activity.rows("session_events", D2)} == {f"c1-{int(start.timestamp())}000000"}
    assert differences(activity) == []


def test_an_event_that_arrives_the_day_before(activity: ActivityBench) -> None:
    assert D2 in activity.bring(D1, Event("a", f"{D2}T12:00:00Z"))
    assert activity.counted(D2) == {"a": D1}
    activity.bring(D2, Event("b", f"{D2}T12:10:00Z"))
    assert activity.spans(D2) == [("11 12:00:00.00", "11 12:10:00.00", 2)]
    assert differences(activity) == []


def test_the_last_day_of_the_window_and_the_first_after_it(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T12:00:00Z"))
    activity.bring(D3, Event("b", f"{D1}T12:10:00Z"))
    before = activity.activity_versions()["partitions"]["events_by_date"][D1]
    activity.bring(D4, Event("c", f"{D1}T12:20:00Z"))
    assert activity.counted(D1) == {"a": D1, "b": D3}
    assert activity.activity_versions()["partitions"]["events_by_date"][D1] == before
    assert {row["event_id"] for row in activity.rows("events_clean", D4)} == {"c"}
    assert differences(activity) == []


@pytest.mark.parametrize("order", [(D1, D2, D3), (D3, D1, D2)])
def test_of_an_event_that_is_resent_the_earliest_ingest_date_wins(
    order: Sequence[date], activity: ActivityBench
) -> None:
    for day in order:
        platform = {D1: "ios", D2: "android", D3: "web"}[day]
        activity.bring(day, Event("a", f"{D1}T12:00:00Z", kind="view", platform=platform))
    assert activity.counted(D1) == {"a": D1}
    assert [row["platforms"] for row in activity.rows("sessions", D1)] == [["ios"]]
    assert numbers(activity, D1)["page_views"] == 1
    assert differences(activity) == []


@pytest.mark.parametrize("order", [(D1, D2), (D2, D1)])
def test_an_earlier_copy_that_claims_another_date_takes_the_event_away(
    order: Sequence[date], activity: ActivityBench
) -> None:
    times = {D1: f"{D1}T12:00:00Z", D2: f"{D2}T12:00:00Z"}
    for day in order:
        activity.bring(day, Event("a", times[day]))
    assert (activity.counted(D1), activity.counted(D2)) == ({"a": D1}, {})
    assert differences(activity) == []
    assert {D1, D2} <= set(activity.bring(D1, Event("other", times[D1])))  # and gives it back
    assert (activity.counted(D1), activity.counted(D2)) == ({"other": D1}, {"a": D2})
    assert differences(activity) == []


@pytest.mark.parametrize("order", [(D5, D6), (D6, D5)])
def test_such_a_copy_counts_even_when_it_is_too_late_for_its_own_date(
    order: Sequence[date], activity: ActivityBench
) -> None:
    for day in order:
        activity.bring(day, Event("a", f"{D1 if day == D5 else D6}T12:00:00Z"))
    assert (activity.counted(D1), activity.counted(D6)) == ({}, {})
    assert differences(activity) == []


def test_such_a_copy_outside_the_dates_window_does_not_count(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T12:00:00Z"))
    activity.bring(D3, Event("a", f"{D3}T12:00:00Z"))
    assert (activity.counted(D1), activity.counted(D3)) == ({"a": D1}, {"a": D3})
    assert differences(activity) == []


# -- restatement ---------------------------------------------------------------------------------------


def test_nothing_new_builds_nothing_and_one_day_builds_its_neighbourhood_alone(activity: ActivityBench) -> None:
    days = days_from(D1, 9)
    for day in days:
        activity.drop(day, Event(f"e{day}", f"{day}T12:00:00Z"))
        activity.clean_events(day)
    assert refresh(activity.work, days) == days
    before = activity.activity_versions()
    for day in days[4:6]:
        activity.clean_events(day)
    assert refresh(activity.work, days) == []
    assert activity.activity_versions() == before
    changed = days[5]
    built = activity.bring(changed, Event(f"e{changed}", f"{changed}T12:00:00Z"), Event("new", f"{changed}T13:00:00Z"))
    assert changed in built
    assert min(built) >= changed - timedelta(days=3)  # an event of the window's first date, and its session's start
    assert max(built) <= changed + timedelta(days=2 + 7)  # alerts look back a week
    assert differences(activity) == []


@pytest.mark.parametrize("ingest_dates", [(D1,), (D1, D4)])
def test_a_date_that_loses_its_only_event_is_as_if_it_had_never_had_one(
    ingest_dates: Sequence[date], activity: ActivityBench
) -> None:
    """It keeps metrics, of zeros, only when it is an ingest date too; alerts of the days after count such dates."""
    for day in ingest_dates:
        activity.bring(day)
    activity.bring(D1, Event("a", f"{D2}T12:00:00Z"))
    assert numbers(activity, D2)["sessions"] == 1
    activity.bring(D1, Event("a", f"{D1}T12:00:00Z"))
    assert activity.counted(D2) == {}
    assert sorted(activity.by_date("activity_metrics")) == list(ingest_dates)
    assert differences(activity) == []


def test_a_date_that_lost_its_events_has_numbers_once_its_own_files_come(activity: ActivityBench) -> None:
    """Zeros, though there is not a single row more than before."""
    activity.bring(D1, Event("a", f"{D2}T12:00:00Z"))
    activity.bring(D1)
    assert numbers(activity, D2) == {}
    activity.bring(D2)
    assert numbers(activity, D2) == {"sessions": 0, "active_customers": 0, "page_views": 0, "bounce_rate": 0}
    assert differences(activity) == []


@pytest.mark.parametrize("first", [0, 1])
def test_a_refresh_that_ended_at_any_commit_is_made_good_by_the_next(first: int, activity: ActivityBench) -> None:
    """Each time with more events, so that there is something to lose; even numbers in one test, odd in the other."""
    activity.bring(D1, Event("begun", f"{D1}T00:10:00Z"))
    for commit in range(first, 100, 2):
        activity.drop(D1, *(Event(f"e{n}", f"{D1}T12:{n:02}:00Z", kind="view") for n in range(commit + 2)))
        activity.clean_events(D1)
        with crash_at(commit) as commits:
            refresh(activity.work, [D1])
        made = next(commits)
        refresh(activity.work, [D1])
        assert (commit, differences(activity)) == (commit, [])
        if made <= commit:  # it came to its end
            break
    assert made > 5


def test_a_policy_that_changes_restates(tmp_path: Path) -> None:
    events = [Event("a", f"{D1}T10:00:00Z"), Event("b", f"{D1}T10:20:00Z")]
    ActivityBench(tmp_path).bring(D1, *events)
    stricter = ActivityBench(tmp_path, session_timeout_minutes=20)
    assert refresh(stricter.work, [D1]) == [D1]
    assert len(stricter.rows("sessions", D1)) == 2
    assert differences(stricter) == []
    assert refresh(stricter.work, [D1]) == []


def test_many_customers_and_days_of_a_file_each(activity: ActivityBench) -> None:
    """Numbers by hand: each of 20 customers has three sessions a day, the last of them over midnight."""
    customers = [f"c{number}" for number in range(20)]
    minutes = (5, 600, 610, 1430)
    for day in (D1, D2, D3):
        events = [Event(f"{day}{who}{m}", _clock(day, m), who) for who in customers for m in minutes]
        activity.put("events_raw.csv", csv_of([event.texts for event in events]), day)
        activity.clean_events(day)
    assert refresh(activity.work, [D1, D2, D3]) == [D1, D2, D3]
    assert [numbers(activity, day)["sessions"] for day in (D1, D2, D3)] == [60, 40, 40]
    assert numbers(activity, D2) == {
        "sessions": 40,
        "active_customers": 20,
        "page_views": 0,
        "session_duration_seconds_p50": 750,
        "session_duration_seconds_p95": 900,
        "events_per_session_mean": 2,
        "bounce_rate": 0,
    }
    assert differences(activity) == []
