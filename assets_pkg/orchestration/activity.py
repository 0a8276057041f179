"""The asset graph by event date: what customers did, from the clean events of the days they landed on.

The partition mappings state the windows of contract §4: the lineage in the UI is what the steps read.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import dagster as dg

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    EVENTS_BY_DATE,
    RESTATEMENTS,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
)
from assets_pkg.orchestration.assets import Graph
from assets_pkg.orchestration.automation import stale_by
from assets_pkg.orchestration.materialize import Materializations
from assets_pkg.orchestration.metadata import ROW_COUNT, frame, records
from assets_pkg.orchestration.partitions import BACKFILL
from assets_pkg.orchestration.workplace import WORKPLACE, only_stale, workplace_of
from assets_pkg.steps.activity import (
    GATHER,
    JOIN,
    JUDGE,
    MEASURE,
    Measured,
    Stage,
    ingest_dates_of,
    last_measured,
)
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.windows import BESIDE, Window, compared, landing

GROUP = "activity"
Facts = dict[str, dict[str, Any]]  # by asset


def build_activity_assets(graph: Graph) -> list[dg.AssetsDefinition]:
    """All assets by event date."""
    landed = _reading(EVENTS.clean_table, landing(graph.policy))
    # A backfill visits an asset once, by whichever dependency comes first: all of them must reach as far, or dates are
    # left out. So what is read of a date's own partition alone may stand here with its neighbours, who matter anyhow.
    events, runs = _reading(EVENTS_BY_DATE.name, BESIDE), _reading(SESSION_RUNS.name, BESIDE)
    return [
        _stage(graph, GATHER, "events_by_date", [landed], _told_of_events),
        # Sessions and users are made from runs alone; events only get the id of their run's session.
        _stage(graph, JOIN, "sessions", [runs], _told_of_sessions, more={SESSION_EVENTS.name: [events]}),
        _stage(
            graph,
            MEASURE,
            "activity_metrics",
            # Of the clean events: whether the date itself was processed (then it has numbers, if only zeros), and which
            # of them came or changed: a restatement says whose doing it is.
            [runs, SESSIONS.name, events, _reading(EVENTS.clean_table, landing(graph.policy) + BESIDE)],
            _told_of_metrics,
        ),
        _stage(
            graph,
            JUDGE,
            "activity_alerts",
            [_reading(ACTIVITY_METRICS.name, compared(graph.policy))],
            _told_of_alerts,
            decided_by="alerts",
        ),
    ]


def _reading(asset: str, window: Window) -> dg.AssetDep:
    """A dependency on the partitions in one's window, as far as there are any."""
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=window.first, end_offset=window.last, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(asset, partition_mapping=mapping)


def _stage(
    graph: Graph,
    stage: Stage,
    name: str,
    deps: list[Any],
    facts: Callable[[Workplace, date, Any], Facts],
    decided_by: str = "activity",
    more: Mapping[str, list[Any]] = MappingProxyType({}),
) -> dg.AssetsDefinition:
    """`more`: what single tables are made from besides."""
    fingerprint, automation = graph.policy.fingerprint(decided_by), stale_by(stage, graph.settings, graph.policy)
    specs = [
        graph.spec(name, GROUP, fingerprint, [*deps, *more.get(name, ())], automation=automation)
        for name in stage.names
    ]

    @dg.multi_asset(name=name, specs=specs, required_resource_keys={WORKPLACE}, backfill_policy=BACKFILL)
    def step(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        work = workplace_of(context)
        told = Materializations(context, specs, work.lake)
        days = told.days()
        stale, again = set(days), set[date]()
        if only_stale(context):
            stale = set(stage.stale(work, days, by_any_code=False))
            again = told.untold(days) - stale
        for event_date in sorted(stale | again):
            with told.attempt(event_date):
                result = stage.build(work, event_date)
                if stage is MEASURE and event_date in again:
                    result = last_measured(work, event_date)
                for asset, said in facts(work, event_date, result).items():
                    told.made(asset, event_date, said)
        yield from told.done()

    return step


def _told_of_events(work: Workplace, event_date: date, rows: int) -> Facts:
    landed = ingest_dates_of(work, event_date)
    return {
        EVENTS_BY_DATE.name: {
            ROW_COUNT: rows,
            "events by the day they landed": records(
                [{"ingest_date": day, "events": count} for day, count in landed.items()], ["ingest_date", "events"]
            ),
        },
        SESSION_RUNS.name: {ROW_COUNT: work.lake.rows(SESSION_RUNS.name, event_date), "events": rows},
    }


def _told_of_sessions(work: Workplace, event_date: date, _sessions: int) -> Facts:
    return {table.name: {ROW_COUNT: work.lake.rows(table.name, event_date)} for table in JOIN.tables}


def _told_of_metrics(work: Workplace, event_date: date, measured: Measured) -> Facts:
    changed = measured.restated
    metrics = work.lake.scan(ACTIVITY_METRICS.name, [event_date]).collect()
    caused_by = changed["caused_by"].explode().unique().sort().drop_nulls()
    return {
        ACTIVITY_METRICS.name: {
            ROW_COUNT: metrics.height,
            **dict(metrics.select("metric", "value").iter_rows()),
            "restated": frame(changed.select("metric", "dimension", "before", "after")),
            "restated because of ingest dates": ", ".join(map(str, caused_by)) or "none",
        },
        RESTATEMENTS.name: {
            ROW_COUNT: work.lake.rows(RESTATEMENTS.name, event_date),
            "numbers restated": changed.height,
            **({"history": "lost: what was told before could not be read"} if measured.history_lost else {}),
        },
    }


def _told_of_alerts(_work: Workplace, _event_date: date, alerts: list[dict[str, Any]]) -> Facts:
    return {
        ACTIVITY_ALERTS.name: {
            ROW_COUNT: len(alerts),
            "high": sum(alert["severity"] == "high" for alert in alerts),
            "alerts": records(alerts, ["severity", "rule", "dataset", "message"]),
        }
    }
