"""The asset graph by ingest date: what each table is made from, and the step that makes it, for one day or many."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from assets_pkg.contracts.feeds import CUSTOMERS, FEEDS, Feed
from assets_pkg.contracts.files import FAILED
from assets_pkg.contracts.rules import duplicate_of
from assets_pkg.contracts.tables import ALERTS, CUSTOMERS_KNOWN, DAILY_METRICS, EVENT_DATE, TABLES
from assets_pkg.orchestration.materialize import Materializations
from assets_pkg.orchestration.metadata import ROW_COUNT, asset_spec_metadata, frame, picture, records
from assets_pkg.orchestration.partitions import BACKFILL, event_dates, ingest_dates
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_of
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.report.charts import hours_chart, standing_alone
from assets_pkg.report.page import hourly_events, hours_said
from assets_pkg.settings import Settings
from assets_pkg.steps.checks import preview
from assets_pkg.steps.clean import clean
from assets_pkg.steps.files import file_lives
from assets_pkg.steps.known import know_customers
from assets_pkg.steps.provenance import code_digest, page_digest
from assets_pkg.steps.raw import land_raw
from assets_pkg.steps.reports import (
    DAY_REPORT,
    VALIDATION_REPORT,
    measure,
    raise_alerts,
    report_paths,
    write_page,
    write_report,
)
from assets_pkg.storage.raw_files import unrecognised_files
from assets_pkg.transforms.metrics import HOURS, Profile
from assets_pkg.transforms.split import CLEAN, FULL_ROW, QUARANTINE, REASON, TOTAL, WARNING

_TOP_REASONS = 5
_LEDGER_COLUMNS = ["path", "status", "records", "bytes", "attempts", "duplicate_of", "error", "content_sha256"]
_FILE_COLUMNS = ["path", "status", "records", "clean", "quarantine", "id_duplicates", "full_row_duplicates", "note"]


@dataclass(frozen=True)
class Graph:
    """What all assets share: the days of both axes, and the policy that decides what they hold."""

    settings: Settings
    policy: Policy

    @cached_property
    def ingest_dates(self) -> dg.DailyPartitionsDefinition:
        """The partitions of what is keyed by the day a file landed."""
        return ingest_dates(self.settings)

    @cached_property
    def event_dates(self) -> dg.DailyPartitionsDefinition:
        """The partitions of what is keyed by the day it happened."""
        return event_dates(self.settings, self.policy)

    def spec(
        self,
        name: str,
        group: str,
        decided_by: str,
        deps: list[Any],
        meaning: str = "",
        automation: dg.AutomationCondition[dg.AssetKey] | None = None,
        kinds: set[str] | None = None,
    ) -> dg.AssetSpec:
        """An asset. `decided_by` is a digest of the policy it depends on: when it changes, the UI shows it as stale."""
        table = TABLES.get(name)
        return dg.AssetSpec(
            name,
            deps=deps,
            partitions_def=self.event_dates if table and table.partition_by == EVENT_DATE else self.ingest_dates,
            automation_condition=automation,
            group_name=group,
            description=meaning or (table.meaning if table else None),
            code_version=f"{code_digest()}-{decided_by}",
            kinds=kinds or ({"polars", "deltalake"} if table else {"polars", "json"}),
            owners=self.settings.owners,
            tags={"partitioned_by": table.partition_by if table else INGEST_DATE, **_feed_tag(name)},
            metadata=asset_spec_metadata(name) if table else {},
        )


def build_ingest_assets(graph: Graph) -> list[dg.AssetsDefinition]:
    """All assets by ingest date."""
    return [
        *(_raw(graph, feed) for feed in FEEDS.values()),
        *(_clean(graph, feed) for feed in FEEDS.values()),
        _known(graph),
        _report(graph),
        _metrics(graph),
        _alerts(graph),
        _page(graph),
    ]


def _raw(graph: Graph, feed: Feed) -> dg.AssetsDefinition:
    spec = graph.spec(feed.raw, "raw", graph.policy.reading_fingerprint(feed.name), [])

    @dg.multi_asset(name=feed.raw, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def raw(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                landed = land_raw(work, feed, day)
                facts: dict[str, Any] = {
                    ROW_COUNT: landed.rows,
                    "files": len(landed.files),
                    "files read": len(landed.read),
                    "files unchanged": len(landed.carried),
                    "files skipped (content held by another)": len(landed.skipped),
                    "files failed": sum(file.status == FAILED for file in landed.files),
                    "bytes": sum(file.bytes for file in landed.files),
                    "ledger": records([asdict(file) for file in landed.files], _LEDGER_COLUMNS),
                }
                if landed.vanished:
                    facts["vanished files (rows kept)"] = _paths(landed.vanished)
                if landed.forgotten:
                    facts["forgotten files (rows removed on request)"] = _paths(landed.forgotten)
                if landed.again:
                    days = ", ".join(map(str, landed.again))
                    facts["days to be processed again"] = days
                    context.log.warning(
                        f"{feed.raw} {day}: files of {days} hold content that came or went here; those days are "
                        "PENDING in the ledger and will be processed again"
                    )
                if strays := unrecognised_files(work.raw_root, day):
                    facts["files no feed reads"] = _paths(strays)
                    said = "; ".join(f"{path}: {advice}" for path, advice in strays.items())
                    context.log.warning(f"{day}: no feed reads some files. {said}")
                told.made(feed.raw, day, facts)
                context.log.info(f"{feed.raw} {day}: {landed.rows:,} rows of {len(landed.files)} files")
        yield from told.done()

    return raw


def _clean(graph: Graph, feed: Feed) -> dg.AssetsDefinition:
    decided_by = graph.policy.fingerprint("feeds", "values", "categories")
    deps: list[Any] = [feed.raw, *([] if feed is CUSTOMERS else [CUSTOMERS_KNOWN.name])]
    outputs = (feed.clean_table, feed.quarantine, feed.profile)
    specs = [
        graph.spec(name, group, decided_by, deps)
        for name, group in zip(outputs, ("clean", "quarantine", "profile"), strict=True)
    ]

    @dg.multi_asset(name=feed.name, specs=specs, required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def clean_feed(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, specs, work.lake)
        for day in told.days():
            with told.attempt(day):
                profile = clean(work, feed, day).profile
                files = [asdict(each) for each in file_lives(work, feed, day)]
                total, rejected = profile.rows(TOTAL), profile.rows(QUARANTINE)
                copies, same_id = profile.rows(FULL_ROW), profile.reason(duplicate_of(feed))
                warnings = [{"warning": name, "rows": rows} for name, rows in profile.of_kind(WARNING).items()]
                told.made(
                    feed.clean_table,
                    day,
                    {
                        ROW_COUNT: profile.rows(CLEAN),
                        "raw rows": total,
                        "clean rate": _rate(profile.rows(CLEAN), total),
                        "duplicate rate": _rate(copies + same_id, total),
                        "full-row duplicates": copies,
                        "warnings": records(warnings, ["warning", "rows"]),
                        "rows by file": records(files, _FILE_COLUMNS),
                    },
                )
                told.made(
                    feed.quarantine,
                    day,
                    {
                        ROW_COUNT: rejected,
                        "quarantine rate": _rate(rejected, total),
                        "top reasons": records(_top(profile, total), ["reason", "rows", "rate"]),
                        "rejected rows (first)": frame(preview(work, feed, day)),
                    },
                )
                told.made(feed.profile, day, {"raw rows": total})
                context.log.info(
                    f"{feed.name} {day}: {total:,} rows, {profile.rows(CLEAN):,} clean, "
                    f"{rejected:,} rejected, {copies:,} copies"
                )
        yield from told.done()

    return clean_feed


def _known(graph: Graph) -> dg.AssetsDefinition:
    # It reads all earlier days too. A mapping that said so would make every backfill reach to today (docs/adr/0003).
    deps = [CUSTOMERS.raw, CUSTOMERS.clean_table]
    spec = graph.spec(CUSTOMERS_KNOWN.name, "clean", graph.policy.fingerprint("feeds", "values"), deps)

    @dg.multi_asset(
        name=CUSTOMERS_KNOWN.name, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL
    )
    def customers_known(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                customers = know_customers(work, day)
                told.made(CUSTOMERS_KNOWN.name, day, {ROW_COUNT: customers})
        yield from told.done()

    return customers_known


def _report(graph: Graph) -> dg.AssetsDefinition:
    deps = [name for feed in FEEDS.values() for name in (feed.raw, feed.profile)]
    meaning = "what became of every row and file of the day: reports/ingest_date=…/validation_report.json"
    spec = graph.spec(VALIDATION_REPORT, "report", graph.policy.fingerprint("feeds"), deps, meaning)

    @dg.multi_asset(name=VALIDATION_REPORT, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def validation_report(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                report = write_report(work, day)
                path = report_paths(work, day)[VALIDATION_REPORT]
                rows = [
                    {"feed": name, **{key: report[name][key] for key in ("total", "clean", "quarantine")}}
                    for name in FEEDS
                ]
                told.made(
                    VALIDATION_REPORT,
                    day,
                    {
                        "path": dg.MetadataValue.path(str(path)),
                        "feeds": records(rows, ["feed", "total", "clean", "quarantine"]),
                    },
                    version=hashlib.sha256(path.read_bytes()).hexdigest(),
                )
        yield from told.done()

    return validation_report


def _metrics(graph: Graph) -> dg.AssetsDefinition:
    deps = [name for feed in FEEDS.values() for name in (feed.profile, feed.clean_table)]
    spec = graph.spec(DAILY_METRICS.name, "report", graph.policy.fingerprint("feeds", "activity"), deps)

    @dg.multi_asset(name=DAILY_METRICS.name, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def daily_metrics(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                rows = measure(work, day)
                value = {(data, metric, dimension): number for data, metric, dimension, number in rows.iter_rows()}
                facts: dict[str, Any] = {ROW_COUNT: rows.height}
                for name in FEEDS:
                    facts[f"{name} rows"] = value.get((name, "total", None), 0.0)
                    facts[f"{name} quarantine rate"] = value.get((name, "quarantine_rate", None), 0.0)
                facts["hours with events"] = sum(bool(value.get(("events", "by_hour", hour))) for hour in HOURS)
                facts["active customers"] = value.get(("events", "active_customers", None), 0.0)
                told.made(DAILY_METRICS.name, day, facts)
        yield from told.done()

    return daily_metrics


def _alerts(graph: Graph) -> dg.AssetsDefinition:
    # Medians look back over the history_days before; as with customers_known, the mapping names the day alone.
    deps: list[Any] = [DAILY_METRICS.name, *(feed.raw for feed in FEEDS.values())]
    spec = graph.spec(ALERTS.name, "report", graph.policy.fingerprint("feeds", "alerts", "activity"), deps)

    @dg.multi_asset(name=ALERTS.name, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def alerts(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                raised = raise_alerts(work, day)
                shown = ["severity", "rule", "dataset", "message"]
                told.made(
                    ALERTS.name,
                    day,
                    {
                        ROW_COUNT: len(raised),
                        "high": sum(alert["severity"] == "high" for alert in raised),
                        "alerts": records(raised, shown),
                        "path": dg.MetadataValue.path(str(report_paths(work, day)[ALERTS.name])),
                    },
                )
                for alert in raised:
                    context.log.warning(f"{day} {alert['severity']} {alert['rule']}: {alert['message']}")
        yield from told.done()

    return alerts


def _page(graph: Graph) -> dg.AssetsDefinition:
    # Trends and medians look back over weeks; as with alerts, the mapping names the day alone.
    deps = [
        ALERTS.name,
        DAILY_METRICS.name,
        *(name for feed in FEEDS.values() for name in (feed.raw, feed.profile, feed.quarantine)),
    ]
    decided_by = graph.policy.fingerprint("feeds", "values", "categories", "alerts", "checks")
    meaning = "the day for people, as one page to open in a browser: reports/ingest_date=…/report.html"
    spec = graph.spec(DAY_REPORT, "report", f"{decided_by}-{page_digest()}", deps, meaning, kinds={"html"})

    @dg.multi_asset(name=DAY_REPORT, specs=[spec], required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def day_report(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, [spec], work.lake)
        for day in told.days():
            with told.attempt(day):
                path = write_page(work, day).resolve()
                page = path.read_bytes()
                hours = hourly_events(work.lake.scan(DAILY_METRICS.name, [day]).collect())
                facts = {
                    "path": dg.MetadataValue.path(str(path)),
                    "page": dg.MetadataValue.url(_link(graph.settings, path)),
                    "bytes": len(page),
                    "events by hour": picture(standing_alone(hours_chart(hours, said := hours_said(hours))), said),
                }
                told.made(DAY_REPORT, day, facts, version=hashlib.sha256(page).hexdigest())
        yield from told.done()

    return day_report


def _link(settings: Settings, path: Path) -> str:
    """Where a browser finds a report: a page of a web server may not open a file of the machine it runs on."""
    if settings.reports_url is None:
        return path.as_uri()
    return f"{settings.reports_url.rstrip('/')}/{path.parent.name}/{path.name}"


def _feed_tag(asset: str) -> dict[str, str]:
    """The feed that a table is of, if it is of one alone."""
    for feed in FEEDS.values():
        if asset in {feed.raw, feed.clean_table, feed.quarantine, feed.profile}:
            return {"feed": feed.name}
    return {}


def _paths(paths: Iterable[str]) -> Any:
    return records([{"path": path} for path in paths], ["path"])


def _rate(rows: int, total: int) -> float:
    return rows / total if total else 0.0


def _top(profile: Profile, total: int) -> list[Mapping[str, Any]]:
    counts = sorted(profile.of_kind(REASON).items(), key=lambda item: -item[1])[:_TOP_REASONS]
    return [{"reason": reason, "rows": rows, "rate": _rate(rows, total)} for reason, rows in counts]
