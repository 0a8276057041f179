"""Whole days, random and messy: tables, reports, metrics and alerts are the oracle's, in any order."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import EVENTS, FEEDS
from assets_pkg.storage import lake
from assets_pkg_tests.properties.days import START, Days, Dealt, days, dealt_events
from assets_pkg_tests.workbench import DayRun, Workbench, customers_csv, differences_from_oracle


@contextmanager
def benches(rows_per_file: int = 400_000) -> Iterator[Callable[[], Workbench]]:
    """Empty pipelines, each in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(lake, "ROWS_PER_FILE", rows_per_file)
        numbers = iter(range(100))
        yield lambda: Workbench(Path(folder) / str(next(numbers)))


def run(bench: Workbench, content: Days) -> dict[date, DayRun]:
    """Run all days in order."""
    return {day: bench.run_day(day) for day in content.files}


def state(bench: Workbench, content: Days) -> dict[str, Any]:
    """Everything that a rerun must leave as it is: content of every partition, commits, report bytes."""
    reports = {day: bench.report_bytes(day) for day in content.files}
    return {"versions": bench.versions(), "commits": bench.commits(), "reports": reports}


def lost_or_doubled(bench: Workbench, content: Days, runs: dict[date, DayRun]) -> list[str]:
    """Where total is not clean + quarantine + full-row duplicates, in the tables and in the report."""
    found = []
    for day in content.files:
        for name, feed in FEEDS.items():
            raw = bench.by_address(feed.raw, day).keys()
            clean, rejected = (bench.by_address(table, day).keys() for table in (feed.clean_table, feed.quarantine))
            said = runs[day].report[name]
            parts = (said["clean"], said["quarantine"], said["duplicates"]["full_row"])
            if said["total"] != sum(parts) or said["total"] != len(raw):
                found.append(f"{day} {name}: total {said['total']}, {len(raw)} raw rows, parts {parts}")
            if clean & rejected or not clean | rejected <= raw:
                found.append(f"{day} {name}: rows in both tables, or in none before")
            if len(clean) + len(rejected) + said["duplicates"]["full_row"] != len(raw):
                found.append(f"{day} {name}: {len(clean)} + {len(rejected)} + duplicates is not {len(raw)}")
            records = sum(file["records"] for file in said["files"])
            if records != said["total"]:
                found.append(f"{day} {name}: files have {records} records, the day {said['total']}")
    return found


def _is_the_oracles(content: Days) -> None:
    with benches(content.rows_per_file) as new:
        bench = new()
        content.put(bench)
        runs = run(bench, content)
        assert differences_from_oracle(bench, runs) == []
        assert lost_or_doubled(bench, content, runs) == []
        before = state(bench, content)
        last = max(content.files)
        again = bench.run_day(last)
        assert (again.report, again.alerts) == (runs[last].report, runs[last].alerts)
        assert state(bench, content) == before


@settings(max_examples=12)
@given(days())
def test_days_are_the_oracles_and_a_rerun_changes_nothing(content: Days) -> None:
    _is_the_oracles(content)


@pytest.mark.slow
@settings(settings.get_profile("deep"), max_examples=300)
@given(days(most_rows=25))
def test_days_are_the_oracles_deep(content: Days) -> None:
    _is_the_oracles(content)


@settings(max_examples=2)
@given(days(least=2))
def test_the_order_in_which_files_were_made_does_not_show(content: Days) -> None:
    with benches(content.rows_per_file) as new:
        one, other = new(), new()
        content.put(one)
        content.put(other, backwards=True)
        run(one, content)
        run(other, content)
        assert state(one, content) == state(other, content)


@settings(max_examples=2)
@given(days(least=2), st.randoms(use_true_random=False))
def test_days_run_in_any_order_come_to_the_in_order_build(content: Days, chance: Any) -> None:
    """On the ingest axis a rerun in order, over whatever lies there, is the in-order build."""
    with benches(content.rows_per_file) as new:
        one, other = new(), new()
        for bench in (one, other):
            content.put(bench)
        run(one, content)
        shuffled = list(content.files)
        chance.shuffle(shuffled)
        for day in shuffled:
            other.run_day(day)
        run(other, content)
        expected, found = state(one, content), state(other, content)
        assert (found["versions"], found["reports"]) == (expected["versions"], expected["reports"])


def _counts(bench: Workbench, files: dict[str, bytes]) -> dict[str, Any]:
    """What a day's report counts of its events, but for warnings.

    Among rows that are equally good (§3) the last by address stays; its warnings may be others.
    """
    bench.put("customers_raw.csv", customers_csv("c1", "c2", "c3"), START)
    for name, content in files.items():
        bench.put(name, content, START)
    of_events: dict[str, Any] = bench.run_day(START).report[EVENTS.name]
    return {key: value for key, value in of_events.items() if key not in {"files", "warnings_by_reason"}}


@settings(max_examples=6)
@given(dealt_events())
def test_how_rows_lie_in_files_does_not_change_what_is_counted(dealt: Dealt) -> None:
    with benches() as new:
        one, other = new(), new()
        assert _counts(one, dealt.files(other=False)) == _counts(other, dealt.files(other=True))
        rows = [
            {(row["event_id"], row["event_time"], row["customer_id"]) for row in bench.rows("events_clean", START)}
            for bench in (one, other)
        ]
        ids = [{event_id for event_id, *_ in each} for each in rows]
        assert ids[0] == ids[1]
