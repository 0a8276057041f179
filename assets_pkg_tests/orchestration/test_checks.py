"""Every check, executed through Dagster on the real lake: it passes on good data, fails on bad, and says why."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.test_utils import instance_for_test

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.contracts.tables import INGEST_TABLES
from assets_pkg.orchestration.assets import Graph
from assets_pkg.orchestration.checks import build_checks
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_of, workplace_resource
from assets_pkg.transforms.alerts import ACTIVITY_SPECS, SEVERITIES, SPECS
from assets_pkg_tests.orchestration.pipeline import (
    CUSTOMERS_A_DAY,
    HOURS,
    ORDERS_A_DAY,
    QUIET,
    Pipeline,
    evaluations,
    facts,
    failed_steps,
    good_day,
    pipeline_in,
    put_files,
    started_steps,
)
from assets_pkg_tests.workbench import DAY, Workbench, days_from, feed_csv
from assets_pkg_tests.workbench import GOOD as CONTENT

# Three good days for the medians, then a good one and four bad ones, all in one run.
DAYS = days_from(DAY, 8)
GOOD, GONE, BROKEN, FLOOD, STRANGE = DAYS[3:]
BAD_DAY = {
    "missing_feed": GONE,
    "hourly_coverage": GONE,
    "volume_drop": GONE,
    "failed_file": BROKEN,
    "volume_spike": FLOOD,
    "duplicate_rate": FLOOD,
    "quarantine_rate": STRANGE,
    "orphan_rate": STRANGE,
    "late_beyond_window": STRANGE,
    "schema_drift": STRANGE,
}
RULES = [pytest.param(rule, feed, id=f"{rule}-{feed}") for rule, spec in SPECS.items() for feed in spec.tables]
EACH_FEED = pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)


def broken_day(day: date) -> dict[str, str | bytes]:
    """A good day, and a truncated file of each feed."""
    return {**good_day(day), **{f"{feed}_raw_2.csv.gz": b"\x1f\x8b\x08\x00" for feed in FEEDS}}


def flood_day(day: date) -> dict[str, str | bytes]:
    """Each file of a good day, four times in one file."""
    four_times = {}
    for name, text in good_day(day).items():
        header, rows = text.split("\n", 1)
        four_times[name] = f"{header}\n{rows * 4}"
    return dict(four_times)


def strange_day(day: date) -> dict[str, str | bytes]:
    """An unknown column in each feed; a third of the customers without a date; strangers; an event of ten days ago."""
    rows: dict[str, list[dict[str, str]]] = {
        "customers": [{"customer_id": f"x{number}", "created_at": "soon"} for number in range(3)],
        "events": [
            {"event_id": "late", "event_time": "2025-12-07T08:00:00Z"},
            *({"event_id": f"s{number}", "customer_id": "stranger"} for number in range(20)),
        ],
        "orders": [{"order_id": f"s{number}", "customer_id": "stranger"} for number in range(8)],
    }
    more = {f"{feed}_raw_2.csv": feed_csv(feed, *rows[feed], columns=[*CONTENT[feed], "new"]) for feed in FEEDS}
    return {**good_day(day), **more}


@dataclass(frozen=True)
class Week:
    """A pipeline after the run over DAYS, and what that run's checks said."""

    pipeline: Pipeline
    said: dict[tuple[str, str, str], AssetCheckEvaluation]

    def of(self, asset: str, check: str, day: date) -> AssetCheckEvaluation:
        return self.said[asset, check, str(day)]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    with pipeline_in(tmp_path_factory.mktemp("week")) as pipeline:
        for day in DAYS[:4]:
            put_files(pipeline.bench, day, good_day(day))
        for day, files in ((BROKEN, broken_day), (FLOOD, flood_day), (STRANGE, strange_day)):
            put_files(pipeline.bench, day, files(day))
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert result.success, failed_steps(result)  # bad days are for people to look at: nothing stops
        yield Week(pipeline, evaluations(result))


# -- checks without a day -------------------------------------------------------------------------------------


def test_checks_of_no_day_judge_the_newest(week: Week) -> None:
    """As *Execute all* in the web UI starts them."""
    keys = {dg.AssetCheckKey(dg.AssetKey("events_quarantine"), name) for name in ("row_rules", "healable_orphans")}
    keys |= {dg.AssetCheckKey(dg.AssetKey("events_clean"), name) for name in ("conservation", "hourly_coverage")}
    job = week.pipeline.defs.resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(
        instance=week.pipeline.instance, raise_on_error=False, run_config=QUIET
    )
    assert result.success, failed_steps(result)
    found = evaluations(result)
    assert {day for _, _, day in found} == {str(DAYS[-1])}
    assert {(asset, check) for asset, check, _ in found} == {(key.asset_key.to_user_string(), key.name) for key in keys}


# -- a range run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "feed"), RULES)
def test_an_alert_rule_passes_on_a_good_day_and_fails_on_a_bad_one(week: Week, rule: str, feed: str) -> None:
    asset = SPECS[rule].tables[feed]
    good, bad = week.of(asset, rule, GOOD), week.of(asset, rule, BAD_DAY[rule])
    assert good.passed, good.description
    assert not bad.passed, bad.description
    assert bad.metadata["severity of the alert"].value in SEVERITIES
    assert bad.severity == dg.AssetCheckSeverity.WARN, "errors are what stops a run"
    assert bad.description is not None
    assert bad.description.endswith(SPECS[rule].advice), "a failing check says what to do"
    assert good.description is not None
    assert SPECS[rule].advice not in good.description
    assert not bad.blocking


@EACH_FEED
def test_a_failed_alert_rule_shows_the_files_its_numbers_come_from(week: Week, feed: Feed) -> None:
    def shown(rule: str, asset: str) -> Any:
        return facts(week.of(asset, rule, BAD_DAY[rule]))["files of the day"]

    assert shown("missing_feed", feed.raw) == "none"
    sound, cut = shown("failed_file", feed.raw)
    assert (sound["status"], sound["note"]) == ("SUCCESS", "")
    assert (cut["file"], cut["status"]) == (f"ingest_date={BROKEN}/{feed.name}_raw_2.csv.gz", "FAILED")
    assert cut["note"]
    drifted = {each["file"].split("/")[1]: each["columns nobody knows"] for each in shown("schema_drift", feed.raw)}
    assert drifted == {f"{feed.name}_raw.csv": "", f"{feed.name}_raw_2.csv": "new"}
    (repeated,) = shown("duplicate_rate", feed.clean_table)
    assert repeated["copies"] == repeated["records"] * 3 / 4
    assert repeated["same id"] == 0


@EACH_FEED
def test_a_failed_alert_rule_shows_the_days_it_was_compared_with(week: Week, feed: Feed) -> None:
    usual = CUSTOMERS_A_DAY if feed is CUSTOMERS else ORDERS_A_DAY if feed is ORDERS else HOURS
    for rule, metric, then in (("volume_drop", "total", 0), ("volume_spike", "total", 4 * usual)):
        by_day = {
            row["ingest_date"]: row["value"]
            for row in facts(week.of(feed.raw, rule, BAD_DAY[rule]))[f"{metric} by day"]
        }
        assert by_day[str(DAYS[0])] == usual
        assert by_day[str(BAD_DAY[rule])] == then
        assert list(by_day) == [str(day) for day in DAYS if day <= BAD_DAY[rule]]
    (*_, last) = facts(week.of(feed.quarantine, "quarantine_rate", STRANGE))["quarantine_rate by day"]
    assert (last["ingest_date"], last["value"] > 0.2) == (str(STRANGE), True)


def test_a_failed_alert_rule_shows_the_first_rows_with_file_and_row(week: Week) -> None:
    def shown(rule: str, asset: str, what: str) -> Any:
        return facts(week.of(asset, rule, BAD_DAY[rule]))[what]

    path = f"ingest_date={STRANGE}/events_raw_2.csv"
    late = shown("late_beyond_window", EVENTS.clean_table, "late events (first)")
    assert [(row["source_file"], row["source_row"], row["event_id"]) for row in late] == [(path, 1, "late")]
    orphans = shown("orphan_rate", EVENTS.quarantine, "orphans (first)")
    assert [(row["source_file"], row["source_row"]) for row in orphans] == [(path, row) for row in range(2, 12)]
    assert {row["reject_reason"] for row in orphans} == {"orphan_customer_id"}
    rejected = shown("quarantine_rate", "customers_quarantine", "rejected rows (first)")
    assert [json.loads(row["row"])["created_at"] for row in rejected] == ["soon"] * 3
    (reason,) = shown("quarantine_rate", "customers_quarantine", "reasons")
    assert (reason["reason"], reason["rows"]) == ("invalid_created_at", 3)
    hours = shown("hourly_coverage", EVENTS.clean_table, "hours")
    assert [(row["hour"], row["clean_events"]) for row in hours] == [(f"{hour:02d}", 0) for hour in range(24)]


def test_an_alert_rule_that_did_not_fire_shows_its_numbers_alone(week: Week) -> None:
    for rule, spec in SPECS.items():
        for asset in spec.tables.values():
            said = week.of(asset, rule, GOOD).metadata
            assert not [name for name, value in said.items() if isinstance(value, dg.TableMetadataValue)], rule


@EACH_FEED
def test_row_rules_pass_without_rejected_rows_and_show_reasons_and_first_rows_with_them(week: Week, feed: Feed) -> None:
    good, bad = week.of(feed.quarantine, "row_rules", GOOD), week.of(feed.quarantine, "row_rules", STRANGE)
    assert good.passed
    assert good.description == "No row was rejected."
    assert facts(good)["reasons"] == "none"
    assert not bad.passed
    assert bad.severity == dg.AssetCheckSeverity.WARN
    said = facts(bad)
    rows, rejected, reason = {
        "customers": (8, 3, "invalid_created_at"),
        "events": (45, 20, "orphan_customer_id"),
        "orders": (18, 8, "orphan_customer_id"),
    }[feed.name]
    assert (said["rows"], said["rejected rows"], said["rejected rate"]) == (
        rows,
        rejected,
        pytest.approx(rejected / rows),
    )
    (top,) = said["reasons"]
    assert (top["reason"], top["rows"], top["rate"]) == (reason, rejected, pytest.approx(rejected / rows, abs=1e-6))
    assert top["meaning"]
    first = said["rejected rows (first)"][0]
    assert first["source_file"] == f"ingest_date={STRANGE}/{feed.name}_raw_2.csv"
    assert first["source_row"] == (2 if feed is EVENTS else 1)
    assert first["reject_reason"] == reason
    assert bad.description is not None
    for word in (f"{rejected:,} of {rows:,}", reason, str(STRANGE), "run"):
        assert word in bad.description


@EACH_FEED
@pytest.mark.parametrize("check", ["conservation", "schema"])
def test_blocking_checks_pass_on_whatever_comes_in(week: Week, feed: Feed, check: str) -> None:
    # Bad rows and bad files are no fault of the pipeline.
    for day in DAYS:
        assert week.of(feed.clean_table, check, day).passed


@EACH_FEED
def test_conservation_shows_where_the_rows_went(week: Week, feed: Feed) -> None:
    said = facts(week.of(feed.clean_table, "conservation", FLOOD))
    once = {"customers": 5, "events": 24, "orders": 10}[feed.name]
    assert said == {
        "raw rows": 4 * once,
        "clean rows": once,
        "quarantined rows": 0,
        "full-row duplicates": 3 * once,
        "lost rows": 0,
    }


def test_a_range_run_keeps_an_evaluation_of_every_check_for_every_day(week: Week) -> None:
    checks = {(asset, check) for asset, check, _ in week.said}
    healable = {("events_quarantine", "healable_orphans"), ("orders_quarantine", "healable_orphans")}
    assert checks >= healable
    assert len(checks) == 3 * len(FEEDS) + len(RULES) + len(healable)
    assert set(week.said) == {(*check, str(day)) for check in checks for day in DAYS}
    for asset, check in checks:
        stored = [each for each in week.pipeline.stored(asset, check) if each.partition == str(BROKEN)]
        assert stored, (asset, check)
        assert stored[-1] == week.of(asset, check, BROKEN)


def test_an_evaluation_points_at_its_days_materialization(week: Week) -> None:
    # Without it the UI shows a day's asset as unchecked.
    day = dg.AssetRecordsFilter(dg.AssetKey("events_clean"), asset_partitions=[str(FLOOD)])
    (record,) = week.pipeline.instance.fetch_materializations(day, limit=1).records
    target = week.of("events_clean", "schema", FLOOD).target_materialization_data
    assert target is not None
    assert (target.storage_id, target.run_id) == (record.storage_id, record.run_id)


# -- one day, a check alone -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tampering:
    """Changes a partition of GOOD behind the pipeline's back, and puts it back at the end."""

    bench: Workbench

    def change(self, table: str, how: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        rows = self.bench.work.lake.scan(table, [GOOD]).collect().drop(INGEST_TABLES[table].partition_by)
        with self.bench.work.lake.replace(table, GOOD) as writer:
            writer.write(how(rows))


@pytest.fixture
def tampering(week: Week) -> Iterator[Tampering]:
    lake = week.pipeline.bench.work.lake
    before = {name: lake.scan(name, [GOOD]).collect().drop(table.partition_by) for name, table in INGEST_TABLES.items()}
    yield Tampering(week.pipeline.bench)
    for name, rows in before.items():
        with lake.replace(name, GOOD) as writer:
            writer.write(rows)


def check_alone(week: Week, asset: str, check: str) -> AssetCheckEvaluation:
    result = week.pipeline.check((asset, check), first=GOOD)
    (only,) = evaluations(result).values()
    assert (only.asset_key, only.check_name, only.partition) == (dg.AssetKey(asset), check, str(GOOD))
    assert week.pipeline.stored(asset, check)[0] == only
    return only


@EACH_FEED
def test_conservation_fails_when_clean_rows_are_lost(week: Week, tampering: Tampering, feed: Feed) -> None:
    tampering.change(feed.clean_table, lambda rows: rows.head(rows.height - 2))
    found = check_alone(week, feed.clean_table, "conservation")
    assert not found.passed
    assert found.blocking
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert facts(found)["lost rows"] == 2
    assert found.description is not None
    assert found.description.startswith("2 rows are lost")
    assert f"Materialize {feed.name} of {GOOD} again" in found.description


def test_conservation_fails_when_rows_appear_from_nowhere(week: Week, tampering: Tampering) -> None:
    tampering.change("orders_clean", lambda rows: pl.concat([rows, rows.head(1)]))
    found = check_alone(week, "orders_clean", "conservation")
    assert not found.passed
    assert facts(found)["lost rows"] == -1
    assert found.description is not None
    assert "appeared from nowhere" in found.description


BROKEN_VALUES = {
    "a negative duration": ("events_clean", "duration_ms", pl.lit(-1, pl.Int64), "duration_ms is below 0"),
    "a forbidden platform": ("events_clean", "platform", pl.lit("fax"), "platform"),
    "no time": ("events_clean", "event_time", pl.lit(None, pl.Datetime("us", "UTC")), "event_time"),
    "a zero amount that is paid": ("orders_clean", "amount", pl.lit(0), "amount is 0 with status paid"),
    "no customer": ("customers_clean", "customer_id", pl.lit(None, pl.String), "customer_id"),
}


@pytest.mark.parametrize(("table", "column", "value", "names"), BROKEN_VALUES.values(), ids=BROKEN_VALUES)
def test_schema_fails_on_one_forbidden_value(
    week: Week, tampering: Tampering, table: str, column: str, value: pl.Expr, names: str
) -> None:
    dtype = INGEST_TABLES[table].schema[column]
    at_third = pl.int_range(pl.len()) == 2
    tampering.change(
        table,
        lambda rows: rows.sort("source_row").with_columns(
            pl.when(at_third).then(value.cast(dtype)).otherwise(column).alias(column)
        ),
    )
    found = check_alone(week, table, "schema")
    assert not found.passed
    assert found.blocking
    broken = facts(found)["broken checks"]
    assert [each["values"] for each in broken] == [1]
    assert found.description is not None
    assert f"Materialize {table.removesuffix('_clean')} of {GOOD} again" in found.description
    (first,) = facts(found)["first rows"]
    feed = table.removesuffix("_clean")
    assert (first["source_file"], first["source_row"]) == (f"ingest_date={GOOD}/{feed}_raw.csv", 3)
    assert names in f"{broken[0]['check']} {first['column']}"


@EACH_FEED
def test_schema_fails_on_an_id_that_stands_twice(week: Week, tampering: Tampering, feed: Feed) -> None:
    tampering.change(feed.clean_table, lambda rows: pl.concat([rows, rows.head(1)]))
    found = check_alone(week, feed.clean_table, "schema")
    assert not found.passed
    assert facts(found)["broken checks"] == [{"check": f"{feed.id}: unique", "values": 2}]
    assert len(facts(found)["first rows"]) == 2


def test_a_check_whose_table_lost_its_file_fails_the_step_and_says_nothing_of_the_data(
    week: Week, tampering: Tampering
) -> None:
    pipeline = week.pipeline
    tampering.change("events_clean", lambda rows: rows.reverse())  # a file of its own, which nothing needs later
    (file,) = pipeline.bench.work.lake.files("events_clean", GOOD)
    Path(file.location).unlink()
    stored = len(pipeline.stored("events_clean", "schema"))
    result = pipeline.check(("events_clean", "schema"), first=GOOD)
    assert not result.success
    assert failed_steps(result) == ["events_checks"]
    assert evaluations(result) == {}
    assert len(pipeline.stored("events_clean", "schema")) == stored


def test_one_check_of_a_group_can_be_executed_for_a_range(week: Week) -> None:
    result = week.pipeline.check(
        ("events_clean", "schema"), ("events_clean", "late_beyond_window"), first=GOOD, last=BROKEN
    )
    assert result.success
    days = (GOOD, GONE, BROKEN)
    names = ("schema", "late_beyond_window")
    assert set(evaluations(result)) == {("events_clean", name, str(day)) for name in names for day in days}


# -- what stops what follows ----------------------------------------------------------------------------------


BAD_TABLES: dict[str, tuple[str, str, bool]] = {
    "conservation": ("events_clean", "conservation", True),
    "schema": ("events_clean", "schema", True),
    "row_rules": ("events_quarantine", "row_rules", False),
}


@pytest.mark.parametrize(("asset", "check", "stops"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_failed_check_stops_what_follows_if_it_blocks(tmp_path: Path, asset: str, check: str, stops: bool) -> None:
    # The project's own checks behind a step that writes wrong tables, which its own steps never should.
    bench = Workbench(tmp_path)
    put_files(bench, DAY, good_day(DAY))
    if check == "row_rules":
        bench.put("events_raw_2.csv", feed_csv("events", *({"event_id": "", "customer_id": f"x{n}"} for n in range(9))))
    bench.clean_feeds()
    graph = Graph(bench.settings, bench.work.policy)
    specs = [
        dg.AssetSpec(name, partitions_def=graph.ingest_dates)
        for name in (EVENTS.raw, EVENTS.clean_table, EVENTS.quarantine, EVENTS.profile)
    ]

    @dg.multi_asset(specs=specs, required_resource_keys={WORKPLACE})
    def wrong_step(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        lake = workplace_of(context).lake
        rows = lake.scan("events_clean", [DAY]).collect().drop("ingest_date")
        if check == "conservation":
            rows = rows.head(1)
        if check == "schema":
            rows = rows.with_columns(duration_ms=pl.lit(-5, pl.Int64))
        with lake.replace("events_clean", DAY) as writer:
            writer.write(rows)
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key)

    @dg.asset(deps=[asset], partitions_def=graph.ingest_dates)
    def what_follows() -> None:
        """Needs the table."""

    (events_checks,) = (each for each in build_checks(graph) if each.node_def.name == "events_checks")
    defs = dg.Definitions(
        assets=[wrong_step, what_follows],
        asset_checks=[events_checks],
        resources={WORKPLACE: workplace_resource(graph.settings, graph.policy)},
        executor=dg.in_process_executor,
    )
    with instance_for_test() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, partition_key=str(DAY), raise_on_error=False)
    said = evaluations(result)
    assert {key[1] for key, each in said.items() if not each.passed} == {check}
    assert said[asset, check, str(DAY)].blocking is stops
    assert result.success is not stops
    assert ("what_follows" in started_steps(result)) is not stops


def test_the_policy_says_how_many_rejected_rows_are_worth_a_warning(week: Week) -> None:
    assert week.pipeline.bench.work.policy.checks.row_rules_max_rate == 0.1
    strict = week.pipeline.under({"checks": {"row_rules_max_rate": 20 / 45 - 0.001}})
    (only,) = evaluations(strict.check(("events_quarantine", "row_rules"), first=STRANGE)).values()
    assert not only.passed
    lenient = week.pipeline.under({"checks": {"row_rules_max_rate": 0.5}})
    result = lenient.check(("events_quarantine", "row_rules"), first=STRANGE)
    (only,) = evaluations(result).values()
    assert only.passed
    assert only.description == "20 rows rejected; within what is allowed."


def test_a_rule_that_the_policy_turns_off_is_no_check(week: Week) -> None:
    before = {key.name for key in week.pipeline.defs.resolve_asset_graph().asset_check_keys}
    assert before >= {*SPECS, *ACTIVITY_SPECS}
    off = {"enabled": False}
    without = week.pipeline.under({"alerts": {"orphan_rate": off, "activity_drop": off}})
    names = {key.name for key in without.defs.resolve_asset_graph().asset_check_keys}
    assert names == before - {"orphan_rate", "activity_drop"}


def test_orphans_that_the_policy_does_not_reject_are_no_check(week: Week) -> None:
    without = week.pipeline.under({"feeds": {"events": {"check_orphans": False}}})
    keys = without.defs.resolve_asset_graph().asset_check_keys
    assert [key.asset_key.to_user_string() for key in keys if key.name == "healable_orphans"] == ["orders_quarantine"]
