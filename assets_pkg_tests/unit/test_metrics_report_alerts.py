"""An ingest date's numbers, its report, and each alert rule at and around its threshold (section 5)."""

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import FAILED, SUCCESS, FileRecord
from assets_pkg.contracts.tables import ALERTS, DAILY_METRICS
from assets_pkg.policy import Policy, load_policy
from assets_pkg.steps.reports import raise_alerts
from assets_pkg.transforms.alerts import Judgement, judge
from assets_pkg.transforms.metrics import HOURS, metrics_frame
from assets_pkg_tests.workbench import DAY, GOOD, DayRun, Workbench, days_from, feed_csv

# -- metrics ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, DayRun]:
    """A day whose every number can be counted by hand."""
    bench = Workbench(tmp_path_factory.mktemp("metrics"))
    customers = feed_csv(
        "customers",
        {},
        {"customer_id": "c2", "email": ""},
        {"customer_id": "c3", "created_at": "null"},
        {"customer_id": "c4", "created_at": "x", "country": "N/A"},
        {},
    )
    bench.put("customers_raw.csv", customers + "broken\n")
    bench.put("customers_raw_2.csv", feed_csv("customers", {"customer_id": "c2", "email": "c2@x.de", "status": "x"}))
    events = feed_csv(
        "events",
        {"event_id": "e1", "event_time": "2025-12-10T04:21:24Z", "duration_ms": "1000"},
        {"event_id": "e2", "event_time": "2025-12-09T23:59:59Z", "duration_ms": "200", "event_type": "click"},
        {
            "event_id": "e3",
            "event_time": "2025-12-08",
            "duration_ms": "",
            "customer_id": "c2",
            "platform": "ios",
        },
        {
            "event_id": "e4",
            "event_time": "2025-12-07T23:59:59.999999Z",
            "duration_ms": "300",
            "event_type": "odd",
        },
        {"event_id": "e5", "event_time": "2025-12-10T23:59:59Z", "duration_ms": "0", "customer_id": "c2"},
        {"event_id": "e6", "event_time": "2025-12-11T04:00:00Z", "duration_ms": "", "platform": ""},
        {"event_id": "e7", "event_time": "2025-12-10T04:59:59.9Z", "duration_ms": "100", "customer_id": "c3"},
        {"event_id": "e8", "event_time": ""},
        {"event_id": "e9", "event_time": "x", "customer_id": "nobody"},
        {"event_id": "e10", "customer_id": "nobody"},
        {"event_id": "e1", "url": "", "duration_ms": "9"},
        {
            "event_id": "e2",
            "event_time": "2025-12-09T23:59:59Z",
            "duration_ms": "200 ",
            "event_type": "click",
        },
    )
    bench.put("events_raw.csv", events + "broken\nbroken\n")
    bench.put_feed(
        "orders",
        {"order_id": "o1", "amount": "10"},
        {"order_id": "o2", "amount": "20.5"},
        {"order_id": "o3", "amount": "30", "customer_id": "c2", "currency": "USD"},
        {"order_id": "o4", "amount": "", "status": "failed", "currency": "JPY"},
        {"order_id": "o5", "amount": "", "currency": ""},
    )
    return bench, bench.run_day()


EXPECTED: dict[tuple[str, str, str | None], float] = {
    ("customers", "total", None): 7,
    ("customers", "clean", None): 2,  # c1, and c2 with an e-mail
    ("customers", "quarantine", None): 4,  # c3, c4, the malformed one, c2 without an e-mail
    ("customers", "duplicate_full_row", None): 1,
    ("customers", "duplicate_id", None): 1,
    ("customers", "duplicate_full_row_rate", None): 1 / 7,
    ("customers", "duplicate_id_rate", None): 1 / 7,
    ("customers", "quarantine_rate", None): 4 / 7,
    ("customers", "invalid_timestamp_rate", None): 2 / 7,
    # Over the six rows that are not malformed, the copy included.
    ("customers", "null_rate", "customer_id"): 0,
    ("customers", "null_rate", "email"): 1 / 6,
    ("customers", "null_rate", "created_at"): 1 / 6,
    ("customers", "null_rate", "country"): 1 / 6,
    ("customers", "null_rate", "status"): 0,
    ("events", "total", None): 14,
    ("events", "clean", None): 7,  # e1 to e7
    ("events", "quarantine", None): 6,  # e8, e9, e10, the worse e1, two malformed
    ("events", "duplicate_full_row", None): 1,
    ("events", "duplicate_id", None): 1,
    ("events", "duplicate_full_row_rate", None): 1 / 14,
    ("events", "duplicate_id_rate", None): 1 / 14,
    ("events", "quarantine_rate", None): 6 / 14,
    ("events", "invalid_timestamp_rate", None): 2 / 14,
    ("events", "orphan_rate", None): 2 / 14,
    ("events", "active_customers", None): 3,
    ("events", "null_rate", "event_id"): 0,
    ("events", "null_rate", "customer_id"): 0,
    ("events", "null_rate", "event_time"): 1 / 12,
    ("events", "null_rate", "event_type"): 0,
    ("events", "null_rate", "platform"): 1 / 12,
    ("events", "null_rate", "session_id"): 0,
    ("events", "null_rate", "duration_ms"): 2 / 12,
    ("events", "by_event_type", "login"): 5,
    ("events", "by_event_type", "click"): 1,
    ("events", "by_event_type", "unknown"): 1,
    ("events", "by_platform", "web"): 5,
    ("events", "by_platform", "ios"): 1,
    ("events", "by_platform", "unknown"): 1,
    **{("events", "by_hour", hour): 0 for hour in HOURS},
    ("events", "by_hour", "04"): 2,  # e1 and e7; e6 is of the next day
    ("events", "by_hour", "23"): 1,  # e5; e2 and e4 are of days before
    ("events", "late_events", None): 3,
    ("events", "late_beyond_window", None): 1,
    # 0, 100, 200, 300, 1000
    ("events", "duration_ms_p50", None): 200,
    ("events", "duration_ms_p95", None): 860,
    ("orders", "total", None): 5,
    ("orders", "clean", None): 4,
    ("orders", "quarantine", None): 1,
    ("orders", "duplicate_full_row", None): 0,
    ("orders", "duplicate_id", None): 0,
    ("orders", "duplicate_full_row_rate", None): 0,
    ("orders", "duplicate_id_rate", None): 0,
    ("orders", "quarantine_rate", None): 1 / 5,
    ("orders", "invalid_timestamp_rate", None): 0,
    ("orders", "orphan_rate", None): 0,
    ("orders", "active_customers", None): 2,
    ("orders", "null_rate", "order_id"): 0,
    ("orders", "null_rate", "customer_id"): 0,
    ("orders", "null_rate", "order_time"): 0,
    ("orders", "null_rate", "amount"): 2 / 5,
    ("orders", "null_rate", "currency"): 1 / 5,
    ("orders", "null_rate", "status"): 0,
    ("orders", "by_status", "paid"): 3,
    ("orders", "by_status", "failed"): 1,
    # 10, 20.5, 30; JPY has no amount at all
    ("orders", "amount_p50", None): 20.5,
    ("orders", "amount_p95", None): 29.05,
    ("orders", "amount_p50", "EUR"): 15.25,
    ("orders", "amount_p95", "EUR"): 19.975,
    ("orders", "amount_p50", "USD"): 30,
    ("orders", "amount_p95", "USD"): 30,
}


@pytest.mark.parametrize("key", EXPECTED, ids=lambda key: "-".join(part or "all" for part in key))
def test_a_metric(key: tuple[str, str, str | None], messy: tuple[Workbench, DayRun]) -> None:
    assert messy[0].metrics()[key] == pytest.approx(EXPECTED[key], abs=1e-12)


def test_there_are_no_other_metrics(messy: tuple[Workbench, DayRun]) -> None:
    assert messy[0].metrics().keys() == EXPECTED.keys()


def test_metrics_are_ordered_and_tidy(messy: tuple[Workbench, DayRun]) -> None:
    rows = messy[0].rows("daily_metrics")
    keys = [(row["dataset"], row["metric"], row["dimension"] or "") for row in rows]
    assert keys == sorted(keys)
    assert all(row["ingest_date"] == DAY and isinstance(row["value"], float) for row in rows)


def test_a_day_of_nothing_is_measured(bench: Workbench) -> None:
    bench.run_day()
    measured = bench.metrics()
    assert set(measured.values()) == {0.0}
    feeds = {dataset for dataset, metric, _ in measured if metric == "total"}
    assert feeds == set(FEEDS)
    assert [dimension for _, metric, dimension in measured if metric == "by_hour"] == list(HOURS)
    absent = {
        "by_event_type",
        "by_platform",
        "by_status",
        "duration_ms_p50",
        "duration_ms_p95",
        "amount_p50",
        "amount_p95",
    }
    assert not absent & {metric for _, metric, _ in measured}


def test_null_rates_follow_the_required_columns(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, {"feeds": {"events": {"required": ["event_time", "customer_id", "event_id"]}}})
    bench.put_feed("events", {"platform": ""})
    bench.run_day()
    columns = [
        dimension for dataset, metric, dimension in bench.metrics() if (dataset, metric) == ("events", "null_rate")
    ]
    assert sorted(column or "" for column in columns) == ["customer_id", "event_id", "event_time"]


def test_the_late_window_is_policy(tmp_path: Path) -> None:
    found = {}
    for window in (0, 1, 2, 31):
        bench = Workbench(tmp_path / str(window), {"activity": {"late_window_days": window}})
        bench.put_feed("customers", {})
        lateness = [{"event_id": f"{late}", "event_time": f"{DAY - timedelta(days=late)}"} for late in (0, 1, 2, 3)]
        bench.put_feed("events", *lateness)
        bench.run_day()
        found[window] = bench.metrics()["events", "late_beyond_window", None]
        assert bench.metrics()["events", "late_events", None] == 3
    assert found == {0: 3, 1: 2, 2: 1, 31: 0}


@pytest.mark.parametrize(
    ("amounts", "p50", "p95"),
    [
        (["5"], 5, 5),
        (["1", "2"], 1.5, 1.95),
        (["1", "2", "3"], 2, 2.9),
        (["0.0001", "1000000"], 500000.00005, 950000.000005),
        ([str(number) for number in range(1, 102)], 51, 96),
    ],
)
def test_percentiles_are_interpolated_linearly(amounts: list[str], p50: float, p95: float, bench: Workbench) -> None:
    bench.put_feed("customers", {})
    bench.put_feed("orders", *({"order_id": f"o{n}", "amount": amount} for n, amount in enumerate(amounts)))
    bench.run_day()
    measured = bench.metrics()
    assert measured["orders", "amount_p50", None] == pytest.approx(p50, rel=1e-12)
    assert measured["orders", "amount_p95", None] == pytest.approx(p95, rel=1e-12)
    assert measured["orders", "amount_p95", "EUR"] == measured["orders", "amount_p95", None]


# -- the validation report -------------------------------------------------------------------------


def test_the_report_counts_what_happened(messy: tuple[Workbench, DayRun]) -> None:
    report = messy[1].report
    assert list(report) == ["ingest_date", "customers", "events", "orders"]
    assert report["ingest_date"] == "2025-12-10"
    events = {key: value for key, value in report["events"].items() if key != "files"}
    assert events == {
        "total": 14,
        "clean": 7,
        "quarantine": 6,
        "duplicates": {"full_row": 1, "id": 1},
        "quarantine_by_reason": {
            "duplicate_event_id": 1,
            "invalid_event_time": 1,
            "malformed_row": 2,
            "missing_event_time": 1,
            "orphan_customer_id": 2,
        },
        # Clean rows' warnings only.
        "warnings_by_reason": {"missing_platform": 1, "unknown_event_type": 1},
    }
    assert report["customers"]["warnings_by_reason"] == {"unknown_status": 1}
    assert report["orders"]["quarantine_by_reason"] == {"missing_amount": 1, "missing_currency": 1}
    assert report["orders"]["warnings_by_reason"] == {}


def test_the_reports_keys_are_the_contracts_in_its_order(messy: tuple[Workbench, DayRun]) -> None:
    for feed in FEEDS:
        of_feed = messy[1].report[feed]
        assert list(of_feed) == [
            "total", "clean", "quarantine", "duplicates", "quarantine_by_reason", "warnings_by_reason",
            "files",
        ]  # fmt: skip
        assert list(of_feed["duplicates"]) == ["full_row", "id"]
        for counts in (of_feed["quarantine_by_reason"], of_feed["warnings_by_reason"]):
            assert list(counts) == sorted(counts)
        for file in of_feed["files"]:
            assert list(file) == ["path", "sha256", "records", "status"]


def test_the_report_file_is_the_report(messy: tuple[Workbench, DayRun]) -> None:
    bench, run = messy
    files = bench.report_bytes()
    assert sorted(files) == ["alerts.json", "validation_report.json"]
    assert json.loads(files["validation_report.json"]) == run.report
    assert json.loads(files["alerts.json"]) == {"ingest_date": "2025-12-10", "alerts": run.alerts}


def test_files_are_listed_by_path_with_their_records(bench: Workbench) -> None:
    bench.put("hour=01/events_raw.csv", feed_csv("events", {}, {}))
    bench.put("events_raw_z.csv", b"")
    bench.put("events_raw_ü.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-1])
    bench.put("events_raw_B.csv", feed_csv("events", {"event_id": "e2"}) + "broken\n")
    files = bench.run_day().report["events"]["files"]
    listed = [(file["path"].partition("/")[2], file["records"], file["status"]) for file in files]
    assert listed == [
        ("events_raw_B.csv", 2, SUCCESS),
        ("events_raw_z.csv", 0, SUCCESS),
        ("events_raw_ü.csv.gz", 0, FAILED),
        ("hour=01/events_raw.csv", 2, SUCCESS),
    ]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [file["sha256"] for file in files if file["path"].endswith("z.csv")] == [empty]


def test_a_report_of_nothing(bench: Workbench) -> None:
    nothing = {
        "total": 0, "clean": 0, "quarantine": 0, "duplicates": {"full_row": 0, "id": 0},
        "quarantine_by_reason": {}, "warnings_by_reason": {}, "files": [],
    }  # fmt: skip
    assert bench.run_day().report == {
        "ingest_date": str(DAY),
        "customers": nothing,
        "events": nothing,
        "orders": nothing,
    }


def test_reports_have_the_same_bytes_everywhere_and_every_time(tmp_path: Path) -> None:
    """No clock, no host, no folder, no run id in them."""
    found = []
    for number in range(2):
        bench = Workbench(tmp_path / f"place-{number}", run=f"run-{number}")
        bench.put_feed("customers", {}, {"customer_id": "ü", "status": "x"})
        bench.put_feed("events", *({"event_id": f"e{n}", "event_type": f"{n % 3}"} for n in range(9)))
        bench.put("events_raw.csv.gz", b"")
        bench.run_day()
        found.append(bench.report_bytes())
        versions, commits = bench.versions(), bench.commits()
        bench.under({}).run_day()
        assert bench.report_bytes() == found[-1]
        assert (bench.versions(), bench.commits()) == (versions, commits)
    assert found[0] == found[1]
    for content in found[0].values():
        assert content.endswith(b"\n")
        assert str(tmp_path).encode() not in content
        assert b"run-" not in content


# -- alert rules -----------------------------------------------------------------------------------

Values = Mapping[tuple[str, str] | tuple[str, str, str], float]
FULL_HOURS: Values = {("events", "by_hour", hour): 1.0 for hour in HOURS}
QUIET: Values = {
    **{(feed, "total"): 100 for feed in FEEDS},
    **{(feed, metric): 0.0 for feed in FEEDS for metric in ("quarantine_rate", "duplicate_full_row", "duplicate_id")},
    **{(feed, "orphan_rate"): 0.0 for feed in ("events", "orders")},
    ("events", "late_beyond_window"): 0,
    **FULL_HOURS,
}
"""A day on which nothing is to tell."""


def frame(values: Values) -> pl.DataFrame:
    """A day's metrics."""
    return metrics_frame([(key[0], key[1], key[2] if len(key) > 2 else None, float(v)) for key, v in values.items()])


def file(path: str = "f.csv", status: str = SUCCESS, **rest: Any) -> FileRecord:
    """A file that was read, or not."""
    return FileRecord(path, "0" * 64, 1, status, **rest)


READ: Mapping[str, Sequence[FileRecord]] = {feed: [file(f"{feed}.csv", records=100)] for feed in FEEDS}


def verdicts(
    today: Values,
    before: Sequence[Values] = (),
    files: Mapping[str, Sequence[FileRecord]] | None = None,
    policy: Policy | None = None,
) -> list[Judgement]:
    """Every rule's verdict on a quiet day that has some other values, after some quiet days with others."""
    history = pl.concat([frame({**QUIET, **values}) for values in before]) if before else frame({})
    return judge(frame({**QUIET, **today}), history, {**READ, **(files or {})}, policy or load_policy())


def fired(*args: Any, **kwargs: Any) -> list[tuple[str, str, str]]:
    """Rule, severity and dataset of the verdicts that fired."""
    return [(v.spec.rule, v.severity, v.dataset) for v in verdicts(*args, **kwargs) if v.fired]


def history(metric: str, *values: float, feed: str = "events") -> list[Values]:
    """Some days before, quiet but for one metric."""
    return [{(feed, metric): value} for value in values]


def test_a_quiet_day_has_no_alerts() -> None:
    assert fired({}, [{}, {}, {}]) == []


# rule, severity, dataset, what is else today, the days before, whether it fires
THRESHOLDS: list[tuple[str, str, str, Values, list[Values], bool]] = [
    # A feed has no record for D.
    ("missing_feed", "high", "customers", {("customers", "total"): 0}, [], True),
    ("missing_feed", "high", "events", {("events", "total"): 0}, [], True),
    ("missing_feed", "high", "orders", {("orders", "total"): 0}, [], True),
    ("missing_feed", "high", "events", {("events", "total"): 1}, [], False),
    # More than 4 hours of D have no clean event.
    ("hourly_coverage", "medium", "events", {("events", "by_hour", h): 0 for h in HOURS[:4]}, [], False),
    ("hourly_coverage", "medium", "events", {("events", "by_hour", h): 0 for h in HOURS[:5]}, [], True),
    ("hourly_coverage", "medium", "events", {("events", "by_hour", h): 0 for h in HOURS}, [], True),
    # `total` more than 50 % below the median of the days before; at least 3 needed.
    ("volume_drop", "high", "events", {("events", "total"): 50}, history("total", 100, 100, 100), False),
    ("volume_drop", "high", "events", {("events", "total"): 49}, history("total", 100, 100, 100), True),
    ("volume_drop", "high", "events", {("events", "total"): 49}, history("total", 100, 100), False),
    ("volume_drop", "high", "events", {("events", "total"): 1}, [], False),
    ("volume_drop", "high", "events", {("events", "total"): 49}, history("total", 98, 1, 1000), False),
    ("volume_drop", "high", "events", {("events", "total"): 49}, history("total", 99, 1, 1000), True),
    # The median of an even number of days is the mean of the two in the middle: 50.
    ("volume_drop", "high", "events", {("events", "total"): 25}, history("total", 1, 40, 60, 99), False),
    ("volume_drop", "high", "events", {("events", "total"): 24}, history("total", 1, 40, 60, 99), True),
    ("volume_drop", "high", "customers", {("customers", "total"): 49}, history("total", 100, 100, 100), True),
    ("volume_drop", "high", "orders", {("orders", "total"): 49}, history("total", 100, 100, 100), True),
    # A day without the feed counts with total 0.
    ("volume_drop", "high", "events", {("events", "total"): 1}, history("total", 0, 0, 100), False),
    ("volume_drop", "high", "events", {("events", "total"): 0}, history("total", 100, 0, 100), True),
    # More than 3 times that median.
    ("volume_spike", "medium", "events", {("events", "total"): 300}, history("total", 100, 100, 100), False),
    ("volume_spike", "medium", "events", {("events", "total"): 301}, history("total", 100, 100, 100), True),
    ("volume_spike", "medium", "events", {("events", "total"): 301}, history("total", 100, 100), False),
    ("volume_spike", "medium", "events", {("events", "total"): 1}, history("total", 0, 0, 0), True),
    ("volume_spike", "medium", "orders", {("orders", "total"): 301}, [{}, {}, {}], True),
    ("volume_spike", "medium", "customers", {("customers", "total"): 301}, [{}, {}, {}], True),
    # More than 20 percentage points above the median rate; at least 3 days needed.
    ("quarantine_rate", "medium", "events", {("events", "quarantine_rate"): 0.2}, [{}, {}, {}], False),
    ("quarantine_rate", "medium", "events", {("events", "quarantine_rate"): 0.2001}, [{}, {}, {}], True),
    ("quarantine_rate", "medium", "events", {("events", "quarantine_rate"): 1}, [{}, {}], False),
    (
        "quarantine_rate",
        "medium",
        "events",
        {("events", "quarantine_rate"): 0.3},
        history("quarantine_rate", 0.1, 0.1, 0.9),
        False,
    ),
    (
        "quarantine_rate",
        "medium",
        "events",
        {("events", "quarantine_rate"): 0.31},
        history("quarantine_rate", 0.1, 0.1, 0.9),
        True,
    ),
    (
        "quarantine_rate",
        "medium",
        "events",
        {("events", "quarantine_rate"): 0.4},
        history("quarantine_rate", 0.2, 0.2, 0.2),
        False,
    ),
    ("quarantine_rate", "medium", "customers", {("customers", "quarantine_rate"): 0.5}, [{}, {}, {}], True),
    ("quarantine_rate", "medium", "orders", {("orders", "quarantine_rate"): 0.5}, [{}, {}, {}], True),
    # > 10 %.
    ("orphan_rate", "medium", "events", {("events", "orphan_rate"): 0.1}, [], False),
    ("orphan_rate", "medium", "events", {("events", "orphan_rate"): 0.101}, [], True),
    ("orphan_rate", "medium", "orders", {("orders", "orphan_rate"): 0.101}, [], True),
    # Full-row and id duplicates together > 20 % of total.
    (
        "duplicate_rate",
        "low",
        "events",
        {("events", "duplicate_full_row"): 15, ("events", "duplicate_id"): 5},
        [],
        False,
    ),
    (
        "duplicate_rate",
        "low",
        "events",
        {("events", "duplicate_full_row"): 15, ("events", "duplicate_id"): 6},
        [],
        True,
    ),
    ("duplicate_rate", "low", "orders", {("orders", "duplicate_full_row"): 21}, [], True),
    ("duplicate_rate", "low", "customers", {("customers", "duplicate_id"): 21}, [], True),
    ("duplicate_rate", "low", "events", {("events", "total"): 0}, [], False),
    # Any.
    ("late_beyond_window", "low", "events", {("events", "late_beyond_window"): 1}, [], True),
]


@pytest.mark.parametrize(("rule", "severity", "dataset", "today", "before", "fires"), THRESHOLDS)
def test_a_rule_at_its_threshold(
    rule: str, severity: str, dataset: str, today: Values, before: list[Values], fires: bool
) -> None:
    assert ((rule, severity, dataset) in fired(today, before)) == fires


@pytest.mark.parametrize(("rule", "severity", "dataset", "today", "before"), [row[:5] for row in THRESHOLDS if row[5]])
def test_a_rule_speaks_of_its_own_feed_and_can_be_turned_off(
    rule: str, severity: str, dataset: str, today: Values, before: list[Values]
) -> None:
    datasets = [alert[2] for alert in fired(today, before) if alert[0] == rule]
    assert datasets == [dataset]
    off = load_policy(overlay={"alerts": {rule: {"enabled": False}}})
    assert [alert for alert in fired(today, before, policy=off) if alert[0] == rule] == []
    louder = load_policy(overlay={"alerts": {rule: {"severity": "low" if severity == "high" else "high"}}})
    assert [alert[1] for alert in fired(today, before, policy=louder) if alert[0] == rule] != [severity]


# rule, its setting, another value, what is else today, the days before, whether it fires then
TUNED: list[tuple[str, str, float, Values, list[Values], bool]] = [
    ("hourly_coverage", "max_missing_hours", 0, {("events", "by_hour", "03"): 0}, [], True),
    ("hourly_coverage", "max_missing_hours", 24, {("events", "by_hour", h): 0 for h in HOURS}, [], False),
    ("volume_drop", "max_drop", 0.9, {("events", "total"): 10}, [{}, {}, {}], False),
    ("volume_drop", "max_drop", 0.9, {("events", "total"): 9}, [{}, {}, {}], True),
    ("volume_drop", "max_drop", 0, {("events", "total"): 99}, [{}, {}, {}], True),
    ("volume_drop", "max_drop", 1, {("events", "total"): 0}, [{}, {}, {}], False),
    ("volume_spike", "max_ratio", 1.1, {("events", "total"): 110}, [{}, {}, {}], False),
    ("volume_spike", "max_ratio", 1.1, {("events", "total"): 111}, [{}, {}, {}], True),
    ("quarantine_rate", "max_points_above", 0.05, {("events", "quarantine_rate"): 0.051}, [{}, {}, {}], True),
    ("quarantine_rate", "max_points_above", 0.5, {("events", "quarantine_rate"): 0.5}, [{}, {}, {}], False),
    ("orphan_rate", "max_rate", 0, {("events", "orphan_rate"): 0.001}, [], True),
    ("orphan_rate", "max_rate", 0.5, {("events", "orphan_rate"): 0.5}, [], False),
    ("duplicate_rate", "max_rate", 0.3, {("events", "duplicate_id"): 30}, [], False),
    ("duplicate_rate", "max_rate", 0.29, {("events", "duplicate_id"): 30}, [], True),
    ("late_beyond_window", "max_events", 5, {("events", "late_beyond_window"): 5}, [], False),
    ("late_beyond_window", "max_events", 5, {("events", "late_beyond_window"): 6}, [], True),
]


@pytest.mark.parametrize(("rule", "setting", "value", "today", "before", "fires"), TUNED)
def test_a_rule_can_be_tuned(
    rule: str, setting: str, value: float, today: Values, before: list[Values], fires: bool
) -> None:
    tuned = load_policy(overlay={"alerts": {rule: {setting: value}}})
    assert (rule in [alert[0] for alert in fired(today, before, policy=tuned)]) == fires


@pytest.mark.parametrize(
    ("least", "days", "fires"),
    [(3, 2, False), (3, 3, True), (1, 1, True), (1, 0, False), (5, 4, False), (5, 5, True)],
)
def test_how_many_days_a_median_needs_is_policy(least: int, days: int, fires: bool) -> None:
    tuned = load_policy(overlay={"alerts": {"min_history_days": least}})
    today: Values = {("events", "total"): 1, ("orders", "total"): 1000, ("customers", "quarantine_rate"): 1}
    expected = ["quarantine_rate", "volume_drop", "volume_spike"] if fires else []
    assert [rule for rule, *_ in fired(today, [{}] * days, policy=tuned)] == expected


FILES: list[tuple[str, Mapping[str, Sequence[FileRecord]], list[str], dict[str, Any]]] = [
    ("failed_file", {"events": [file("a", FAILED, error="torn")]}, ["events"], {"files": {"a": "torn"}}),
    (
        "failed_file",
        {"orders": [file("b"), file("a", FAILED, error="x"), file("c", FAILED, error="y")]},
        ["orders"],
        {"files": {"a": "x", "c": "y"}},
    ),
    ("failed_file", {"events": [file("a", "PROCESSING")]}, [], {}),
    (
        "schema_drift",
        {"events": [file("a", unknown_columns=("mood",))]},
        ["events"],
        {"files": {"a": {"missing": [], "unknown": ["mood"]}}},
    ),
    (
        "schema_drift",
        {"events": [file("b"), file("a", absent_columns=("url", "platform"), unknown_columns=("z", "b"))]},
        ["events"],
        {"files": {"a": {"missing": ["platform"], "unknown": ["b", "z"]}}},
    ),
    ("schema_drift", {"events": [file("a", absent_columns=("url", "ingest_date"))]}, [], {}),
    (
        "schema_drift",
        {"events": [file("a", FAILED, absent_columns=("platform",), unknown_columns=("x",))]},
        [],
        {},
    ),
    (
        "schema_drift",
        {"customers": [file("a", absent_columns=("email",))]},
        ["customers"],
        {"files": {"a": {"missing": ["email"], "unknown": []}}},
    ),
]


@pytest.mark.parametrize(("rule", "files", "datasets", "details"), FILES)
def test_rules_about_files(
    rule: str, files: Mapping[str, Sequence[FileRecord]], datasets: list[str], details: dict[str, Any]
) -> None:
    found = [verdict for verdict in verdicts({}, files=files) if verdict.spec.rule == rule and verdict.fired]
    assert [verdict.dataset for verdict in found] == datasets
    assert [verdict.details for verdict in found] == [details] * len(datasets)
    off = load_policy(overlay={"alerts": {rule: {"enabled": False}}})
    assert rule not in [alert[0] for alert in fired({}, files=files, policy=off)]


def test_schema_drift_follows_the_required_columns() -> None:
    small = load_policy(overlay={"feeds": {"events": {"required": ["event_id", "customer_id", "event_time"]}}})
    files = {"events": [file("a", absent_columns=("event_type", "platform", "session_id", "duration_ms", "url"))]}
    assert fired({}, files=files, policy=small) == []


def test_missing_hours_are_listed() -> None:
    gone = ("01", "02", "03", "04", "05", "23")
    (verdict,) = [v for v in verdicts({("events", "by_hour", hour): 0 for hour in gone}) if v.fired]
    assert verdict.details["missing_hours"] == list(gone)


def test_every_rule_judges_its_feeds_and_is_sorted() -> None:
    judged = [(verdict.spec.rule, verdict.dataset) for verdict in verdicts({})]
    every = [
        "duplicate_rate",
        "failed_file",
        "missing_feed",
        "quarantine_rate",
        "schema_drift",
        "volume_drop",
        "volume_spike",
    ]
    assert judged == sorted(
        [(rule, feed) for rule in every for feed in FEEDS]
        + [("orphan_rate", "events"), ("orphan_rate", "orders")]
        + [("hourly_coverage", "events"), ("late_beyond_window", "events")]
    )


# -- alerts of whole days --------------------------------------------------------------------------


def test_a_feed_without_a_record_is_missing_next_to_the_other_rules(bench: Workbench) -> None:
    bench.put("customers_raw.csv", b"")
    bench.put("events_raw.csv.gz", b"")
    assert bench.run_day().fired() == [
        ("failed_file", "high", "events"),
        ("hourly_coverage", "medium", "events"),
        ("missing_feed", "high", "customers"),
        ("missing_feed", "high", "events"),
        ("missing_feed", "high", "orders"),
    ]


def test_a_header_alone_is_no_record_and_still_drifts(bench: Workbench) -> None:
    bench.put("orders_raw.csv", b"order_id,customer_id,order_time,amount,currency,mood\n")
    found = [alert for alert in bench.run_day().fired() if alert[2] == "orders"]
    assert found == [("missing_feed", "high", "orders"), ("schema_drift", "medium", "orders")]


def test_an_alert_is_told_in_both_places_alike(messy: tuple[Workbench, DayRun]) -> None:
    bench, run = messy
    rows = bench.rows("alerts")
    keys = ("rule", "severity", "dataset", "message", "details")
    assert [{**{key: row[key] for key in keys}, "details": json.loads(row["details"])} for row in rows] == run.alerts
    assert [list(alert) for alert in run.alerts] == [list(keys)] * len(run.alerts)
    order = [(alert["rule"], alert["dataset"]) for alert in run.alerts]
    assert order == sorted(set(order))
    assert run.fired() == [
        ("duplicate_rate", "low", "customers"),
        ("hourly_coverage", "medium", "events"),
        ("late_beyond_window", "low", "events"),
        ("orphan_rate", "medium", "events"),
    ]
    assert all(row["ingest_date"] == DAY for row in rows)


def _measured(bench: Workbench, day: date, events: float) -> None:
    """Give `day` metrics of a quiet day with so many events."""
    with bench.work.lake.replace(DAILY_METRICS.name, day) as writer:
        writer.write(frame({**QUIET, ("events", "total"): events}))


@pytest.mark.parametrize(
    ("back", "fires"),
    [
        ([1, 2, 3], True),
        ([5, 6, 7], True),
        ([1, 4, 7], True),
        ([6, 7], False),
        ([6, 7, 8], False),  # the eighth day back is too long ago
        ([7, 8, 9, 10], False),
        ([-1, -2, -3], False),  # later days tell nothing
        ([0, 1, 2], False),  # nor does the day itself
    ],
)
def test_the_days_before_are_the_seven_calendar_days_before(back: list[int], fires: bool, bench: Workbench) -> None:
    for days in back:
        _measured(bench, DAY - timedelta(days=days), events=100)
    _measured(bench, DAY, events=49)
    rules = [alert["rule"] for alert in raise_alerts(bench.work, DAY)]
    assert ("volume_drop" in rules) == fires


def test_how_far_back_is_policy(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, {"alerts": {"history_days": 3}})
    for days in (2, 3, 4):
        _measured(bench, DAY - timedelta(days=days), events=100)
    _measured(bench, DAY, events=49)
    assert "volume_drop" not in [alert["rule"] for alert in raise_alerts(bench.work, DAY)]
    _measured(bench, DAY - timedelta(days=1), events=100)
    assert "volume_drop" in [alert["rule"] for alert in raise_alerts(bench.work, DAY)]


def test_an_alert_that_no_longer_holds_is_gone_after_a_rerun(bench: Workbench) -> None:
    """An empty answer is an answer."""
    bench.put_feed("customers", {})
    assert ("missing_feed", "high", "orders") in bench.run_day().fired()
    hourly = [{"event_id": f"e{hour}", "event_time": f"{DAY}T{hour}:00:00Z"} for hour in HOURS]
    bench.put_feed("events", *hourly)
    bench.put_feed("orders", {})
    assert bench.run_day().fired() == []
    assert bench.rows(ALERTS.name) == []
    assert json.loads(bench.report_bytes()["alerts.json"]) == {"ingest_date": str(DAY), "alerts": []}


def test_volumes_over_real_days(bench: Workbench) -> None:
    """Four days, the last with a fifth of the events; a day without the feed counts with 0."""
    counts = [10, 10, 0, 2]
    fired_on = {}
    for day, count in zip(days_from(DAY, 4), counts, strict=True):
        bench.put_feed("customers", {"customer_id": "c1"}, day=day)
        rows = [{"event_id": f"e{n}", "event_time": f"{day}T0{n % 10}:00:00Z"} for n in range(count)]
        bench.put("events_raw.csv", feed_csv("events", *rows, columns=list(GOOD["events"])), day)
        fired_on[day] = [rule for rule, _, dataset in bench.run_day(day).fired() if dataset == "events"]
    assert fired_on == dict(
        zip(
            days_from(DAY, 4),
            [
                ["hourly_coverage"],
                ["hourly_coverage"],
                ["hourly_coverage", "missing_feed"],
                ["hourly_coverage", "volume_drop"],
            ],
            strict=True,
        )
    )
