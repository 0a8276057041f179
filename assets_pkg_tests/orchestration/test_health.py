"""Which partitions failed, are missing, lost or stale: told with what mends each, and what is told mends it."""

import shlex
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import ACTIVITY_TABLES, INGEST_TABLES
from assets_pkg.orchestration.health import not_run_yet, unhealthy
from assets_pkg_tests.orchestration.pipeline import Pipeline, command_line, good_day, pipeline_in, put_files
from assets_pkg_tests.workbench import DAY, days_from, feed_csv

D1, D2, D3 = days_from(DAY, 3)
AT_ONCE = {"arrival": {"settle_seconds": 0}}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Three days, processed and refreshed; as every test leaves them."""
    with pipeline_in(tmp_path_factory.mktemp("three")) as made:
        pipeline = made.under(AT_ONCE)
        for day in (D1, D2, D3):
            put_files(pipeline.bench, day, good_day(day))
        assert pipeline.run(D1, D3).success
        refresh(pipeline)
        yield pipeline


def refresh(pipeline: Pipeline) -> None:
    first, *_, last = days_from(date(2025, 12, 4), 20)
    assert pipeline.run_dates(first, last, "pipeline/only_stale").success


def ailing(pipeline: Pipeline) -> dict[tuple[str, str], str]:
    """The days by asset and state."""
    rows = unhealthy(pipeline.bench.work, pipeline.instance, pipeline.check_specs)
    found = {(row["asset"], row["state"]): row["days"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_all_is_well_after_a_run(pipeline: Pipeline) -> None:
    assert ailing(pipeline) == {}


def test_a_new_file_makes_its_raw_partition_stale_until_the_day_is_run(pipeline: Pipeline) -> None:
    pipeline.bench.put("events_raw_2.csv", feed_csv("events", {"event_id": "new", "customer_id": "c1"}), D2)
    (row,) = unhealthy(pipeline.bench.work, pipeline.instance, pipeline.check_specs)
    assert row == {
        "asset": "raw_events",
        "state": "stale",
        "days": str(D2),
        "why": f"files are new or changed: ingest_date={D2}/events_raw_2.csv",
        "mended by": f"python -m assets_pkg run --date {D2}",
        "in the web UI": f"Jobs → daily_pipeline → Materialize all, dates {D2}",
    }
    assert pipeline.run(D2).success
    after = ailing(pipeline)
    assert after
    assert {asset for asset, _ in after} <= ACTIVITY_TABLES.keys(), "what it was made of is up to date again"
    refresh(pipeline)
    assert ailing(pipeline) == {}


def test_raw_days_that_were_never_processed_are_missing(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        for day in (D1, D2):
            put_files(pipeline.bench, day, good_day(day))
        found = ailing(pipeline.under(AT_ONCE))
        assert found == {(table, "missing"): f"{D1} to {D2}" for table in INGEST_TABLES}


def test_a_day_between_others_of_which_nothing_came_is_missing(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as made:
        pipeline = made.under(AT_ONCE)
        for day in (D1, D3):
            put_files(pipeline.bench, day, good_day(day))
        rows = unhealthy(pipeline.bench.work, pipeline.instance, pipeline.check_specs)
        of_hole = [(row["asset"], row["state"], row["mended by"]) for row in rows if row["days"] == str(D2)]
        assert of_hole == [
            (feed.raw, "missing", f"python -m assets_pkg run --date {D2}")
            for feed in sorted(FEEDS.values(), key=lambda feed: feed.raw)
        ]
        assert {row["why"] for row in rows if row["days"] == str(D2)} == {"nothing came: there is no folder"}
        assert pipeline.run(D1, D3).success
        refresh(pipeline)
        assert ailing(pipeline) == {}, "it was processed as empty"


def test_another_way_to_read_files_makes_raw_tables_stale(pipeline: Pipeline) -> None:
    other = pipeline.under({**AT_ONCE, "reading": {"open_quote_lines": 5}})
    rows = unhealthy(other.bench.work, other.instance, other.check_specs)
    found = {row["asset"]: (row["state"], row["days"], row["why"]) for row in rows}
    assert {feed.raw for feed in FEEDS.values()} <= found.keys()
    assert found["raw_events"] == ("stale", f"{D1} to {D3}", "the policy reads its files otherwise")


def test_a_day_whose_files_are_still_coming_is_not_missing(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, D1, good_day(D1))
        assert ailing(pipeline) == {}
        (said,) = not_run_yet(pipeline.bench.work)
        assert said.startswith(f"{D1} is not run yet: 3 files changed a moment ago (ingest_date={D1}/")
        assert not_run_yet(pipeline.under(AT_ONCE).bench.work) == []


def test_raw_folders_that_are_no_ingest_dates_are_told_of(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as made:
        pipeline = made.under(AT_ONCE)
        to_come = datetime.now(UTC).date() + timedelta(days=3)
        for day in (date(2024, 12, 30), date(2024, 12, 31), D1, to_come):
            put_files(pipeline.bench, day, good_day(day))
        assert set(ailing(pipeline).values()) == {str(D1)}
        (said,) = not_run_yet(pipeline.bench.work)
        assert said == (
            f"Nobody runs 2024-12-30 to 2024-12-31, {to_come}: ingest dates are the days from 2025-01-01 "
            "(PIPELINE_FIRST_DAY) to today."
        )


def test_lost_data_files_are_told_of_and_mended(pipeline: Pipeline) -> None:
    tables = ["raw_orders", "events_clean", "customers_known", "alerts", "sessions"]
    for table in tables:
        Path(pipeline.bench.work.lake.files(table, D2)[0].location).unlink()
    found = ailing(pipeline)
    assert {(asset, found[asset, state]) for asset, state in found if state == "lost"} == {
        (table, str(D2)) for table in tables
    }
    assert pipeline.run(D2).success
    refresh(pipeline)
    assert ailing(pipeline) == {}


def test_reports_that_are_gone_are_told_of(pipeline: Pipeline) -> None:
    folder = pipeline.bench.settings.reports_dir
    names = {"validation_report": "validation_report.json", "alerts": "alerts.json", "day_report": "report.html"}
    for name in names.values():
        (folder / f"ingest_date={D2}" / name).unlink()
    assert ailing(pipeline) == {(asset, "lost"): str(D2) for asset in names}
    assert pipeline.run(D2).success
    assert ailing(pipeline) == {}


def test_alerts_of_a_day_whose_tables_were_made_anew_without_them_are_stale(pipeline: Pipeline) -> None:
    before = good_day(D2)["events_raw.csv"]
    pipeline.bench.put("events_raw.csv", before.splitlines()[0] + "\n", D2)
    clean = ["events_clean", "events_quarantine", "events_profile"]
    for assets in (["raw_events"], clean, ["daily_metrics"]):  # one after the other, as people click
        assert pipeline.run(D2, assets=assets).success
    assert ailing(pipeline)["alerts", "stale"] == str(D2)
    assert pipeline.run(D2).success
    refresh(pipeline)
    assert ailing(pipeline) == {}
    pipeline.bench.put("events_raw.csv", before, D2)
    assert pipeline.run(D2).success
    refresh(pipeline)


def test_a_day_before_whose_numbers_are_lost_keeps_no_day_from_its_alerts_and_report(pipeline: Pipeline) -> None:
    Path(pipeline.bench.work.lake.files("daily_metrics", D1)[0].location).unlink()
    assert pipeline.run(D2).success
    assert ailing(pipeline) == {("daily_metrics", "lost"): str(D1)}
    assert pipeline.run(D1).success
    assert ailing(pipeline) == {}


def test_another_policy_makes_stale_what_it_decides(pipeline: Pipeline) -> None:
    stricter = pipeline.under({**AT_ONCE, "values": {"max_duration_ms": 5}})
    found = ailing(stricter)
    assert found["events_clean", "stale"] == f"{D1} to {D3}"
    assert ("raw_events", "stale") not in found


@pytest.mark.slow
def test_customers_of_an_earlier_day_make_later_snapshots_stale(pipeline: Pipeline) -> None:
    pipeline.bench.put_feed("customers", {"customer_id": "newcomer"}, day=D1, name="customers_raw_2.csv")
    assert pipeline.run(D1).success
    refresh(pipeline)
    assert ailing(pipeline)["customers_known", "stale"] == f"{D2} to {D3}"
    assert pipeline.run(D2, D3).success
    refresh(pipeline)
    assert ailing(pipeline) == {}


def test_a_failed_day_is_told_until_it_succeeds(pipeline: Pipeline) -> None:
    pipeline.bench.put("orders_raw_2.csv", feed_csv("orders", {"order_id": "new", "customer_id": "c1"}), D3)
    folder = pipeline.bench.work.lake.root / "raw_orders" / f"ingest_date={D3}"
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    assert not pipeline.run(D3).success
    assert ailing(pipeline)["all by ingest_date", "failed"] == str(D3)
    folder.unlink()
    aside.rename(folder)
    assert pipeline.run(D3).success
    refresh(pipeline)
    assert ailing(pipeline) == {}


def test_the_check_warns_and_shows_the_table(pipeline: Pipeline) -> None:
    job = pipeline.defs.resolve_job_def("health")
    result = job.execute_in_process(instance=pipeline.instance)
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.description) == (True, "Every partition is there and up to date.")
    pipeline.bench.put("events_raw_3.csv", feed_csv("events", {"event_id": "newer", "customer_id": "c1"}), D2)
    result = job.execute_in_process(instance=pipeline.instance)
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == f"raw_events is stale ({D2}): the table says what mends each."
    table = check.metadata["partitions"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["asset"] for record in table.records] == ["raw_events"]
    assert pipeline.run(D2).success
    refresh(pipeline)


@pytest.mark.slow
def test_the_command_tells_what_mends_and_it_does(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, D1, good_day(D1))
    settings = {"PIPELINE_POLICY": str(tmp_path / "policy.yaml"), "DAGSTER_HOME": str(tmp_path)}
    (tmp_path / "policy.yaml").write_text("arrival: {settle_seconds: 0}")
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    told = command_line("status", folder=tmp_path, home=tmp_path, **settings)
    assert told.returncode == 0, told.stderr
    mending = f"python -m assets_pkg run --date {D1}"
    assert "".join(mending.split()) in "".join(told.stdout.replace("│", "").split()) or mending in told.stdout
    run = command_line(*shlex.split(mending)[3:], folder=tmp_path, home=tmp_path, **settings)
    assert run.returncode == 0, run.stderr
    assert command_line("status", folder=tmp_path, home=tmp_path, **settings).stdout == (
        "Every partition is there and up to date.\n"
    )


def test_a_day_that_a_blocking_check_stopped_is_told_until_the_check_passes(pipeline: Pipeline) -> None:
    lake = pipeline.bench.work.lake
    rows = lake.scan("events_clean", [D2]).collect().drop("ingest_date")
    with lake.replace("events_clean", D2, built_from=lake.partitions("events_clean")[D2].built_from) as writer:
        writer.write(rows.head(rows.height - 1))
    assert not pipeline.check(("events_clean", "conservation"), ("events_clean", "schema"), first=D2).success
    found = [
        row
        for row in unhealthy(pipeline.bench.work, pipeline.instance, pipeline.check_specs)
        if (row["asset"], row["state"]) == ("events_clean", "failed")
    ]
    assert [row["days"] for row in found] == [str(D2)]
    assert found[0]["why"] == "check conservation stops what follows: Catalog → events_clean → Checks"
    assert found[0]["mended by"] == f"python -m assets_pkg run --date {D2}"
    assert pipeline.run(D2, tags=["pipeline/verify"]).success
    refresh(pipeline)
    assert ailing(pipeline) == {}
