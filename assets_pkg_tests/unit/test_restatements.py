"""What `restatements` tells of numbers that changed, worked out by hand: from what to what, and because of which days."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.steps.activity import GATHER, STAGES, refresh
from assets_pkg.transforms import sessions
from assets_pkg_tests.activities import (
    ActivityBench,
    Event,
    crash_at,
    differences,
    first_numbers,
    numbers,
    restatements,
)
from assets_pkg_tests.properties.activity_histories import fast_bench
from assets_pkg_tests.workbench import Row, days_from

EVE, D1, D2, D3, D4 = days_from(date(2025, 12, 9), 5)
ALL_SEVEN = {
    "active_customers": 1, "bounce_rate": 1, "events_per_session_mean": 1, "page_views": 0, "session_duration_seconds_p50": 0,
    "session_duration_seconds_p95": 0, "sessions": 1,
}  # fmt: skip

Change = tuple[str, float | None, float | None]


@pytest.fixture
def activity() -> Iterator[ActivityBench]:
    """In memory, as these are many commits."""
    with fast_bench() as bench:
        yield bench


def noon(event_id: str, day: date, minute: int = 0, **named: Any) -> Event:
    """An event of a day, some minutes after noon."""
    time = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=minute)
    return Event(event_id, time, **named)


def told(bench: ActivityBench, day: date) -> list[list[Change]]:
    """What changed in each revision, which are numbered from 1; and nothing is told twice."""
    rows = restatements(bench, day)
    revisions: dict[int, list[Change]] = {}
    for row in rows:
        assert row["dimension"] is None
        revisions.setdefault(row["revision"], []).append((row["metric"], row["before"], row["after"]))
    assert list(revisions) == list(range(1, len(revisions) + 1))
    assert len({(row["revision"], row["metric"]) for row in rows}) == len(rows)
    return list(revisions.values())


def why(bench: ActivityBench, day: date) -> list[tuple[list[date], bool]]:
    """The causes of each revision, and whether the policy is one; all of a revision's rows agree."""
    found: dict[int, set[tuple[tuple[date, ...], bool, datetime]]] = {}
    for row in restatements(bench, day):
        said = (tuple(row["caused_by"]), row["policy_changed"], row["restated_at"])
        found.setdefault(row["revision"], set()).add(said)
    assert all(len(said) == 1 for said in found.values())
    return [(list(days), policy) for ((days, policy, _),) in found.values()]


# -- what changed --------------------------------------------------------------------------------------


def test_the_first_build_restates_nothing(activity: ActivityBench) -> None:
    for day in (D1, D2):
        activity.bring(day, noon(f"e{day}", day))
    assert activity.by_date("restatements") == {}
    assert numbers(activity, D1) == numbers(activity, D2) == ALL_SEVEN


def test_a_late_event_is_told_with_its_day(activity: ActivityBench) -> None:
    """Sessions and customers stay 1: of what did not change, nothing is told."""
    started = datetime.now(UTC)
    activity.bring(D1, noon("a", D1))
    activity.bring(D3, noon("b", D1, 10, kind="page_view"))
    assert told(activity, D1) == [
        [
            ("bounce_rate", 1, 0),
            ("events_per_session_mean", 1, 2),
            ("page_views", 0, 1),
            ("session_duration_seconds_p50", 0, 600),
            ("session_duration_seconds_p95", 0, 600),
        ]
    ]
    assert why(activity, D1) == [([D3], False)]
    assert all(started <= row["restated_at"] <= datetime.now(UTC) for row in restatements(activity, D1))
    assert list(activity.by_date("restatements")) == [D1]


def test_an_early_event_is_the_first_build_and_the_day_itself_restates_it(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D2))
    activity.bring(D2, noon("b", D2, 60))
    assert told(activity, D2) == [[("sessions", 1, 2)]]
    assert why(activity, D2) == [([D2], False)]


def test_numbers_that_appear_and_vanish_have_no_before_or_after(activity: ActivityBench) -> None:
    """A day without a session has no mean and no percentiles."""
    activity.bring(D1)
    activity.bring(D2, noon("a", D1))
    activity.bring(D2)
    assert told(activity, D1) == [
        [
            ("active_customers", 0, 1),
            ("bounce_rate", 0, 1),
            ("events_per_session_mean", None, 1),
            ("session_duration_seconds_p50", None, 0),
            ("session_duration_seconds_p95", None, 0),
            ("sessions", 0, 1),
        ],
        [
            ("active_customers", 1, 0),
            ("bounce_rate", 1, 0),
            ("events_per_session_mean", 1, None),
            ("session_duration_seconds_p50", 0, None),
            ("session_duration_seconds_p95", 0, None),
            ("sessions", 1, 0),
        ],
    ]
    assert why(activity, D1) == [([D2], False), ([D2], False)]


def test_all_numbers_of_a_date_vanish_with_its_only_event_and_come_back(activity: ActivityBench) -> None:
    """No files of the date itself were processed, so without events it has no numbers."""
    activity.bring(D1, noon("a", D2))
    activity.bring(D1)
    assert numbers(activity, D2) == {}
    activity.bring(D1, noon("b", D2))
    assert told(activity, D2) == [
        [(metric, value, None) for metric, value in ALL_SEVEN.items()],
        [(metric, None, value) for metric, value in ALL_SEVEN.items()],
    ]
    assert first_numbers(activity, D2) == numbers(activity, D2) == ALL_SEVEN


def test_restatements_in_a_row_go_on_from_each_other(activity: ActivityBench) -> None:
    """A number that a revision does not name is still what the last one before it said."""
    activity.bring(D1, noon("a", D1))
    activity.bring(D2, noon("b", D1, 10))
    activity.bring(D3, noon("c", D1, 60, kind="page_view"))
    assert told(activity, D1) == [
        [
            ("bounce_rate", 1, 0),
            ("events_per_session_mean", 1, 2),
            ("session_duration_seconds_p50", 0, 600),
            ("session_duration_seconds_p95", 0, 600),
        ],
        [
            ("bounce_rate", 0, 0.5),
            ("events_per_session_mean", 2, 1.5),
            ("page_views", 0, 1),
            ("session_duration_seconds_p50", 600, 300),
            ("session_duration_seconds_p95", 600, 570),
            ("sessions", 1, 2),
        ],
    ]
    assert why(activity, D1) == [([D2], False), ([D3], False)]
    assert first_numbers(activity, D1) == ALL_SEVEN


def test_a_correction_that_is_taken_back_is_told_twice(activity: ActivityBench) -> None:
    for events in ((noon("a", D1),), (noon("a", D1), noon("b", D1, 60)), (noon("a", D1),)):
        activity.bring(D1, *events)
    assert told(activity, D1) == [[("sessions", 1, 2)], [("sessions", 2, 1)]]
    assert why(activity, D1) == [([D1], False), ([D1], False)]


# -- what changes nothing ------------------------------------------------------------------------------


def test_what_is_run_again_unchanged_adds_nothing(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1))
    activity.bring(D3, noon("b", D1, 60))
    before = activity.activity_versions()
    for day in (D3, D1):
        activity.clean_events(day)
        assert refresh(activity.work, [D1, D3]) == []
    assert activity.activity_versions() == before
    assert len(told(activity, D1)) == 1


@pytest.mark.parametrize("change", [{"platform": "ios"}, {"kind": "search"}])
def test_events_that_change_without_a_number_are_not_told(change: dict[str, str], activity: ActivityBench) -> None:
    """Nor are they named as a cause of what changes later."""
    activity.bring(D1, noon("a", D1))
    activity.bring(D2, noon("b", D1, 10))
    activity.bring(D2, noon("b", D1, 10, **change))
    activity.bring(D3, noon("c", D1, 60))
    assert len(told(activity, D1)) == 2
    assert why(activity, D1) == [([D2], False), ([D3], False)]


# -- causes --------------------------------------------------------------------------------------------


def arrive(bench: ActivityBench, arrivals: Iterable[tuple[date, Event]]) -> None:
    """Days whose ingest steps run, without a refresh."""
    for day, event in arrivals:
        bench.drop(day, event)
        bench.clean_events(day)


@pytest.mark.parametrize("order", [(D2, D3), (D3, D2)])
def test_all_days_that_changed_between_two_refreshes_are_named(
    order: tuple[date, date], activity: ActivityBench
) -> None:
    """Not those too late for the date."""
    activity.bring(D1, noon("a", D1))
    arrive(activity, [(day, noon(f"e{day}", D1, 60 * (day - D1).days)) for day in (*order, D4)])
    refresh(activity.work, [D4, D3, D2])
    assert told(activity, D1) == [[("sessions", 1, 3)]]
    assert why(activity, D1) == [([D2, D3], False)]


def test_a_day_that_brought_nothing_of_the_dates_that_matter_is_not_named(activity: ActivityBench) -> None:
    """D1's numbers hang on the events of the eve to D2; those of D3 do not matter."""
    activity.bring(D1, noon("a", D1))
    arrive(activity, [(D2, noon("far", D3)), (D3, noon("b", D1, 60))])
    refresh(activity.work, [D2, D3])
    assert why(activity, D1) == [([D3], False)]


def test_a_day_whose_events_came_long_ago_and_changed_nothing_is_not_named(activity: ActivityBench) -> None:
    """Daily life: the next day is processed in order, and restates nothing; then a late event comes."""
    activity.bring(D1, noon("a", D1))
    activity.bring(D2, noon("next", D2))
    assert told(activity, D1) == []
    activity.bring(D3, noon("b", D1, 60))
    assert why(activity, D1) == [([D3], False)]


def test_a_neighbours_late_event_that_prolongs_a_session_over_midnight_is_the_cause(activity: ActivityBench) -> None:
    activity.bring(D1, Event("a", f"{D1}T23:50:00Z"))
    activity.bring(D2)
    activity.bring(D3, Event("b", f"{D2}T00:05:00Z", kind="page_view"))
    assert told(activity, D1) == [
        [
            ("bounce_rate", 1, 0),
            ("events_per_session_mean", 1, 2),
            ("session_duration_seconds_p50", 0, 900),
            ("session_duration_seconds_p95", 0, 900),
        ]
    ]
    assert told(activity, D2) == [[("active_customers", 0, 1), ("page_views", 0, 1)]]
    assert why(activity, D1) == why(activity, D2) == [([D3], False)]


def test_a_late_event_takes_the_start_of_a_session_to_the_day_before(activity: ActivityBench) -> None:
    """It moves from D2 to D1, which had none."""
    activity.bring(D2, Event("b", f"{D2}T00:10:00Z"))
    activity.bring(D1)
    activity.bring(D3, Event("a", f"{D1}T23:50:00Z"))
    sessions = [change for day in (D1, D2) for change in told(activity, day)[-1] if change[0] == "sessions"]
    assert sessions == [("sessions", 0, 1), ("sessions", 1, 0)]
    assert why(activity, D1)[-1] == why(activity, D2)[-1] == ([D3], False)


def test_an_earlier_copy_under_a_far_date_is_the_cause_though_none_of_its_events_matter(
    activity: ActivityBench,
) -> None:
    """It takes the event away from D2: the first copy to arrive says when it happened."""
    activity.bring(D1)
    activity.bring(D2, noon("a", D2), noon("b", D2, 60))
    activity.bring(D1, noon("b", EVE - timedelta(days=1)))
    assert told(activity, D2) == [[("sessions", 2, 1)]]
    assert why(activity, D2) == [([D1], False)]


# -- the policy ----------------------------------------------------------------------------------------


def test_another_session_timeout_is_told_as_such_and_no_day_is_blamed(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1), noon("b", D1, 20), noon("c", D2))
    stricter = ActivityBench(activity.folder, session_timeout_minutes=20)
    refresh(stricter.work, [D1])
    assert told(stricter, D1) == [
        [
            ("bounce_rate", 0, 1),
            ("events_per_session_mean", 2, 1),
            ("session_duration_seconds_p50", 1200, 0),
            ("session_duration_seconds_p95", 1200, 0),
            ("sessions", 1, 2),
        ]
    ]
    assert why(stricter, D1) == [([], True)]
    assert told(stricter, D2) == []


def test_nor_is_a_day_that_came_before_the_policy_changed(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1), noon("b", D1, 20))
    activity.bring(D2, noon("c", D2))
    stricter = ActivityBench(activity.folder, session_timeout_minutes=20)
    refresh(stricter.work, [D1, D2])
    assert why(stricter, D1) == [([], True)]


def test_a_late_event_under_another_policy_has_both_causes_and_the_next_its_own(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1), noon("b", D1, 20))
    stricter = ActivityBench(activity.folder, session_timeout_minutes=20)
    stricter.bring(D2, noon("c", D1, 60))
    stricter.bring(D3, noon("d", D1, 90))
    assert [change for revision in told(stricter, D1) for change in revision if change[0] == "sessions"] == [
        ("sessions", 1, 3),
        ("sessions", 3, 4),
    ]
    assert why(stricter, D1) == [([D2], True), ([D3], False)]


def test_a_narrower_late_window_blames_no_day(activity: ActivityBench) -> None:
    """What it leaves out lies where it lay."""
    activity.bring(D1, noon("a", D1))
    activity.bring(D3, noon("b", D1, 60))
    narrow = ActivityBench(activity.folder, late_window_days=1)
    refresh(narrow.work, [D1])
    assert told(narrow, D1) == [[("sessions", 1, 2)], [("sessions", 2, 1)]]
    assert why(narrow, D1) == [([D3], False), ([], True)]


def test_dates_that_left_the_late_window_are_refreshed_whatever_day_is_run(activity: ActivityBench) -> None:
    """Nothing else could take back what landed outside of it."""
    activity.bring(D3, noon("late", D1), noon("own", D3))
    assert activity.counted(D1) == {"late": D3}
    narrow = ActivityBench(activity.folder, late_window_days=0)
    assert D1 in GATHER.all_stale(narrow.work)
    assert D1 in refresh(narrow.work, [D3])
    assert narrow.counted(D1) == {}
    assert differences(narrow) == []
    assert [stage.all_stale(narrow.work) for stage in STAGES] == [{}] * len(STAGES)


def test_another_way_to_count_active_minutes_restates_nothing_and_is_no_cause(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1), noon("b", D1, 20))
    other = ActivityBench(activity.folder, active_gap_minutes=1)
    refresh(other.work, [D1])
    assert told(other, D1) == []
    other.bring(D2, noon("late", D1, 90), name="events_raw-2.csv")
    assert why(other, D1) == [([D2], False)]


def test_a_clean_partition_that_is_replaced_while_its_dates_are_refreshed_is_a_cause(
    activity: ActivityBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity.bring(D1, *hourly(1))
    activity.drop(D1, *hourly(2))
    activity.clean_events(D1)
    real, calls = sessions.session_starts, list[date]()

    def disturbed(*arguments: Any) -> Any:
        if not calls:
            activity.drop(D1, *hourly(3))
            activity.clean_events(D1)
        calls.append(D1)
        return real(*arguments)

    monkeypatch.setattr(sessions, "session_starts", disturbed)
    refresh(activity.work, [D1])
    assert why(activity, D1) == [([D1], False)]
    refresh(activity.work, [D1])
    assert told(activity, D1) == [changes_sessions(1, 2), changes_sessions(2, 3)]
    assert why(activity, D1) == [([D1], False)] * 2


# -- crashes -------------------------------------------------------------------------------------------


def hourly(count: int) -> list[Event]:
    """So many events of a day, each a session."""
    return [noon(f"e{number}", D1, 60 * number) for number in range(count)]


def changes_sessions(before: float, after: float) -> list[Change]:
    return [("sessions", before, after)]


def test_a_crash_at_any_commit_leaves_one_revision_of_each_change(activity: ActivityBench) -> None:
    """A change a commit: one session more each time, until a refresh makes fewer commits than it may."""
    activity.bring(D1, *hourly(1))
    for commit in range(100):
        activity.drop(D1, *hourly(commit + 2))
        activity.clean_events(D1)
        with crash_at(commit) as commits:
            refresh(activity.work, [D1])
        made = next(commits)
        refresh(activity.work, [D1])
        assert told(activity, D1) == [changes_sessions(number, number + 1) for number in range(1, commit + 2)]
        assert why(activity, D1) == [([D1], False)] * (commit + 1)
        if made <= commit:
            break
    assert made >= 8  # two of events, three of sessions, two of metrics, one of alerts
    assert first_numbers(activity, D1) == ALL_SEVEN


@pytest.mark.parametrize("commit", range(8))
def test_after_a_crash_what_changed_in_between_is_one_revision_with_the_rest(
    commit: int, activity: ActivityBench
) -> None:
    """The first change is not told by itself unless its numbers were there for somebody to see."""
    activity.bring(D1, *hourly(1))
    activity.drop(D1, *hourly(2))
    activity.clean_events(D1)
    with crash_at(commit):
        refresh(activity.work, [D1])
    was_there = numbers(activity, D1)["sessions"] == 2
    activity.bring(D1, *hourly(3))
    one, both = [changes_sessions(1, 3)], [changes_sessions(1, 2), changes_sessions(2, 3)]
    assert told(activity, D1) == (both if was_there else one)


@pytest.mark.parametrize("commit", range(8))
def test_after_a_crash_a_change_that_is_taken_back_was_none(commit: int, activity: ActivityBench) -> None:
    activity.bring(D1, *hourly(1))
    activity.drop(D1, *hourly(2))
    activity.clean_events(D1)
    with crash_at(commit):
        refresh(activity.work, [D1])
    was_there = numbers(activity, D1)["sessions"] == 2
    activity.bring(D1, *hourly(1))
    assert told(activity, D1) == ([changes_sessions(1, 2), changes_sessions(2, 1)] if was_there else [])
    assert differences(activity) == []


@pytest.mark.parametrize("commit", [5, 6])
def test_the_first_build_restates_nothing_though_it_crashed(commit: int, activity: ActivityBench) -> None:
    """Before the metrics, and between restatements and metrics; more events came before it was made good."""
    activity.drop(D1, *hourly(1))
    activity.clean_events(D1)
    with crash_at(commit):
        refresh(activity.work, [D1])
    assert numbers(activity, D1) == {}
    activity.bring(D1, *hourly(2))
    assert activity.by_date("restatements") == {}
    activity.bring(D1, *hourly(3))
    assert told(activity, D1) == [changes_sessions(2, 3)]


# -- any history ---------------------------------------------------------------------------------------

_minutes = st.integers(-1450, 2890)  # from before the eve's end to after D2's begin, often over midnights
_files = st.lists(st.tuples(st.integers(0, 2), _minutes, st.sampled_from(["click", "page_view"])), max_size=4)


@settings(max_examples=6)
@given(st.lists(st.tuples(st.sampled_from([D1, D2, D3]), _files), min_size=2, max_size=6))
def test_all_restatements_taken_back_give_the_first_numbers(
    files: list[tuple[date, list[tuple[int, int, str]]]],
) -> None:
    """Whatever is brought over what: the last first, each of them says what was there before."""
    with fast_bench() as bench:
        first: dict[date, dict[str, float]] = {}
        for number, (day, events) in enumerate(files):
            bring = (
                Event(f"e{number}.{n}", _after_d1(at), f"c{who}", kind) for n, (who, at, kind) in enumerate(events)
            )
            bench.bring(day, *bring)
            for each in bench.work.lake.partitions("activity_metrics"):
                first.setdefault(each, numbers(bench, each))
        assert {each: first_numbers(bench, each) for each in first} == first
        assert all(_is_sound(row) for rows in bench.by_date("restatements").values() for row in rows)


def _after_d1(minutes: int) -> datetime:
    return datetime(D1.year, D1.month, D1.day, tzinfo=UTC) + timedelta(minutes=minutes)


def _is_sound(row: Row) -> bool:
    """Something changed, and one of the days that could is named."""
    return row["before"] != row["after"] and row["caused_by"] == sorted(set(row["caused_by"])) != []


def test_numbers_that_were_lost_before_they_changed_are_told_without_a_before(activity: ActivityBench) -> None:
    activity.bring(D1, noon("a", D1))
    (file,) = activity.work.lake.files("activity_metrics", D1)
    Path(file.location).unlink()
    activity.bring(D2, noon("b", D1, 60))
    ((*_, (name, before, after)),) = told(activity, D1)
    assert (name, before, after) == ("sessions", None, 2)
    assert why(activity, D1) == [([D2], False)]
