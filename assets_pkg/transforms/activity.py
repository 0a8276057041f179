"""The numbers of an event date, one tidy row each (contract §5), and what made them other than they were."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.transforms.metrics import Metric, metrics_frame, percentiles
from assets_pkg.transforms.windows import Window

# For each event date whose events decide sessions of another, by ingest date: the version of the clean partition that
# they were gathered from, and how many of its rows are of the date.
Sources = Mapping[str, Mapping[str, tuple[str, int]]]


def activity_metrics(runs: pl.LazyFrame, sessions: pl.LazyFrame) -> pl.DataFrame:
    """All metrics of an event date, as the table activity_metrics holds them.

    `runs` and `sessions`: the date's session_runs and sessions. Customers and page views are those of the date's
    events, the others of the sessions that start on it. Mean and percentiles are absent without a session.
    """
    of_events = runs.select(pl.col("customer_id").n_unique().alias("customers"), pl.sum("page_views")).collect().row(0)
    of_sessions = (
        sessions.select(pl.len(), pl.sum("event_count"), (pl.col("event_count") == 1).sum().alias("single"))
        .collect()
        .row(0)
    )
    count, events, single = of_sessions
    metrics: list[Metric] = [
        (EVENTS.name, "sessions", None, float(count)),
        (EVENTS.name, "active_customers", None, float(of_events[0])),
        (EVENTS.name, "page_views", None, float(of_events[1])),
        (EVENTS.name, "bounce_rate", None, single / count if count else 0.0),
        *percentiles(
            EVENTS, "session_duration_seconds", sessions.rename({"duration_seconds": "session_duration_seconds"})
        ),
    ]
    if count:
        metrics.append((EVENTS.name, "events_per_session_mean", None, events / count))
    return metrics_frame(metrics)


def restated(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Which numbers changed: metric, dimension, before, after; null where there is none. Needs activity_metrics."""
    key = ["metric", "dimension"]
    both = before.select(*key, before="value").join(
        after.select(*key, after="value"), on=key, how="full", coalesce=True, nulls_equal=True
    )
    return both.filter(pl.col("before").ne_missing(pl.col("after"))).sort(key)


def causes(before: Sources, after: Sources, window: Window) -> list[date]:
    """The ingest dates whose clean events came or changed between two states, in the `window` of both.

    Those that have events of the dates that matter. If none of them changed, an event's first copy came or went under
    another date: then all that changed.
    """
    changed: dict[str, bool] = {}
    for near in {*before, *after}:
        old, new = before.get(near, {}), after.get(near, {})
        reachable = map(str, window.of(date.fromisoformat(near)))
        for day in {*old, *new}.intersection(reachable):
            (was, rows_then), (version, rows_now) = (tuple(each.get(day, ("", 0))) for each in (old, new))
            if was != version:
                changed[day] = changed.get(day, False) or bool(rows_then or rows_now)
    found = [day for day, matters in changed.items() if matters] or list(changed)
    return sorted(date.fromisoformat(day) for day in found)
