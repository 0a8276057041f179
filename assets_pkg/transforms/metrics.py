"""The numbers of an ingest date: one tidy row each (contract §5)."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.contracts.rules import ORPHAN, duplicate_of
from assets_pkg.contracts.tables import DAILY_METRICS
from assets_pkg.policy import Policy
from assets_pkg.transforms.split import CLEAN, FULL_ROW, NULL, QUARANTINE, REASON, ROWS, TOTAL, WELL_FORMED

Metric = tuple[str, str, str | None, float]  # dataset, metric, dimension, value
HOURS: Final = tuple(f"{hour:02d}" for hour in range(24))
_LATE: Final = ("late_events", "late_beyond_window")
_PERCENTILES: Final = {"p50": 0.5, "p95": 0.95}


class Profile:
    """The counts of one feed's day, as the profile table holds them."""

    def __init__(self, rows: pl.DataFrame) -> None:
        """`rows` has kind, name, rows."""
        self._counts: dict[tuple[str, str], int] = {
            (kind, name): count for kind, name, count in rows.select("kind", "name", "rows").iter_rows()
        }

    def rows(self, name: str) -> int:
        """Rows that are total, clean, quarantine, full_row_duplicates or well_formed."""
        return self._counts.get((ROWS, name), 0)

    def of_kind(self, kind: str) -> dict[str, int]:
        """Counts above 0 of all reasons, warnings, null columns, event dates or files, by name, sorted."""
        return {name: count for (of, name), count in sorted(self._counts.items()) if of == kind and count}

    def reason(self, name: str) -> int:
        """Quarantined rows that carry a reason."""
        return self._counts.get((REASON, name), 0)

    def nulls(self, column: str) -> int:
        """Well-formed rows in which a required column says nothing."""
        return self._counts.get((NULL, column), 0)


def metrics_frame(metrics: list[Metric]) -> pl.DataFrame:
    """Metrics as the daily_metrics table holds them, ordered."""
    ordered = sorted(metrics, key=lambda metric: (metric[0], metric[1], metric[2] or ""))
    return pl.DataFrame(ordered, schema=DAILY_METRICS.schema, orient="row")


def daily_metrics(
    day: date, profiles: Mapping[str, Profile], clean: Mapping[str, pl.LazyFrame], policy: Policy
) -> pl.DataFrame:
    """All metrics of an ingest date.

    `profiles` and `clean` hold every feed's counts and clean rows of the day, by feed name.
    """
    metrics = [
        metric for feed in FEEDS.values() for metric in _feed_metrics(feed, profiles[feed.name], feed.required(policy))
    ]
    metrics += _event_metrics(clean[EVENTS.name], day, policy)
    metrics += _order_metrics(clean[ORDERS.name])
    return metrics_frame(metrics)


def counted_in(feed: Feed, row: pl.LazyFrame, day: date, policy: Policy) -> list[str]:
    """The counts and breakdowns of an ingest date that one clean row of it counts in, besides total and clean."""
    metrics = _event_metrics(row, day, policy) if feed is EVENTS else _order_metrics(row) if feed is ORDERS else []
    return [
        f"{metric} {dimension or ''}".strip()
        for _, metric, dimension, value in metrics
        if value and (metric.startswith("by_") or metric in _LATE)
    ]


def _feed_metrics(feed: Feed, profile: Profile, required: tuple[str, ...]) -> list[Metric]:
    total, id_duplicates = profile.rows(TOTAL), profile.reason(duplicate_of(feed))
    bad_times = profile.reason(f"missing_{feed.time}") + profile.reason(f"invalid_{feed.time}")

    def rate(count: int, of: int) -> float:
        return count / of if of else 0.0

    values = {
        "total": total,
        "clean": profile.rows(CLEAN),
        "quarantine": profile.rows(QUARANTINE),
        "duplicate_full_row": profile.rows(FULL_ROW),
        "duplicate_id": id_duplicates,
        "duplicate_full_row_rate": rate(profile.rows(FULL_ROW), total),
        "duplicate_id_rate": rate(id_duplicates, total),
        "quarantine_rate": rate(profile.rows(QUARANTINE), total),
        "invalid_timestamp_rate": rate(bad_times, total),
    }
    if feed is not CUSTOMERS:
        values["orphan_rate"] = rate(profile.reason(ORPHAN), total)
    nulls = {column: rate(profile.nulls(column), profile.rows(WELL_FORMED)) for column in required}
    return [
        *((feed.name, metric, None, float(value)) for metric, value in values.items()),
        *((feed.name, "null_rate", column, value) for column, value in nulls.items()),
    ]


def _event_metrics(clean: pl.LazyFrame, day: date, policy: Policy) -> list[Metric]:
    hour = pl.when(pl.col("event_date") == day).then(pl.col("event_time").dt.hour()).alias("hour")
    groups = clean.group_by("event_type", "platform", "event_date", hour).agg(rows=pl.len()).collect(engine="streaming")
    by_hour = dict(groups.filter(pl.col("hour").is_not_null()).group_by("hour").agg(pl.col("rows").sum()).iter_rows())
    numbers: dict[str, float] = {
        _LATE[0]: int(groups.filter(later_than(day, 0)).get_column("rows").sum()),
        _LATE[1]: int(groups.filter(later_than(day, policy.activity.late_window_days)).get_column("rows").sum()),
        "active_customers": clean.select(pl.col("customer_id").n_unique()).collect(engine="streaming").item(),
    }
    return [
        *((EVENTS.name, metric, None, float(value)) for metric, value in numbers.items()),
        *_breakdown(EVENTS, "event_type", groups),
        *_breakdown(EVENTS, "platform", groups),
        *((EVENTS.name, "by_hour", name, float(by_hour.get(int(name), 0))) for name in HOURS),
        *percentiles(EVENTS, "duration_ms", clean),
    ]


def later_than(day: date, days: int) -> pl.Expr:
    """Whether an event that landed on `day` had happened more than so many days before. Needs event_date."""
    return pl.lit(day) - pl.col("event_date") > timedelta(days=days)


def _order_metrics(clean: pl.LazyFrame) -> list[Metric]:
    orders = clean.select("customer_id", "status", "currency", pl.col("amount").cast(pl.Float64)).collect()
    by_currency = orders.partition_by("currency", as_dict=True)
    return [
        (ORDERS.name, "active_customers", None, float(orders["customer_id"].n_unique())),
        *_breakdown(ORDERS, "status", orders.group_by("status").agg(rows=pl.len())),
        *percentiles(ORDERS, "amount", orders.lazy()),
        *(
            metric
            for (currency,), rows in by_currency.items()
            for metric in percentiles(ORDERS, "amount", rows.lazy(), str(currency))
        ),
    ]


def _breakdown(feed: Feed, column: str, groups: pl.DataFrame) -> list[Metric]:
    counts = groups.group_by(column).agg(pl.col("rows").sum())
    return [(feed.name, f"by_{column}", value, float(rows)) for value, rows in counts.iter_rows()]


def percentiles(feed: Feed, column: str, clean: pl.LazyFrame, dimension: str | None = None) -> list[Metric]:
    """Percentiles with linear interpolation; none when there is no value."""
    values = clean.select(pl.col(column).drop_nulls()).collect(engine="streaming").to_series().sort()
    if values.is_empty():
        return []
    found = []
    for name, share in _PERCENTILES.items():
        value = values.quantile(share, "linear")
        assert value is not None
        found.append((feed.name, f"{column}_{name}", dimension, float(value)))
    return found
