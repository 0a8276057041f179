"""Runs of days: alone, as a range, in another order, again, over bad days; always the same tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import INGEST_TABLES
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.storage.lake import Partition
from assets_pkg_tests.orchestration.pipeline import (
    Pipeline,
    Result,
    evaluations,
    failed_steps,
    good_day,
    pipeline_in,
    put_files,
)
from assets_pkg_tests.workbench import Workbench, customers_csv, days_from, feed_csv

START = date(2025, 11, 1)
THREE = days_from(START, 3)
THIRTY = days_from(START, 30)


def put_three_days(bench: Workbench) -> None:
    """Customers come and go; every day has something of everything."""
    for number, day in enumerate(THREE):
        files = {
            "customers_raw.csv": customers_csv("c1", f"c{number + 2}"),
            "events_raw.csv": feed_csv(
                "events",
                {"event_id": f"a{number}", "event_time": f"{day}T01:00:00Z"},
                {"event_id": f"a{number}", "event_time": f"{day}T02:00:00Z"},
                {"event_id": f"b{number}", "customer_id": "c2", "event_time": f"{day}T03:00:00Z"},
                {"event_id": f"c{number}", "customer_id": "nobody", "event_time": f"{day}T03:00:00Z"},
                {"event_id": f"d{number}", "event_time": "yesterday"},
            ),
            "orders_raw.csv": feed_csv("orders", {"order_id": f"o{number}", "order_time": f"{day}T01:00:00Z"}),
        }
        put_files(bench, day, files)


@dataclass(frozen=True)
class Outcome:
    """What a reader sees: each partition's content version, and the report files."""

    tables: dict[str, dict[date, Partition]]
    reports: dict[date, dict[str, bytes]]


def outcome(bench: Workbench) -> Outcome:
    """What lies there now."""
    days = [date.fromisoformat(folder.name[-10:]) for folder in bench.settings.reports_dir.iterdir()]
    return Outcome(
        {table: bench.work.lake.partitions(table) for table in INGEST_TABLES},
        {day: bench.report_bytes(day) for day in sorted(days)},
    )


def contents(of: Outcome, table: str) -> dict[date, str]:
    """The rows of each partition, by their version; whatever they were built from."""
    return {day: partition.version for day, partition in of.tables[table].items()}


def succeed(result: Result) -> Result:
    assert result.success, failed_steps(result)
    return result


@pytest.fixture(scope="module")
def as_a_range(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with pipeline_in(tmp_path_factory.mktemp("range")) as pipeline:
        put_three_days(pipeline.bench)
        succeed(pipeline.run(THREE[0], THREE[-1]))
        return outcome(pipeline.bench)


# -- order, ranges, reruns ------------------------------------------------------------------------------------


def test_days_one_by_one_are_a_range_and_a_rerun_changes_nothing(tmp_path: Path, as_a_range: Outcome) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_three_days(pipeline.bench)
        for day in THREE:
            succeed(pipeline.run(day))
        first, commits = outcome(pipeline.bench), pipeline.bench.commits()
        assert first == as_a_range
        succeed(pipeline.run(THREE[1]))
        assert outcome(pipeline.bench) == first
        assert pipeline.bench.commits() == commits


@pytest.mark.slow
def test_days_in_another_order_are_a_range_once_rerun_in_order(tmp_path: Path, as_a_range: Outcome) -> None:
    # A day is decided with the customers known as of that day: c2 comes on the first day.
    with pipeline_in(tmp_path) as pipeline:
        put_three_days(pipeline.bench)
        for day in reversed(THREE):
            succeed(pipeline.run(day))
        backwards = outcome(pipeline.bench)
        feed_tables = [table for feed in FEEDS.values() for table in (feed.raw,)]
        assert {table: backwards.tables[table] for table in feed_tables} == {
            table: as_a_range.tables[table] for table in feed_tables
        }
        assert backwards.tables["events_clean"][THREE[2]].rows == as_a_range.tables["events_clean"][THREE[2]].rows - 1
        succeed(pipeline.run(THREE[0], THREE[-1]))
        assert outcome(pipeline.bench) == as_a_range


@pytest.mark.slow  # the normal suite runs days in any order without Dagster: properties/test_day.py
def test_days_in_another_order_are_a_range_when_each_names_its_customers(tmp_path: Path) -> None:
    # Only customers_known, what alerts compare with and the page look back; the rest is the same whatever came first.
    found = []
    for name, order in (("forth", THREE[:2]), ("back", THREE[1::-1])):
        with pipeline_in(tmp_path / name) as pipeline:
            for day in order:
                put_files(pipeline.bench, day, good_day(day))
            for day in order:
                succeed(pipeline.run(day))
            found.append(outcome(pipeline.bench))
    forth, back = found
    assert {
        (day, name)
        for day, reports in forth.reports.items()
        for name, text in reports.items()
        if back.reports[day][name] != text
    } == {(THREE[1], "report.html")}  # it shows the days before, if they are there
    differing = {table for table in INGEST_TABLES if contents(back, table) != contents(forth, table)}
    assert differing == {"customers_known"}  # its first_seen is as of what had been run


# -- a month --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    pipeline: Pipeline
    result: Result


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    with pipeline_in(tmp_path_factory.mktemp("month")) as pipeline:
        for day in THIRTY:
            pipeline.bench.put("customers_raw.csv", customers_csv("c1"), day)
            event = {"event_id": f"e{day}", "event_time": f"{day}T04:00:00Z"}
            pipeline.bench.put("events_raw.csv", feed_csv("events", event), day)
        yield Month(pipeline, succeed(pipeline.run(THIRTY[0], THIRTY[-1])))


@pytest.mark.slow
def test_thirty_days_are_one_run(month: Month) -> None:
    assert [run.run_id for run in month.pipeline.instance.get_runs()] == [month.result.run_id]
    days = set(THIRTY)
    assert {table: days - set(month.pipeline.bench.work.lake.partitions(table)) for table in INGEST_TABLES} == {
        table: set() for table in INGEST_TABLES
    }


@pytest.mark.slow
def test_thirty_days_have_a_materialization_each_with_its_own_facts(month: Month) -> None:
    for name in [*INGEST_TABLES, "validation_report", "day_report"]:
        key = dg.AssetKey(name)
        found = month.pipeline.instance.fetch_materializations(key, limit=100).records
        assert sorted(record.partition_key or "" for record in found) == [str(day) for day in THIRTY], name
    key = dg.AssetKey("customers_known")
    for record in month.pipeline.instance.fetch_materializations(key, limit=100).records:
        made = record.asset_materialization
        assert made is not None
        assert made.metadata["dagster/partition_row_count"].value == 1


@pytest.mark.slow
def test_thirty_days_have_an_evaluation_of_every_check_each(month: Month) -> None:
    graph = month.pipeline.defs.resolve_job_def(DAILY_JOB).asset_layer.asset_graph
    checks = [(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys]
    assert set(evaluations(month.result)) == {(*check, str(day)) for check in checks for day in THIRTY}


# -- bad days -------------------------------------------------------------------------------------------------


EVENTS = [{"event_id": "e1"}, {"event_id": "e2"}]
ORDERS = feed_csv("orders", {})
RENAMED = feed_csv("events", *EVENTS).replace("event_time", "happened_at", 1)
WITHOUT = "\n".join(line.rsplit(",", 2)[0] for line in feed_csv("events", *EVENTS).splitlines())  # duration_ms, url

BAD_DAYS: dict[str, dict[str, str]] = {
    "empty": {"customers_raw.csv": customers_csv("c1"), "events_raw.csv": "", "orders_raw.csv": ORDERS},
    "header": {
        "customers_raw.csv": customers_csv("c1"),
        "events_raw.csv": feed_csv("events", {}).splitlines()[0] + "\n",
        "orders_raw.csv": ORDERS,
    },
    "other_feed": {"customers_raw.csv": customers_csv("c1"), "events_raw.csv": ORDERS, "orders_raw.csv": ORDERS},
    "missing": {"customers_raw.csv": customers_csv("c1"), "events_raw.csv": WITHOUT, "orders_raw.csv": ORDERS},
    "renamed": {"customers_raw.csv": customers_csv("c1"), "events_raw.csv": RENAMED, "orders_raw.csv": ORDERS},
    "new": {
        "customers_raw.csv": customers_csv("c1"),
        "events_raw.csv": "\n".join(
            f"{line},{'mood' if number == 0 else 'fine'}"
            for number, line in enumerate(feed_csv("events", *EVENTS).splitlines())
        ),
        "orders_raw.csv": ORDERS,
    },
    "all_rejected": {
        "customers_raw.csv": customers_csv("c1"),
        "events_raw.csv": feed_csv("events", *({**row, "event_time": "later"} for row in EVENTS)),
        "orders_raw.csv": ORDERS,
    },
    "only_events": {"events_raw.csv": feed_csv("events", *EVENTS)},
    "no_customers": {"events_raw.csv": feed_csv("events", *EVENTS), "orders_raw.csv": ORDERS},
    "nothing": {},
}
ON = dict(zip(BAD_DAYS, days_from(date(2025, 12, 11), len(BAD_DAYS)), strict=True))
MISSING_IN_ORDERS_FILE = "|".join(
    f"missing_column:{name}"
    for name in ("event_id", "event_time", "event_type", "platform", "session_id", "duration_ms")
)


@dataclass(frozen=True)
class Bad:
    bench: Workbench
    result: Result

    def events(self, name: str) -> dict[str, Any]:
        """Where the events of a bad day went."""
        day = ON[name]
        clean = self.bench.rows("events_clean", day)
        rejected = self.bench.rows("events_quarantine", day)
        return {"clean": len(clean), "rejected": [row["reject_reason"] for row in rejected]}

    def fired(self, name: str) -> set[tuple[str, str]]:
        """Rule and feed of a bad day's alerts, but for the hours, of which all these days lack some."""
        alerts = self.bench.rows("alerts", ON[name])
        return {(row["rule"], row["dataset"]) for row in alerts if row["rule"] in {"missing_feed", "schema_drift"}}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bad]:
    with pipeline_in(tmp_path_factory.mktemp("bad")) as pipeline:
        for number, (name, files) in enumerate(BAD_DAYS.items()):
            # Blank lines are no records, but they keep one day's file from being a resend of another's.
            put_files(pipeline.bench, ON[name], {each: text + "\n" * number for each, text in files.items()})
        yield Bad(pipeline.bench, succeed(pipeline.run(min(ON.values()), max(ON.values()))))


@pytest.mark.parametrize(
    ("name", "clean", "rejected", "alerts"),
    [
        ("empty", 0, [], {("missing_feed", "events")}),
        ("header", 0, [], {("missing_feed", "events")}),
        ("other_feed", 0, [MISSING_IN_ORDERS_FILE], {("schema_drift", "events")}),
        ("missing", 0, ["missing_column:duration_ms"] * 2, {("schema_drift", "events")}),
        ("renamed", 0, ["missing_column:event_time"] * 2, {("schema_drift", "events")}),
        ("new", 2, [], {("schema_drift", "events")}),
        ("all_rejected", 0, ["invalid_event_time"] * 2, set()),
        ("only_events", 2, [], {("missing_feed", "customers"), ("missing_feed", "orders")}),
        ("no_customers", 2, [], {("missing_feed", "customers")}),
        ("nothing", 0, [], {("missing_feed", feed) for feed in FEEDS}),
    ],
)
def test_a_bad_day_is_processed_and_told_of(
    bad: Bad, name: str, clean: int, rejected: list[str], alerts: set[tuple[str, str]]
) -> None:
    assert bad.events(name) == {"clean": clean, "rejected": rejected}
    assert bad.fired(name) == alerts


@pytest.mark.parametrize("name", ["empty", "header"])
def test_a_file_without_rows_is_read_and_listed(bad: Bad, name: str) -> None:
    (file,) = bad.bench.files(FEEDS["events"], ON[name])
    assert (file.status, file.records) == ("SUCCESS", 0)


def test_every_table_has_a_partition_even_of_a_day_without_files(bad: Bad) -> None:
    for table in INGEST_TABLES:
        assert ON["nothing"] in bad.bench.work.lake.partitions(table), table


def test_a_day_whose_rows_were_all_rejected_fails_its_check_and_stops_nothing(bad: Bad) -> None:
    said = evaluations(bad.result)["events_quarantine", "row_rules", str(ON["all_rejected"])]
    assert not said.passed
    assert said.metadata["rejected rate"].value == 1.0
    assert bad.bench.metrics(ON["all_rejected"])["events", "quarantine_rate", None] == 1.0


def test_a_changed_policy_decides_a_day_anew_without_reading_files_again(tmp_path: Path) -> None:
    day = THREE[0]
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, day, good_day(day))
        slow = {"event_id": "slow", "event_time": f"{day}T01:00:00Z", "duration_ms": "5000"}
        pipeline.bench.put("events_raw_2.csv", feed_csv("events", slow), day)
        succeed(pipeline.run(day))
        before, commits = outcome(pipeline.bench), pipeline.bench.commits()
        strict = pipeline.under({"values": {"max_duration_ms": 4000}})
        succeed(strict.run(day))
        (rejected,) = strict.bench.rows("events_quarantine", day)
        assert (rejected["event_id"], rejected["reject_reason"]) == ("slow", "duration_ms_exceeds_max")
        after, now = strict.bench.commits(), outcome(strict.bench)
        assert {name for name in after if after[name] == commits[name]} >= {feed.raw for feed in FEEDS.values()}
        # Rows that the change does not concern are as they were, though decided by another policy.
        same = {table for table in INGEST_TABLES if contents(now, table) == contents(before, table)}
        assert same >= {"customers_clean", "orders_clean"}
        assert "events_clean" not in same
        succeed(pipeline.run(day))
        assert outcome(pipeline.bench) == before


def test_days_that_came_later_are_not_touched(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_three_days(pipeline.bench)
        succeed(pipeline.run(THREE[2]))
        before = {table: days[THREE[2]] for table, days in outcome(pipeline.bench).tables.items()}
        succeed(pipeline.run(THREE[1]))
        now = outcome(pipeline.bench)
        assert {table: days[THREE[2]] for table, days in now.tables.items()} == before
        assert THREE[0] not in now.tables["raw_events"]
        assert set(now.reports) == {THREE[1], THREE[1] + timedelta(days=1)}
