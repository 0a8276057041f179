"""The day report and the picture of the hours as the web UI shows them."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg_tests.orchestration.pipeline import (
    QUIET,
    Pipeline,
    event_rows,
    failed_steps,
    good_day,
    pipeline_in,
    put_files,
)
from assets_pkg_tests.workbench import DAY, feed_csv


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A day that lacks its last four hours, run by the daily job."""
    with pipeline_in(tmp_path_factory.mktemp("day")) as pipeline:
        put_files(pipeline.bench, DAY, {**good_day(DAY), "events_raw.csv": feed_csv("events", *event_rows(DAY, 20))})
        result = pipeline.run()
        assert result.success, failed_steps(result)
        yield pipeline


def last_made(pipeline: Pipeline, asset: str) -> dg.AssetMaterialization:
    event = pipeline.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_the_daily_job_writes_the_page_after_the_alerts(ran: Pipeline) -> None:
    graph = ran.defs.resolve_job_def(DAILY_JOB).asset_layer.asset_graph
    page = graph.get(dg.AssetKey("day_report"))
    assert page.group_name == "report"
    assert {"alerts", "daily_metrics", "events_profile", "events_quarantine", "raw_events"} <= {
        key.to_user_string() for key in page.parent_keys
    }
    made = last_made(ran, "day_report")
    assert made.partition == str(DAY)
    path = Path(str(made.metadata["path"].value))
    assert path == ran.bench.settings.reports_dir.resolve() / f"ingest_date={DAY}" / "report.html"
    assert made.metadata["page"] == dg.MetadataValue.url(path.as_uri())
    assert "4 hours without any: 20, 21, 22, 23." in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("base", ["https://reports.example/shop", "https://reports.example/shop/"])
def test_the_link_to_the_page_goes_where_reports_are_served(ran: Pipeline, base: str) -> None:
    served = ran.bench.settings.model_copy(update={"reports_url": base})
    defs = build_definitions(served, ran.bench.work.policy)
    job = defs.resolve_job_def(DAILY_JOB)
    only = [dg.AssetKey("day_report")]
    assert job.execute_in_process(
        instance=ran.instance, asset_selection=only, partition_key=str(DAY), run_config=QUIET
    ).success
    link = f"https://reports.example/shop/ingest_date={DAY}/report.html"
    assert last_made(ran, "day_report").metadata["page"] == dg.MetadataValue.url(link)


def test_the_pages_data_version_is_that_of_its_bytes_and_stays_on_a_rerun(ran: Pipeline) -> None:
    for _ in range(2):
        made = last_made(ran, "day_report")
        page = Path(str(made.metadata["path"].value)).read_bytes()
        assert (made.tags or {})["dagster/data_version"] == hashlib.sha256(page).hexdigest()
        assert ran.run(assets=["day_report"]).success
    assert last_made(ran, "day_report").tags == made.tags


def test_the_report_shows_the_hours_as_a_small_picture(ran: Pipeline) -> None:
    shown = last_made(ran, "day_report").metadata["events by hour"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    found = re.fullmatch(r"!\[(.*)\]\(data:image/svg\+xml;base64,(.*)\)", str(shown.value))
    assert found is not None
    assert found[1] == (
        "20 clean events happened on the day, most in hour 00 (1). 4 hours without any: 20, 21, 22, 23."
    )
    assert ET.fromstring(base64.b64decode(found[2])).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(str(shown.value)) < 20_000
