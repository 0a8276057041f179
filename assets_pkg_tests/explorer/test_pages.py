"""The pages as Streamlit runs them: what they show is what the tables hold, and data stays data."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from assets_pkg.explorer.lake import PAGES
from assets_pkg.steps import explore
from assets_pkg.steps.activity import refresh
from assets_pkg_tests.sample_lake import SAMPLE_DAYS
from assets_pkg_tests.workbench import ROOT, Workbench

PATIENCE = 60
Page = Callable[[str], AppTest]


def lake_page(name: str) -> None:
    from assets_pkg.explorer.site import over_lake  # noqa: PLC0415 - Streamlit runs these lines alone

    over_lake(name)


@pytest.fixture
def page(looked_at: Workbench, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Opens a page over the sample days."""
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(looked_at.settings.data_dir))
    return opened


def opened(name: str) -> AppTest:
    return shown(AppTest.from_function(lake_page, default_timeout=PATIENCE, args=(name,)).run())


def shown(at: AppTest) -> AppTest:
    assert not at.exception, [each.value for each in at.exception]
    return at


def tiles(at: AppTest) -> dict[str, str]:
    return {each.label: each.value for each in at.metric}


def captions(at: AppTest) -> list[str]:
    return [each.value for each in at.caption]


def of_labels(elements: Any) -> dict[str, Any]:
    return {each.label: each for each in elements}


def frames(at: AppTest) -> list[pl.DataFrame]:
    return [pl.from_pandas(each.value) for each in at.dataframe]


def test_the_first_page_is_the_overview_and_all_pages_can_be_reached(
    looked_at: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(looked_at.settings.data_dir))
    at = shown(AppTest.from_file(ROOT / "assets_pkg" / "explorer" / "app.py", default_timeout=PATIENCE).run())
    assert [each.value for each in at.title] == ["Overview"]
    assert "Rows" in tiles(at)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_and_offers_each_table_in_both_formats(page: Page, name: str) -> None:
    at = page(name)
    assert not at.error
    labels = [each.label for each in at.get("download_button")]
    assert labels.count("CSV") == labels.count("Parquet") == len(at.dataframe) > 0


def test_the_overview_counts_what_the_tables_hold(page: Page, looked_at: Workbench) -> None:
    at = page("Overview")
    there = explore.dates_there(looked_at.work)[-7:]
    totals = explore.totals(looked_at.work, there).sum()
    assert tiles(at) == {
        "Rows": f"{totals['total'].item():,}",
        "Clean": f"{totals['clean'].item():,}",
        "Quarantined": f"{totals['quarantine'].item():,}",
        "Duplicates": f"{totals['full_row_duplicates'].item():,}",
        "Users": f"{explore.users(looked_at.work, there):,}",
        "Sessions": f"{explore.session_count(looked_at.work, there):,}",
    }


def test_other_dates_show_other_numbers(page: Page, looked_at: Workbench) -> None:
    at = page("Overview")
    day = SAMPLE_DAYS[2]
    choose(at, day, day)
    assert tiles(at)["Sessions"] == f"{explore.session_count(looked_at.work, [day]):,}"
    assert at.sidebar.caption[0].value.startswith("1 of ")
    assert (at.query_params["from"], at.query_params["to"]) == (str(day), str(day))


def choose(at: AppTest, first: date, last: date) -> None:
    inputs = of_labels(at.sidebar.date_input)
    inputs["From"].set_value(first)
    inputs["To"].set_value(last)
    shown(at.run())


def test_dates_the_wrong_way_round_are_those_between(page: Page, looked_at: Workbench) -> None:
    at = page("Overview")
    choose(at, SAMPLE_DAYS[3], SAMPLE_DAYS[1])
    assert tiles(at)["Sessions"] == f"{explore.session_count(looked_at.work, SAMPLE_DAYS[1:4]):,}"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2025-12-11", "2025-12-12", ["2025-12-11", "2025-12-12"]),
        ("2025-12-12", "2025-12-12", ["2025-12-12", "2025-12-12"]),
        ("garbage", "2025-12-11", ["2025-12-09", "2025-12-11"]),
        ("1999-01-01", "2099-01-01", ["2025-12-08", "2025-12-15"]),
    ],
)
def test_the_address_says_which_dates(page: Page, first: str, last: str, expected: list[str]) -> None:
    at = AppTest.from_function(lake_page, default_timeout=PATIENCE, args=("Overview",))
    at.query_params["from"], at.query_params["to"] = first, last
    shown(at.run())
    assert [str(each.value) for each in at.sidebar.date_input] == expected
    assert [at.query_params[name] for name in ("from", "to")] == expected


def test_dates_between_those_with_tables_name_the_nearest(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (SAMPLE_DAYS[0], SAMPLE_DAYS[4]):
        bench.put_feed("customers", {}, day=day)
        bench.run_day(day)
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(bench.settings.data_dir))
    for name in PAGES:
        at = opened(name)
        choose(at, SAMPLE_DAYS[1], SAMPLE_DAYS[2])
        said = "There are no tables of these dates. The nearest are 2025-12-10 and 2025-12-14."
        assert [each.value for each in at.info] == [said]
        assert not at.metric


def test_a_day_that_was_processed_in_part_is_shown_as_far_as_it_came(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put_feed("events", {"customer_id": ""}, day=SAMPLE_DAYS[0])
    bench.clean_feeds(SAMPLE_DAYS[0])
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(bench.settings.data_dir))
    for name in PAGES:
        at = opened(name)
        assert not at.error
        if name == "Quarantine":
            assert frames(at)[0].rows() == [("missing_customer_id", 1)]


@pytest.mark.parametrize("number", ["inf", "-5", "1e400", "nan", "x", ""])
def test_what_is_no_number_in_the_address_is_left_out(page: Page, number: str) -> None:
    at = AppTest.from_function(lake_page, default_timeout=PATIENCE, args=("Sessions",))
    at.query_params["min_events"] = at.query_params["min_minutes"] = number
    shown(at.run())
    assert frames(at)[0].height > 100


def test_sessions_follow_their_filters(page: Page, looked_at: Workbench) -> None:
    at = page("Sessions")
    everything = explore.sessions_of(looked_at.work, explore.dates_there(looked_at.work)[-7:], explore.SessionFilter())
    expected = everything.filter(pl.col("event_count") >= 20, pl.col("platforms").list.contains("web")).collect()
    of_labels(at.number_input)["Events, at least"].set_value(20.0)
    of_labels(at.selectbox)["Platform"].set_value("web")
    shown(at.run())
    assert f"Sessions: {expected.height:,} rows. Select a cell to look into its row" in captions(at)
    rows = frames(at)[0]
    assert sorted(rows["session_id"]) == sorted(expected["session_id"])
    assert rows["session_start"].is_sorted(descending=True)
    of_labels(at.selectbox)["Order"].set_value("most events")
    shown(at.run())
    assert frames(at)[0]["event_count"].is_sorted(descending=True)
    of_labels(at.selectbox)["Order"].set_value("longest")
    shown(at.run())
    assert frames(at)[0]["duration_seconds"].is_sorted(descending=True)


def test_the_selected_session_s_customer_is_shown_with_all_events(page: Page, looked_at: Workbench) -> None:
    at = page("Sessions")
    customer = frames(at)[0]["customer_id"][0]
    assert at.code[0].value == customer
    events = frames(at)[1]
    of_customer = explore.events_of_customer(looked_at.work, explore.dates_there(looked_at.work)[-7:], customer)
    assert events["event_id"].to_list() == of_customer["event_id"].to_list()


def test_a_filter_that_leaves_nothing_says_so(page: Page) -> None:
    at = page("Sessions")
    of_labels(at.text_input)["Customer"].set_value("nobody")
    shown(at.run())
    assert "Sessions: none." in [each.value for each in at.info]


def test_a_malformed_row_shows_its_whole_text(page: Page, looked_at: Workbench) -> None:
    at = page("Quarantine")
    of_labels(at.selectbox)["Reason"].set_value("malformed_row")
    shown(at.run())
    row = frames(at)[1].row(0, named=True)
    assert row["reject_reason"] == "malformed_row"
    assert at.code[0].value == row["raw_text"]
    assert at.code[1].value.endswith(f"--row {row['source_row']}")
    assert row["source_file"] in at.code[1].value
    assert any(each.value.startswith("malformed_row: the record has") for each in at.text)


def test_other_rejected_rows_show_their_values_as_they_stood(page: Page) -> None:
    at = page("Quarantine")
    of_labels(at.selectbox)["Feed"].set_value("orders")
    shown(at.run())
    of_labels(at.selectbox)["Reason"].set_value("unknown_status")
    shown(at.run())
    row = frames(at)[1].row(0, named=True)
    assert f'"status": "{row["status"]}"' in at.code[0].value


def test_a_metric_is_shown_by_date(page: Page, looked_at: Workbench) -> None:
    at = page("Metrics")
    of_labels(at.selectbox)["Metric"].set_value("events · by_platform · landed")
    shown(at.run())
    known = explore.metrics(looked_at.work, SAMPLE_DAYS).filter(
        pl.col("metric") == "by_platform", pl.col("dataset") == "events"
    )
    assert sorted(frames(at)[0]["value"]) == sorted(known.collect()["value"])
    assert (
        frames(at)[2].height
        == explore.restatements(looked_at.work, explore.dates_there(looked_at.work)).collect().height
    )


def test_alerts_follow_their_severity_and_the_selected_one_shows_its_numbers(page: Page) -> None:
    at = page("Alerts")
    of_labels(at.multiselect)["Severity"].set_value(["low"])
    shown(at.run())
    assert set(frames(at)[0]["severity"]) == {"low"}
    assert at.text[0].value.startswith("low, late_beyond_window, 2025-12-14: ")
    assert '"late_beyond_window": 4' in at.code[0].value


def test_a_lake_without_tables_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path))
    at = opened("Overview")
    assert "python -m assets_pkg run" in at.info[0].value
    assert not list(tmp_path.iterdir()), "nothing is written by looking"


def test_a_lost_data_file_is_named_with_what_to_do(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    day = date(2025, 12, 10)
    bench.put_feed("events", {"customer_id": ""}, day=day)
    bench.run_day(day)
    for file in bench.work.lake.files("events_quarantine", day):
        Path(file.location).unlink()
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(bench.settings.data_dir))
    at = opened("Quarantine")
    assert [each.value for each in at.error] == ["This cannot be shown."]
    (said,) = [each.value for each in at.code]
    assert "events_quarantine of 2025-12-10 cannot be read" in said
    assert "materialize events_quarantine of 2025-12-10 again" in said


def test_looking_writes_nothing(page: Page, looked_at: Workbench) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        found = {path: path.stat() for path in looked_at.folder.rglob("*")}
        return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    before = everything()
    for name in PAGES:
        page(name)
    assert everything() == before


MARKUP = ["<script>alert(1)</script>", ":red[x] **b** `c` $d$ [e](f) ~~g~~ :smile: # h", "www.example.org a@b.cc -> --"]


@pytest.mark.parametrize("text", MARKUP)
def test_data_is_put_where_nothing_reads_markup(bench: Workbench, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    day = date(2025, 12, 10)
    bench.put_feed("customers", {"customer_id": text}, {"customer_id": "", "email": text}, day=day)
    bench.put_feed("events", {"customer_id": text}, day=day)
    bench.run_day(day)
    refresh(bench.work, [day])
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(bench.settings.data_dir))
    seen = set()
    for name in PAGES:
        at = opened(name)
        if name == "Quarantine":
            of_labels(at.selectbox)["Feed"].set_value("customers")
            shown(at.run())
        for kind in ("markdown", "caption", "subheader", "header", "title", "info", "success", "warning", "error"):
            assert not [each.value for each in getattr(at, kind) if text in each.value], (name, kind)
        seen |= {name for each in at.code if text in each.value or json.dumps(text) in each.value}
    assert seen == {"Sessions", "Quarantine"}, "as a text it is there"
