"""The oracle of activity says what section 4 says, with expectations written by hand."""

from datetime import date, timedelta

import pytest

from assets_pkg_tests.reference.activity import EventDay, Numbers, build_activity, rounded_minutes
from assets_pkg_tests.reference.feeds import Row
from assets_pkg_tests.workbench import at, days_from

D1, D2, D3, D4, D5 = days_from(date(2025, 12, 10), 5)


def event(event_id: str, time: str, customer: str = "c", event_type: str = "click", platform: str = "web") -> Row:
    instant = at(time)
    return {
        "event_id": event_id,
        "customer_id": customer,
        "event_time": instant,
        "event_date": instant.date(),
        "event_type": event_type,
        "platform": platform,
    }


def life(*times: str) -> dict[date, EventDay]:
    """One customer's events, each arrived on its own date."""
    events = [event(f"e{number}", time) for number, time in enumerate(times)]
    dates = {each["event_date"] for each in events}
    return build_activity({day: [each for each in events if each["event_date"] == day] for day in dates})


def spans(day: EventDay) -> list[tuple[str, str, int]]:
    return [
        (f"{row['session_start']:%d %H:%M}", f"{row['session_end']:%d %H:%M}", row["event_count"])
        for row in day.sessions
    ]


def ids(day: EventDay) -> list[tuple[str, date]]:
    return [(row["event_id"], row["ingest_date"]) for row in day.events_by_date]


def metrics(day: EventDay) -> dict[str, float]:
    return {each.metric: each.value for each in day.activity_metrics}


def test_a_gap_of_the_timeout_splits_and_one_microsecond_less_does_not() -> None:
    assert len(life("2025-12-10T10:00", "2025-12-10T10:30")[D1].sessions) == 2
    assert len(life("2025-12-10T10:00", "2025-12-10T10:29:59.999999")[D1].sessions) == 1


def test_all_columns_of_one_session() -> None:
    events = [
        event("b", "2025-12-10T10:10:00.5", event_type="page_view", platform="web"),
        event("a", "2025-12-10T10:00", event_type="page_view", platform="ios"),
        event("c", "2025-12-10T10:05", platform="web"),
    ]
    day = build_activity({D1: events})[D1]
    assert day.sessions == [
        {
            "session_id": "c-1765360800000000",
            "customer_id": "c",
            "session_start": at("2025-12-10T10:00"),
            "session_end": at("2025-12-10T10:10:00.5"),
            "event_count": 3,
            "page_views": 2,
            "duration_seconds": 600.5,
            "platforms": ["ios", "web"],
        }
    ]
    assert [(row["event_id"], row["session_id"]) for row in day.session_events] == [
        ("a", "c-1765360800000000"),
        ("c", "c-1765360800000000"),
        ("b", "c-1765360800000000"),
    ]
    assert day.user_daily == [
        {"customer_id": "c", "page_views": 2, "events": 3, "sessions": 1, "active_minutes": 10.01}
    ]


def test_a_session_over_midnight_belongs_to_its_first_day_and_its_time_over_midnight_to_none() -> None:
    days = life("2025-12-10T23:40", "2025-12-10T23:50", "2025-12-11T00:05", "2025-12-11T00:11")
    assert (spans(days[D1]), spans(days[D2])) == ([("10 23:40", "11 00:11", 4)], [])
    assert [row["active_minutes"] for day in (D1, D2) for row in days[day].user_daily] == [10.0, 6.0]
    assert [row["sessions"] for row in days[D2].user_daily] == [1]
    assert metrics(days[D2]) == {"sessions": 0, "active_customers": 1, "page_views": 0, "bounce_rate": 0}


def clock(day: date, first: int, last: int) -> list[str]:
    """An event every 20 minutes, from one minute of the day to another."""
    return [f"{day}T{minute // 60:02}:{minute % 60:02}" for minute in range(first, last + 1, 20)]


def test_a_day_without_a_gap_cuts_at_the_midnight_after_it_alone() -> None:
    days = life("2025-12-09T23:50", *clock(D1, 10, 1430), "2025-12-11T00:10")
    before = D1 - timedelta(days=1)
    assert spans(days[before]) == [("09 23:50", "10 23:50", 73)]
    assert (spans(days[D1]), spans(days[D2])) == ([], [("11 00:10", "11 00:10", 1)])


@pytest.mark.parametrize("first", [30, 31])
def test_a_day_whose_first_event_is_the_timeout_after_midnight_cuts_nothing(first: int) -> None:
    assert spans(life(*clock(D1, first, 1439), "2025-12-11T00:00")[D1])[0][1] == "11 00:00"


def test_round_the_clock_for_three_days_is_one_session_a_day() -> None:
    days = life(*clock(D1, 0, 1439), *clock(D2, 0, 1439), *clock(D3, 0, 1439))
    assert [spans(days[day]) for day in (D1, D2, D3)] == [[(f"{day:%d} 00:00", f"{day:%d} 23:40", 72)] for day in days]


def test_the_window_is_a_day_early_to_two_late_and_earliest_wins() -> None:
    day = build_activity(
        {
            D1: [event("early", "2025-12-11T10:00")],
            D2: [event("twice", "2025-12-11T10:00", platform="ios")],
            D4: [event("late", "2025-12-11T11:00"), event("twice", "2025-12-11T10:00", platform="android")],
            D5: [event("too late", "2025-12-11T12:00"), event("unheard of", "2025-12-01T12:00")],
        }
    )
    assert ids(day[D2]) == [("early", D1), ("twice", D2), ("late", D4)]
    assert day[D2].events_by_date[1]["platform"] == "ios"
    assert list(day) == [D1, D2, D4, D5]
    assert ids(day[D1]) == ids(day[D5]) == []


def test_an_earlier_copy_that_claims_another_date_takes_the_event_away_even_if_it_is_too_late_there() -> None:
    too_late_there = event("e", "2025-12-05T10:00")
    days = build_activity({D1: [too_late_there], D2: [event("e", "2025-12-11T10:00")]})
    assert (ids(days[D2]), days[D2].user_daily) == ([], [])
    days = build_activity({D1: [event("e", "2025-12-11T10:00")], D2: [too_late_there]})
    assert ids(days[D2]) == [("e", D1)]
    outside = build_activity({D1: [event("e", "2025-12-10T10:00")], D3: [event("e", "2025-12-12T10:00")]})
    assert (ids(outside[D1]), ids(outside[D3])) == ([("e", D1)], [("e", D3)])


def test_active_gap_is_a_limit_that_still_counts() -> None:
    events = [event(str(minute), f"2025-12-10T10:{minute:02}") for minute in (0, 5, 11)]
    five = build_activity({D1: events}, Numbers(active_gap=timedelta(minutes=5)))
    assert (five[D1].user_daily[0]["active_minutes"], len(five[D1].sessions)) == (5.0, 1)


@pytest.mark.parametrize(
    ("microseconds", "minutes"), [(299_999, 0.0), (300_000, 0.01), (900_000, 0.02), (60_000_000, 1.0)]
)
def test_minutes_are_rounded_half_away_from_zero(microseconds: int, minutes: float) -> None:
    assert rounded_minutes(timedelta(microseconds=microseconds)) == minutes


def test_metrics_and_alerts() -> None:
    events = [event(f"{day}{n}", f"{day}T{n:02}:00", f"c{n % 4}") for day in (D1, D2, D3) for n in range(10)]
    events += [event("x", "2025-12-10T00:01", "c0"), event("y", "2025-12-13T00:00", "c0")]
    clean = {day: [each for each in events if each["event_date"] == day] for day in (D1, D2, D3, D4, D5)}
    days = build_activity(clean)
    assert metrics(days[D1]) == {
        "sessions": 10,
        "active_customers": 4,
        "page_views": 0,
        "bounce_rate": 0.9,
        "events_per_session_mean": 1.1,
        "session_duration_seconds_p50": 0,
        "session_duration_seconds_p95": pytest.approx(33),  # place 8.55 of 0, …, 0, 60
    }
    drops = [
        {"rule": "activity_drop", "severity": "high", "dataset": name} for name in ("active_customers", "sessions")
    ]
    assert [days[day].activity_alerts for day in days] == [[], [], [], drops, drops]


def test_processed_dates_without_events_exist_and_others_do_not() -> None:
    days = build_activity({D1: [], D3: [event("e", "2025-12-13T00:00")]})
    assert list(days) == [D1, D3, D4]
    assert metrics(days[D1]) == {"sessions": 0, "active_customers": 0, "page_views": 0, "bounce_rate": 0}
