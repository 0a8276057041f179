"""The alerts of event dates at their bounds, each case held against the oracle too."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from assets_pkg.contracts.tables import ACTIVITY_METRICS
from assets_pkg.policy import Policy, load_policy
from assets_pkg.steps.activity import JUDGE, MEASURE, refresh
from assets_pkg.transforms.alerts import fired_alerts, judge_activity
from assets_pkg_tests.activities import ActivityBench, Event, differences
from assets_pkg_tests.properties.activity_histories import fast_bench
from assets_pkg_tests.reference.activity import EventDay, Numbers, find_activity_alerts
from assets_pkg_tests.reference.summary import Metric
from assets_pkg_tests.workbench import Alert, days_from

DAYS = days_from(date(2025, 12, 1), 12)
TODAY = DAYS[9]
DROP = [("activity_drop", "high", "active_customers"), ("activity_drop", "high", "sessions")]
MILD_DROP = [(rule, "low", metric) for rule, _, metric in DROP]
SPIKE = [("activity_spike", "medium", "active_customers"), ("activity_spike", "medium", "sessions")]


@pytest.fixture
def activity() -> Iterator[ActivityBench]:
    """In memory, as these are many days."""
    with fast_bench() as bench:
        yield bench


def visits(day: date, customers: int, sessions_each: int = 1) -> list[Event]:
    """So many customers, with sessions of one event an hour apart."""
    start = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
    return [
        Event(f"{day}c{customer}s{session}", start + timedelta(hours=session), f"c{customer}")
        for customer in range(customers)
        for session in range(sessions_each)
    ]


def shop(bench: ActivityBench, customers: Mapping[date, int]) -> None:
    """Days with so many customers of one session, all refreshed at once."""
    for day, count in customers.items():
        bench.drop(day, *visits(day, count))
        bench.clean_events(day)
    refresh(bench.work, customers)


def back(*counts: int) -> dict[date, int]:
    """Customers of the days before today, yesterday last."""
    return dict(zip(days_from(TODAY - timedelta(days=len(counts)), len(counts)), counts, strict=True))


def counted(customers: int, sessions: int) -> list[Metric]:
    """The metrics of a date that alerts are about."""
    return [Metric("events", "active_customers", None, customers), Metric("events", "sessions", None, sessions)]


def table(metrics: Iterable[Metric]) -> pl.DataFrame:
    """Metrics as rows of activity_metrics."""
    return pl.DataFrame([metric._asdict() for metric in metrics], ACTIVITY_METRICS.schema)


def judged(before: Sequence[tuple[int, int]], today: tuple[int, int], policy: Policy) -> list[Alert]:
    """What fires, given active customers and sessions of the days before and of today."""
    history = [metric for counts in before for metric in counted(*counts)]
    return three_parts(fired_alerts(judge_activity(table(counted(*today)), table(history), policy)))


def judged_as_by_the_oracle(before: Sequence[tuple[int, int]], today: tuple[int, int], policy: Policy) -> list[Alert]:
    """As `judged`, by the default policy; and the oracle agrees."""
    days = zip([*back(*[0] * len(before)), TODAY], [*before, today], strict=True)
    measured = {day: EventDay(activity_metrics=counted(*counts)) for day, counts in days}
    found = judged(before, today, policy)
    assert three_parts(find_activity_alerts(TODAY, measured, Numbers())) == found
    return found


def three_parts(alerts: Iterable[Mapping[str, Any]]) -> list[Alert]:
    return [(alert["rule"], alert["severity"], alert["dataset"]) for alert in alerts]


def fired(bench: ActivityBench, day: date = TODAY) -> list[Alert]:
    """The alerts of a date, in the table's order; and the oracle agrees on every date."""
    assert differences(bench) == []
    return three_parts(bench.rows("activity_alerts", day))


# -- bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "today", "expected"),
    [
        ((4, 4, 4), 2, []),  # half of it is no drop
        ((4, 4, 4), 1, DROP),
        ((200, 200, 200), 100, []),
        ((200, 200, 200), 99, DROP),  # just below half
        ((3, 3, 4, 4), 2, []),  # the median of an even number of days lies between: half of it is 1.75
        ((3, 3, 4, 4), 1, DROP),
        ((1, 9, 1), 1, []),  # median, not mean
        ((4, 4, 4), 12, []),  # three times is no spike
        ((4, 4, 4), 13, SPIKE),
        ((3, 3, 4, 4), 10, []),  # three times 3.5
        ((3, 3, 4, 4), 11, SPIKE),
        ((1, 1, 1, 8, 9, 9, 9), 4, []),  # 8 of seven days
        ((1, 1, 1, 8, 9, 9, 9), 3, DROP),
    ],
)
def test_bounds(before: tuple[int, ...], today: int, expected: list[Alert], policy: Policy) -> None:
    assert judged_as_by_the_oracle([(count, count) for count in before], (today, today), policy) == expected


@pytest.mark.parametrize(("today", "expected"), [(1, DROP), (2, []), (10, []), (11, SPIKE)])
def test_bounds_in_the_tables(today: int, expected: list[Alert], activity: ActivityBench) -> None:
    shop(activity, {**back(3, 3, 4, 4), TODAY: today})
    assert fired(activity) == expected


# -- which days count ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [(), (9,), (9, 9)])
def test_fewer_than_three_days_say_nothing(before: tuple[int, ...], policy: Policy) -> None:
    assert judged_as_by_the_oracle([(count, count) for count in before], (1, 1), policy) == []


@pytest.mark.parametrize(("oldest", "expected"), [(7, DROP), (8, [])])
def test_days_with_gaps_between_count_and_the_eighth_before_does_not(
    oldest: int, expected: list[Alert], activity: ActivityBench
) -> None:
    """Dates between them have no metrics; they are no zeros, or the median would be 0."""
    shop(activity, {TODAY - timedelta(days=back): 9 for back in (oldest, 4, 1)} | {TODAY: 1})
    assert fired(activity) == expected


def test_days_after_do_not_count(activity: ActivityBench) -> None:
    shop(activity, {**back(9, 9), TODAY: 1, DAYS[10]: 9})
    assert fired(activity) == []


def test_a_day_that_was_processed_without_events_counts_as_zero(activity: ActivityBench) -> None:
    shop(activity, {**back(0, 0, 9), TODAY: 1})
    assert fired(activity) == SPIKE  # above three times 0


def test_a_date_without_files_of_its_own_counts_by_its_late_events_and_no_more_when_it_lost_them(
    activity: ActivityBench,
) -> None:
    shop(activity, {**back(9, 9), TODAY: 3})
    other = TODAY - timedelta(days=5)
    late = other + timedelta(days=2)
    activity.bring(late)
    assert fired(activity) == DROP  # the day it lands on is the third, with 0: the median is 9
    activity.bring(late, *visits(other, 1))
    assert fired(activity) == []  # the median of 0, 1, 9 and 9 is 5
    activity.bring(late)
    assert fired(activity) == DROP


def test_a_day_without_a_session_is_a_drop(activity: ActivityBench) -> None:
    shop(activity, {**back(1, 1, 1), TODAY: 0})
    assert fired(activity) == DROP


def test_zero_after_zeros_is_nothing(activity: ActivityBench) -> None:
    shop(activity, {**back(0, 0, 0), TODAY: 0})
    assert fired(activity) == []


# -- two metrics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usual", "today", "expected"),
    [
        ((1, 5), (1, 2), [DROP[1]]),
        ((5, 1), (2, 3), [DROP[0]]),
        ((1, 5), (1, 16), [SPIKE[1]]),
        ((1, 20), (4, 1), [DROP[1], SPIKE[0]]),
        ((5, 1), (1, 16), [DROP[0], SPIKE[1]]),
    ],
)
def test_each_metric_is_judged_by_itself(
    usual: tuple[int, int], today: tuple[int, int], expected: list[Alert], policy: Policy
) -> None:
    """Customers, and sessions of each."""
    of_each = [(customers, customers * sessions) for customers, sessions in (usual, usual, usual, today)]
    assert judged_as_by_the_oracle(of_each[:-1], of_each[-1], policy) == expected


def test_metrics_of_a_day_are_judged_one_by_one_in_the_tables(activity: ActivityBench) -> None:
    """Many customers came, each once: sorted by rule, then metric."""
    for day in back(0, 0, 0):
        activity.bring(day, *visits(day, 1, 20))
    activity.bring(TODAY, *visits(TODAY, 4, 1))
    assert fired(activity) == [DROP[1], SPIKE[0]]


def test_sessions_of_the_day_before_are_not_the_days_own(activity: ActivityBench) -> None:
    """Its only customer came before midnight: there is an active customer and no session."""
    for day in back(0, 0, 0):
        activity.bring(day, *visits(day, 1), Event(f"{day}late", f"{day}T23:50:00Z", "c0"))
    activity.bring(TODAY, Event("after", f"{TODAY}T00:05:00Z", "c0"))
    assert fired(activity) == [DROP[1]]


def test_an_alert_tells_its_numbers(activity: ActivityBench) -> None:
    shop(activity, {**back(3, 3, 4, 4), TODAY: 1})
    row = activity.rows("activity_alerts", TODAY)[1]
    assert row["message"] == "sessions: 1, median of 4 days before 3.5"
    assert json.loads(row["details"]) == {"sessions": 1, "median": 3.5, "days": 4, "max_drop": 0.5}


# -- policy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alerts", "today", "expected"),
    [
        ({"activity_drop": {"enabled": False}}, 13, SPIKE),
        ({"activity_spike": {"enabled": False}}, 13, []),
        ({"activity_drop": {"max_drop": 0.8}}, 1, []),
        ({"activity_spike": {"max_ratio": 3.5}}, 13, []),
        ({"activity_drop": {"severity": "low"}}, 1, MILD_DROP),
        ({"min_history_days": 4}, 1, []),
    ],
)
def test_the_policy_decides(alerts: dict[str, Any], today: int, expected: list[Alert]) -> None:
    assert judged([(4, 4)] * 3, (today, today), load_policy(overlay={"alerts": alerts})) == expected


@pytest.mark.parametrize(
    ("rule", "expected"), [({"enabled": False}, []), ({"severity": "low"}, MILD_DROP)], ids=["disabled", "milder"]
)
def test_a_policy_that_changes_judges_again(
    rule: dict[str, Any], expected: list[Alert], activity: ActivityBench
) -> None:
    """And nothing else is made again."""
    shop(activity, {**back(4, 4, 4), TODAY: 1})
    before = activity.activity_versions()["partitions"]
    other = activity.under({"alerts": {"activity_drop": rule}}).work
    assert TODAY in refresh(other, [TODAY])
    assert three_parts(activity.rows("activity_alerts", TODAY)) == expected
    after = activity.activity_versions()["partitions"]
    assert [table for table in before if after[table] != before[table]] == ["activity_alerts"]
    assert refresh(other, [TODAY]) == []


# -- restated with the days before ---------------------------------------------------------------------


@pytest.mark.slow
def test_alerts_follow_each_of_the_seven_days_before_and_not_the_eighth(activity: ActivityBench) -> None:
    """Today's 4 are half of a week of 8; with a week of 9 and more they are a drop, as soon as the median moves."""
    shop(activity, {**back(8, 8, 8, 8, 8, 8, 8, 8), TODAY: 4})
    assert fired(activity) == []
    eighth, *week = back(8, 8, 8, 8, 8, 8, 8, 8)

    def version() -> Any:
        return activity.activity_versions()["partitions"]["activity_alerts"][TODAY]

    before = version()
    assert TODAY not in activity.bring(eighth, *visits(eighth, 90))
    assert version() == before
    for number, day in enumerate(week, start=1):
        before = version()
        assert TODAY in activity.bring(day, *visits(day, 9))
        assert version() != before
        assert fired(activity) == (DROP if number >= 4 else [])  # four of seven make the median 9


def test_a_late_event_restates_the_alerts_of_its_own_date(activity: ActivityBench) -> None:
    """The day after was never processed, the one after that brings what was missing."""
    shop(activity, {**back(4, 4, 4), TODAY: 1})
    assert fired(activity) == DROP
    activity.bring(DAYS[11], Event("late", f"{TODAY}T12:00:00Z", "newcomer"))
    assert fired(activity) == []
    assert fired(activity, DAYS[11]) == DROP


def test_what_a_date_s_alerts_are_made_from_tells_whether_its_own_files_came(activity: ActivityBench) -> None:
    """The numbers of a date stay as they are when a file without events comes: what is judged by them must follow."""
    shop(activity, back(4, 4, 4))
    activity.bring(DAYS[8], *visits(DAYS[8], 4), Event("early", f"{TODAY}T00:10:00Z"))
    before = activity.rows("activity_metrics", TODAY)
    assert JUDGE.stale(activity.work, [TODAY]) == {}
    activity.drop(TODAY)
    activity.clean_events(TODAY)
    MEASURE.build(activity.work, TODAY)
    assert activity.rows("activity_metrics", TODAY) == before
    assert set(JUDGE.stale(activity.work, [TODAY])) == {TODAY}
