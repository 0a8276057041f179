"""The numbers of an event date: one tidy row each (contract §5)."""

import polars as pl

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.transforms.metrics import Metric, metrics_frame, percentiles


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
