"""What an analyst asks of the lake, held against the rows themselves."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.policy import load_policy
from assets_pkg.settings import Settings
from assets_pkg.steps import explore
from assets_pkg.steps.explore import SessionFilter
from assets_pkg.steps.workplace import Workplace
from assets_pkg_tests.sample_lake import SAMPLE_DAYS
from assets_pkg_tests.workbench import Row, Workbench

SOME = SAMPLE_DAYS[1:4]


def all_rows(bench: Workbench, table: str, days: list[date]) -> list[Row]:
    return [row for day in days for row in bench.rows(table, day)]


def test_the_dates_are_those_with_numbers_on_either_axis(looked_at: Workbench) -> None:
    early = SAMPLE_DAYS[0] - timedelta(days=2)
    dates = explore.dates_there(looked_at.work)
    assert set(SAMPLE_DAYS) < set(dates)
    assert dates == sorted(dates)
    assert dates[0] == early, "late events of the first day"


def test_an_empty_lake_has_no_dates_and_no_rows(bench: Workbench) -> None:
    assert explore.dates_there(bench.work) == []
    assert (
        explore.totals(bench.work, []).rows() == [(feed, 0, 0, 0, 0) for feed in FEEDS]
        or explore.totals(bench.work, []).is_empty()
    )
    assert explore.users(bench.work, SOME) == 0
    assert explore.session_count(bench.work, SOME) == 0
    assert explore.alerts(bench.work, SOME).collect().is_empty()


@pytest.mark.parametrize("days", [SAMPLE_DAYS, SOME, SAMPLE_DAYS[:1]])
def test_totals_are_those_of_the_tables(looked_at: Workbench, days: list[date]) -> None:
    for row in explore.totals(looked_at.work, days).rows(named=True):
        feed = FEEDS[row["dataset"]]
        raw, clean, quarantine = (
            len(all_rows(looked_at, table, days)) for table in (feed.raw, feed.clean_table, feed.quarantine)
        )
        assert (row["total"], row["clean"], row["quarantine"]) == (raw, clean, quarantine)
        assert row["full_row_duplicates"] == raw - clean - quarantine
        assert row["total"] > 0


def test_outcomes_by_date_add_up_to_the_totals(looked_at: Workbench) -> None:
    outcomes = explore.outcomes_by_date(looked_at.work, SAMPLE_DAYS)
    assert outcomes["ingest_date"].unique(maintain_order=True).to_list() == SAMPLE_DAYS
    totals = explore.totals(looked_at.work, SAMPLE_DAYS).sum()
    by_outcome = dict(outcomes.group_by("outcome").agg(pl.sum("rows")).iter_rows())
    assert by_outcome == {
        "clean": totals["clean"].item(),
        "quarantine": totals["quarantine"].item(),
        "duplicates": totals["full_row_duplicates"].item(),
    }


def test_users_are_counted_once_over_all_dates(looked_at: Workbench) -> None:
    customers = {row["customer_id"] for row in all_rows(looked_at, "events_by_date", SOME)}
    assert explore.users(looked_at.work, SOME) == len(customers)
    assert explore.session_count(looked_at.work, SOME) == len(all_rows(looked_at, "sessions", SOME))


def is_wanted(session: Row, wanted: SessionFilter) -> bool:
    return (
        wanted.customer in ("", session["customer_id"])
        and session["event_count"] >= wanted.min_events
        and session["duration_seconds"] >= wanted.min_minutes * 60
        and (not wanted.platform or wanted.platform in session["platforms"])
    )


@given(
    wanted=st.builds(
        SessionFilter,
        customer=st.sampled_from(["", "", "c000272", "c000139", "nobody"]),
        min_events=st.integers(1, 30),
        min_minutes=st.sampled_from([0.0, 0.5, 5.0, 60.0]),
        platform=st.sampled_from(["", "web", "ios", "unknown", "fridge"]),
    )
)
def test_a_filter_leaves_what_is_wanted(looked_at: Workbench, wanted: SessionFilter) -> None:
    expected = [row for row in all_rows(looked_at, "sessions", SOME) if is_wanted(row, wanted)]
    found = explore.sessions_of(looked_at.work, SOME, wanted).collect().rows(named=True)
    key = "session_id"
    assert sorted(found, key=lambda row: row[key]) == sorted(expected, key=lambda row: row[key])
    counts = Counter(row["event_date"] for row in expected)
    by_date = explore.sessions_by_date(looked_at.work, SOME, wanted)
    assert by_date.rows() == [(day, counts[day]) for day in SOME]


@pytest.mark.parametrize("order", explore.SESSION_ORDERS)
@pytest.mark.parametrize("count", [1, 10, 100, 10_000])
def test_the_first_sessions_are_the_first_of_all(looked_at: Workbench, order: str, count: int) -> None:
    wanted = SessionFilter(platform="web")
    everything = explore.sessions_of(looked_at.work, SOME, wanted).collect()
    expected = everything.sort(explore.SESSION_ORDERS[order], descending=True).head(count)
    assert explore.first_sessions(looked_at.work, SOME, wanted, order, count).equals(expected)


def test_a_customer_s_events_come_in_order(looked_at: Workbench) -> None:
    customer = "c000272"
    found = explore.events_of_customer(looked_at.work, SAMPLE_DAYS, customer)
    expected = [row for row in all_rows(looked_at, "session_events", SAMPLE_DAYS) if row["customer_id"] == customer]
    assert found["event_id"].sort().to_list() == sorted(row["event_id"] for row in expected)
    assert found["event_time"].is_sorted()
    assert found.height > 10


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_reasons_are_those_of_the_rejected_rows(looked_at: Workbench, feed: Any) -> None:
    rows = all_rows(looked_at, feed.quarantine, SOME)
    counts = Counter(reason for row in rows for reason in row["reject_reason"].split("|"))
    reasons = explore.reject_reasons(looked_at.work, feed, SOME)
    assert dict(reasons.iter_rows()) == counts
    assert reasons["rows"].is_sorted(descending=True)
    assert len(counts) > 2
    assert explore.quarantined(looked_at.work, feed, SOME).collect().height == len(rows)
    for reason, count in counts.items():
        found = explore.quarantined(looked_at.work, feed, SOME, reason).collect()
        assert found.height == count
        assert all(reason in row.split("|") for row in found["reject_reason"])


def test_metrics_of_both_axes_stand_together(looked_at: Workbench) -> None:
    found = explore.metrics(looked_at.work, SOME).collect()
    counted = dict(found.group_by("axis").len().iter_rows())
    assert counted == {
        "landed": len(all_rows(looked_at, "daily_metrics", SOME)),
        "happened": len(all_rows(looked_at, "activity_metrics", SOME)),
    }


def test_alerts_come_latest_and_severest_first_and_say_whether_their_date_can_be_judged(looked_at: Workbench) -> None:
    dates = explore.dates_there(looked_at.work)
    found = explore.alerts(looked_at.work, dates).collect()
    both = [*all_rows(looked_at, "alerts", dates), *all_rows(looked_at, "activity_alerts", dates)]
    assert found.height == len(both)
    place = [
        (-row["date"].toordinal(), ["high", "medium", "low"].index(row["severity"])) for row in found.rows(named=True)
    ]
    assert place == sorted(place)
    waiting = found.filter(~pl.col("judged"))
    assert set(waiting["axis"]) == {"happened"}
    assert not set(waiting["date"]) & set(SAMPLE_DAYS)
    for severity in ("high", "medium", "low"):
        only = explore.alerts(looked_at.work, dates, [severity]).collect()
        assert only.height == sum(row["severity"] == severity for row in both)


def test_restatements_are_the_table_s(looked_at: Workbench) -> None:
    found = explore.restatements(looked_at.work, SAMPLE_DAYS).collect()
    assert found.height == len(all_rows(looked_at, "restatements", SAMPLE_DAYS)) > 0
    assert found["restated_at"].is_sorted(descending=True)


def test_the_state_changes_with_what_is_looked_at_and_with_nothing_else(bench: Workbench) -> None:
    bench.put_feed("customers", {}, day=SOME[0])
    bench.run_day(SOME[0])
    metrics = [explore.metrics]
    before = explore.state_of(bench.work, metrics, SOME)
    assert explore.state_of(Workplace(Settings(data_dir=bench.folder / "data"), load_policy()), metrics, SOME) == before
    bench.put_feed("customers", {}, day=SAMPLE_DAYS[4])
    bench.run_day(SAMPLE_DAYS[4])
    assert explore.state_of(bench.work, metrics, SOME) == before
    bench.put_feed("orders", {"order_time": f"{SOME[0]}T01:00:00Z"}, day=SOME[0])
    bench.run_day(SOME[0])
    assert explore.state_of(bench.work, metrics, SOME) != before
