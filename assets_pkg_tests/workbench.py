"""A pipeline in a folder of its own, driven step by step without Dagster; what makes tests of it short."""

import csv
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.contracts.files import FAILED, SKIPPED, FileRecord
from assets_pkg.contracts.tables import INGEST_TABLES
from assets_pkg.policy import load_policy
from assets_pkg.settings import Settings
from assets_pkg.steps.clean import clean
from assets_pkg.steps.known import know_customers
from assets_pkg.steps.raw import RawDay, land_raw
from assets_pkg.steps.reports import measure, raise_alerts, write_page, write_report
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import Partition
from assets_pkg_tests.reference.day import Day, alerts, build_day
from assets_pkg_tests.reference.summary import Metric

ROOT: Final = Path(__file__).resolve().parents[1]
SAMPLES: Final = ROOT / ".." / "shared" / "samples"
DAY: Final = date(2025, 12, 10)

Row = dict[str, Any]
Alert = tuple[str, str, str]  # rule, severity, dataset

# One row of each feed that nothing is wrong with.
GOOD: Final[dict[str, dict[str, str]]] = {
    "customers": {
        "customer_id": "c1",
        "email": "ann@example.com",
        "created_at": "2025-01-02T03:04:05Z",
        "country": "DE",
        "status": "active",
    },
    "events": {
        "event_id": "e1",
        "customer_id": "c1",
        "event_time": "2025-12-10T04:21:24Z",
        "event_type": "login",
        "platform": "web",
        "session_id": "s1",
        "duration_ms": "1200",
        "url": "https://shop.example/",
    },
    "orders": {
        "order_id": "o1",
        "customer_id": "c1",
        "order_time": "2025-12-10T05:00:00Z",
        "amount": "19.99",
        "currency": "EUR",
        "status": "paid",
    },
}


def csv_of(rows: Iterable[Mapping[str, str]], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV text; the header is `columns`, or the first row's keys. A key that a row lacks is empty."""
    rows = list(rows)
    names = list(columns if columns is not None else rows[0])
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def feed_csv(feed: str, *rows: Mapping[str, str], columns: Sequence[str] | None = None) -> str:
    """CSV text of a feed: each row is the good one with some columns changed."""
    return csv_of([{**GOOD[feed], **row} for row in rows], columns or list(GOOD[feed]))


def customers_csv(*ids: str) -> str:
    """A customers file that names these ids and has nothing wrong."""
    return feed_csv("customers", *({"customer_id": each, "email": f"{each}@example.com"} for each in ids))


def at(text: str) -> datetime:
    """An instant from ISO text; UTC when it names no zone."""
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)


def days_from(day: date, count: int) -> list[date]:
    """Some days in a row."""
    return [day + timedelta(days=number) for number in range(count)]


@dataclass(frozen=True)
class DayRun:
    """What a run of one ingest date gave."""

    report: dict[str, Any]
    alerts: list[dict[str, Any]]

    def fired(self) -> list[Alert]:
        """The alerts, without message and details."""
        return [(alert["rule"], alert["severity"], alert["dataset"]) for alert in self.alerts]


class Workbench:
    """A pipeline under `folder`; `overlay` is laid over the default policy."""

    def __init__(
        self,
        folder: Path,
        overlay: dict[str, Any] | None = None,
        run: str = "a-run",
        ledger_url: str | None = None,
    ) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "data", reports_dir=folder / "reports", ledger_url=ledger_url)
        self.work = Workplace(self.settings, load_policy(overlay=overlay), run)

    def under(self, overlay: dict[str, Any]) -> "Workbench":
        """The same data under another policy."""
        return Workbench(self.folder, overlay, ledger_url=self.settings.ledger_url)

    # -- raw files --------------------------------------------------------------------------------------

    def put(self, name: str, content: str | bytes, day: date = DAY) -> str:
        """Write a raw file of `day`; gives its `source_file`."""
        source = f"ingest_date={day.isoformat()}/{name}"
        location = self.settings.raw_dir / source
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content if isinstance(content, bytes) else content.encode())
        return source

    def put_feed(self, feed: str, *rows: Mapping[str, str], day: date = DAY, name: str | None = None) -> str:
        """Write a CSV file of `day`: each row is the good one with some columns changed."""
        return self.put(name or f"{feed}_raw.csv", feed_csv(feed, *rows), day)

    def raw_bytes(self, day: date) -> dict[str, bytes]:
        """All raw files of `day`, as the oracle takes them."""
        root = self.settings.raw_dir
        found = sorted((root / f"ingest_date={day.isoformat()}").rglob("*"))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in found if path.is_file()}

    # -- steps ------------------------------------------------------------------------------------------

    def land(self, feed: Feed, day: date = DAY) -> RawDay:
        """The raw step of one feed."""
        return land_raw(self.work, feed, day)

    def clean_feeds(self, day: date = DAY, feeds: Sequence[Feed] = (CUSTOMERS, EVENTS, ORDERS)) -> None:
        """Raw and clean of some feeds, and the customers known."""
        for feed in feeds:
            self.land(feed, day)
        for feed in feeds:
            clean(self.work, feed, day)
            if feed is CUSTOMERS:
                know_customers(self.work, day)

    def run_day(self, day: date = DAY, *, with_page: bool = False) -> DayRun:
        """Every step of an ingest date, in order; the page for people only on request, as it takes its time."""
        self.clean_feeds(day)
        report = write_report(self.work, day)
        measure(self.work, day)
        alerts = raise_alerts(self.work, day)
        if with_page:
            write_page(self.work, day)
        self.work.ledger.day_done(day)
        return DayRun(report, alerts)

    # -- what came out ----------------------------------------------------------------------------------

    def rows(self, table: str, day: date = DAY) -> list[Row]:
        """The rows of a partition."""
        return self.work.lake.scan(table, [day]).collect().rows(named=True)

    def by_address(self, table: str, day: date = DAY) -> dict[tuple[str, int], Row]:
        """The rows of a partition by (source_file, source_row)."""
        return {(row["source_file"], row["source_row"]): row for row in self.rows(table, day)}

    def files(self, feed: Feed, day: date = DAY) -> list[FileRecord]:
        """What the ledger says of a feed's day."""
        return self.work.ledger.records(feed.name, day)

    def metrics(self, day: date = DAY) -> dict[tuple[str, str, str | None], float]:
        """The day's metrics by (dataset, metric, dimension)."""
        found = self.rows("daily_metrics", day)
        values = {(row["dataset"], row["metric"], row["dimension"]): row["value"] for row in found}
        assert len(values) == len(found), "a metric stands twice in daily_metrics"
        return values

    def report_bytes(self, day: date = DAY) -> dict[str, bytes]:
        """The day's report files."""
        folder = self.settings.reports_dir / f"ingest_date={day.isoformat()}"
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def versions(self) -> dict[str, dict[date, Partition]]:
        """The content version of every partition of every table."""
        return {table: self.work.lake.partitions(table) for table in INGEST_TABLES}

    def commits(self) -> dict[str, int]:
        """How many commits each table's log has."""
        logs = self.settings.lake_dir.glob("*/_delta_log")
        return {log.parent.name: len(list(log.glob("*.json"))) for log in logs}


# -- the oracle ------------------------------------------------------------------------------------


def differences_from_oracle(bench: Workbench, runs: Mapping[date, DayRun]) -> list[str]:
    """Where tables, reports, metrics and alerts of some days, run in this order, differ from the oracle's."""
    raw = {day: _without_skipped(bench.raw_bytes(day), run) for day, run in runs.items()}
    measured: dict[date, Sequence[Metric]] = {}
    found: list[str] = []
    for day, run in runs.items():
        expected = build_day(day, raw)
        found += [f"{day} {fault}" for fault in _of_tables(bench, day, expected)]
        found += [f"{day} {fault}" for fault in _of_day(bench, day, run, expected)]
        theirs = [(a["rule"], a["severity"], a["dataset"]) for a in alerts(expected, measured)]
        if run.fired() != theirs:
            found.append(f"{day} alerts: {run.fired()}, oracle {theirs}")
        measured[day] = expected.metrics
    return found


def _without_skipped(files: dict[str, bytes], run: DayRun) -> dict[str, bytes]:
    """The oracle knows no ledger and reads all it is given; a file skipped for its content gave no row."""
    listed = [file for feed in FEEDS for file in run.report[feed]["files"]]
    skipped = {file["path"] for file in listed if file["status"] == SKIPPED}
    return {path: content for path, content in files.items() if path not in skipped}


def _of_tables(bench: Workbench, day: date, expected: Day) -> list[str]:
    found = []
    for name, feed in FEEDS.items():
        of_feed = expected.feeds[name]
        tables = (
            (feed.raw, of_feed.raw),
            (feed.clean_table, of_feed.clean),
            (feed.quarantine, of_feed.quarantine),
        )
        for table, rows in tables:
            ours = bench.by_address(table, day)
            theirs = {(row["source_file"], row["source_row"]): row for row in rows}
            if ours.keys() != theirs.keys():
                found.append(f"{table}: rows differ at {sorted(ours.keys() ^ theirs.keys())[:5]}")
            for address in ours.keys() & theirs.keys():
                for column, value in theirs[address].items():
                    mine = ours[address][column]
                    if _value(column, mine) != _value(column, value):
                        found.append(f"{table} {address} {column}: {mine!r}, oracle {value!r}")
    return found


def _of_day(bench: Workbench, day: date, run: DayRun, expected: Day) -> list[str]:
    found = []
    for name in FEEDS:
        ours = {key: value for key, value in run.report[name].items() if key != "files"}
        if ours != expected.report[name]:
            found.append(f"report of {name}: {ours}, oracle {expected.report[name]}")
        failed = [file["path"] for file in run.report[name]["files"] if file["status"] == FAILED]
        if failed != sorted(expected.feeds[name].failed_files):
            found.append(f"failed files of {name}: {failed}, oracle {expected.feeds[name].failed_files}")
    measured = bench.metrics(day)
    for metric in expected.metrics:
        value = measured.pop((metric.dataset, metric.metric, metric.dimension), None)
        if value is None or abs(value - metric.value) > 1e-9 * max(1.0, abs(metric.value)):
            found.append(f"metric {metric[:3]}: {value}, oracle {metric.value}")
    found += [f"metric {key}: {value}, oracle has none" for key, value in measured.items()]
    known = {row["customer_id"]: row for row in bench.rows("customers_known", day)}
    if known.keys() != expected.known.keys():
        found.append(f"customers_known differs at {sorted(known.keys() ^ expected.known.keys())[:5]}")
    for customer in known.keys() & expected.known.keys():
        for column, value in expected.known[customer].items():
            if known[customer][column] != value:
                found.append(f"customers_known {customer} {column}: {known[customer][column]!r}, oracle {value!r}")
    return found


def _value(column: str, value: Any) -> Any:
    """JSON texts are equal when what they say is."""
    return json.loads(value) if column == "extra" and value is not None else value


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def at_once(program: str, arguments: Iterable[Sequence[str]]) -> list[str]:
    """What processes of a program printed that began their work together; each has ended well.

    The program says "ready", waits for a line, and works.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *each],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return printed
