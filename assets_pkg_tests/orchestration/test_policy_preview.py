"""`policy preview`: what it says would happen is what a run under that policy does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assets_pkg.contracts.feeds import EVENTS, FEEDS, ORDERS
from assets_pkg.steps.preview import Change, preview_policy
from assets_pkg_tests.orchestration.test_cli import told_here
from assets_pkg_tests.workbench import DAY, Workbench, customers_csv, feed_csv


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A processed day: events of an odd duration, platform and customer, orders with a column of another name."""
    bench = Workbench(tmp_path)
    bench.put("customers_raw.csv", customers_csv("c1"))
    odd = {"event_id": "long", "duration_ms": "90000000"}, {"event_id": "tv", "platform": "smart_tv"}
    bench.put_feed("events", {"event_id": "good"}, *odd, {"event_id": "orphan", "customer_id": "nobody"})
    orders = feed_csv("orders", {"order_id": "o1"}, {"order_id": "o2"})
    bench.put("orders_raw.csv", orders.replace("amount", "total"))
    bench.clean_feeds()
    return bench


def moved(bench: Workbench, overlay: dict[str, object]) -> tuple[int, int]:
    """How many events come to quarantine and to clean when the day is run under a policy."""
    before = {row["event_id"] for row in bench.rows("events_clean")}
    other = bench.under(overlay)
    other.clean_feeds()
    after = {row["event_id"] for row in other.rows("events_clean")}
    return len(before - after), len(after - before)


@pytest.mark.parametrize(
    ("overlay", "to_quarantine", "to_clean", "changes"),
    [
        pytest.param({}, 0, 0, [], id="as it is"),
        pytest.param(
            {"categories": {"platform": {"aliases": {"smart_tv": "web"}}}},
            0,
            0,
            [Change("warning", "unknown_platform", 1, 0)],
            id="a new name",
        ),
        pytest.param(
            {"feeds": {"events": {"check_orphans": False}}},
            0,
            1,
            [Change("reason", "orphan_customer_id", 1, 0)],
            id="orphans are all right",
        ),
        pytest.param(
            {"values": {"null_tokens": ["good"]}}, 1, 0, [Change("reason", "missing_event_id", 0, 1)], id="no value"
        ),
    ],
)
def test_what_is_said_is_what_a_run_does(
    bench: Workbench, overlay: dict[str, object], to_quarantine: int, to_clean: int, changes: list[Change]
) -> None:
    versions = bench.versions()
    found = preview_policy(bench.under(overlay).work, EVENTS, DAY)
    assert bench.versions() == versions, "nothing is written"
    assert (found.to_quarantine, found.to_clean, found.changes, found.unread) == (to_quarantine, to_clean, changes, [])
    assert moved(bench, overlay) == (to_quarantine, to_clean)


def test_files_that_would_be_read_otherwise_are_named_and_nothing_is_promised(bench: Workbench) -> None:
    overlay = {"feeds": {"orders": {"aliases": {"amount": ["total"]}}}}
    assert bench.rows("orders_clean") == []
    found = preview_policy(bench.under(overlay).work, ORDERS, DAY)
    assert found.unread == [f"ingest_date={DAY}/orders_raw.csv"]
    (bench.folder / "p.yaml").write_text("feeds: {orders: {aliases: {amount: [total]}}}")
    said = said_by(bench)("policy", "preview", "--date", str(DAY), "--policy", str(bench.folder / "p.yaml"))
    assert f"Not previewed: ingest_date={DAY}/orders_raw.csv would be read again" in said
    assert "No row would move" not in said
    other = bench.under(overlay)
    other.clean_feeds(DAY, tuple(FEEDS.values()))
    assert len(other.rows("orders_clean")) == 2


def said_by(bench: Workbench) -> Callable[..., str]:
    """What a command that succeeds prints, in one line."""

    def command(*arguments: str) -> str:
        result = told_here(bench.folder, *arguments, PIPELINE_DATA_DIR=str(bench.settings.data_dir))
        assert result.returncode == 0, result.stderr
        return " ".join(result.stdout.split())

    return command
