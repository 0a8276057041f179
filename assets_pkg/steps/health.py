"""Which partitions want something: missing, lost or not built from what lies there now. Only logs are read."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from assets_pkg.contracts.feeds import FEEDS, Feed
from assets_pkg.contracts.tables import ALERTS, CUSTOMERS_KNOWN, DAILY_METRICS
from assets_pkg.steps.activity import STAGES
from assets_pkg.steps.arrivals import arrivals, days_there, due
from assets_pkg.steps.clean import clean_inputs
from assets_pkg.steps.files import files_read_otherwise
from assets_pkg.steps.known import up_to_date
from assets_pkg.steps.provenance import is_built_from
from assets_pkg.steps.reports import judged_from, measured_from, report_paths
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.ledger import is_there
from assets_pkg.transforms.windows import Window

MISSING: Final = "missing"  # never made, though there is what it is made from
LOST: Final = "lost"  # a data file is gone, or cut off
STALE: Final = "stale"  # what it is made from has changed since


@dataclass(frozen=True)
class Ailment:
    """What a partition wants. `axis`: the column that the table is partitioned by."""

    asset: str
    day: date
    state: str
    why: str


def ailing_partitions(work: Workplace, now: datetime) -> list[Ailment]:
    """All partitions of both axes that want something, by asset and day; `work` may be frozen. Raises LedgerError."""
    found = [*_of_ingest_dates(work, now), *_of_event_dates(work)]
    return sorted(found, key=lambda each: (each.asset, each.day))


def _of_ingest_dates(work: Workplace, now: datetime) -> Iterator[Ailment]:
    days = set(days_there(work, now.date())[0])
    for feed in FEEDS.values():
        days |= work.lake.partitions(feed.raw).keys()
    for day in _holes(days):
        if all(due(work.policy, feed, day) < now for feed in FEEDS):
            yield from (Ailment(feed.raw, day, MISSING, "nothing came: there is no folder") for feed in FEEDS.values())
    known = up_to_date(work, days)
    pending = work.ledger.pending_days() if is_there(work.settings.ledger) else {}
    for day in sorted(days):
        new = arrivals(work, day, now)
        if not new.processed and new.waits_for(work.policy, now):
            continue  # its files are still coming
        for feed in FEEDS.values():
            files = [file.path for file in (*new.changed, *new.growing) if file.feed is feed]
            why = f"files are new or changed: {', '.join(files)}" if files else ""
            why = why or ("content of its files came or went under another path" if day in pending else "")
            why = why or ("the policy reads its files otherwise" if files_read_otherwise(work, feed, day) else "")
            yield from _ailment(work, feed.raw, day, why)
            yield from _cleaned(work, feed, day)
        yield from _ailment(work, CUSTOMERS_KNOWN.name, day, "" if day in known else "customers up to it have changed")
        measured = is_built_from(work, DAILY_METRICS.name, day, measured_from(work, day))
        yield from _ailment(work, DAILY_METRICS.name, day, "" if measured else "clean tables or counts have changed")
        judged = is_built_from(work, ALERTS.name, day, judged_from(work, day))
        yield from _ailment(work, ALERTS.name, day, "" if judged else "metrics, files or the policy have changed")
        if work.lake.version(ALERTS.name, day) is not None:
            for asset, path in report_paths(work, day).items():
                if not path.is_file():
                    yield Ailment(asset, day, LOST, f"{path.name} is gone")


def _holes(days: Collection[date]) -> list[date]:
    """The days between the first and the last of some that are none of them."""
    return sorted({*Window(0, (max(days) - min(days)).days).of(min(days))} - {*days}) if days else []


def _cleaned(work: Workplace, feed: Feed, day: date) -> Iterator[Ailment]:
    inputs = clean_inputs(work, feed, day)
    for table in (feed.clean_table, feed.quarantine, feed.profile):
        current = is_built_from(work, table, day, inputs)
        yield from _ailment(work, table, day, "" if current else "raw rows, known customers or the policy have changed")


def _of_event_dates(work: Workplace) -> Iterator[Ailment]:
    for stage in STAGES:
        for day in stage.all_stale(work):
            for table in stage.names:
                yield from _ailment(work, table, day, "what it is made from has changed")


def _ailment(work: Workplace, table: str, day: date, why_stale: str) -> Iterable[Ailment]:
    if work.lake.version(table, day) is None:
        return [Ailment(table, day, MISSING, "it was never made")]
    if not work.lake.is_whole(table, day):
        return [Ailment(table, day, LOST, "a data file is gone or cut off")]
    return [Ailment(table, day, STALE, why_stale)] if why_stale else []
