"""Customers' activity by event date in DuckDB: the second half of the peer, from its clean events on.

Ingest dates come in their order, so an event date that one touches lies in the lake up to now and nothing after it.
"""

import shutil
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

LATE_DAYS, EARLY_DAYS = 2, 1
TIMEOUT_US = 30 * 60 * 1_000_000
HISTORY_DAYS, HISTORY_NEEDED = 7, 3
MAX_DROP, MAX_SPIKE = 0.5, 3
PLATFORMS = ("android", "ios", "unknown", "web")
# One number for a column, by its type: it changes when other rows stay or other values come out.
SUMS = {
    "VARCHAR": "sum(length({0}))",
    "VARCHAR[]": "sum(length(array_to_string({0}, '')))",
    "TIMESTAMP WITH TIME ZONE": "sum(floor(epoch({0}))::BIGINT)",
    "DATE": "sum({0} - DATE '1970-01-01')",
    "BIGINT": "sum({0})",
    "DOUBLE": "sum({0})",
    "DECIMAL(18,4)": "sum({0})",
}
EVENTS = (
    "event_id, customer_id, event_time, event_type, event_type_raw, platform, client_session_id, duration_ms, url, "
    "warnings, source_file, source_row"
)


def totals(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, float]:
    """The number of rows of a table, and one number for each column."""
    columns = [(name, dtype) for name, dtype, *_ in db.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]
    sums = ", ".join(f"coalesce({SUMS[dtype].format(name)}, 0)::DOUBLE" for name, dtype in columns)
    found = db.execute(f"SELECT count(*)::DOUBLE, {sums} FROM {table}").fetchone()
    return dict(zip(("rows", *(name for name, _ in columns)), found, strict=True))


class PeerActivity:
    """The event dates that an ingest date touches: each method makes tables from tables, as Parquet under `out`."""

    def __init__(self, db: duckdb.DuckDBPyConnection, out: Path, day: date) -> None:
        self.db, self.out, self.day = db, out, day
        self.touched: list[date] = []
        self.joined: list[date] = []

    def gather(self) -> None:
        """Clean events by the date they happened: each once, from the earliest day of the window that has it."""
        first, last = self.day - timedelta(LATE_DAYS), self.day + timedelta(EARLY_DAYS)
        found = self.db.execute(f"""SELECT DISTINCT event_date FROM {self._ingested([self.day])}
            WHERE event_date BETWEEN DATE '{first}' AND DATE '{last}' ORDER BY 1""").fetchall()
        self.touched = [event_date for (event_date,) in found]
        days = [
            day
            for day in _days(self.day - timedelta(LATE_DAYS + EARLY_DAYS), self.day)
            if (self.out / "events_clean" / f"ingest_date={day}").is_dir()
        ]
        clean = self._ingested(days)
        # An earlier copy counts whatever date it claims. The first day of a lake has none.
        has_earlier = f"""AND NOT EXISTS (
            SELECT 1 FROM {clean} earlier WHERE earlier.event_id = e.event_id
            AND earlier.ingest_date < e.ingest_date AND earlier.ingest_date >= e.event_date - {EARLY_DAYS})"""
        self._save(
            "events_by_date",
            self.touched,
            f"""SELECT ingest_date, {EVENTS}, event_date FROM {clean} e
            WHERE event_date IN ({_listed(self.touched)})
            AND ingest_date BETWEEN event_date - {EARLY_DAYS} AND event_date + {LATE_DAYS}
            {has_earlier if len(days) > 1 else ""}""",
        )

    def sessionise(self) -> None:
        """session_events and sessions of the touched dates and those beside them, user_daily of the touched."""
        near = {each + timedelta(shift) for each in self.touched for shift in (-1, 0, 1)}
        self.joined = [each for each in sorted(near) if self._has("events_by_date", each)]
        before = self.joined[0] - timedelta(1)
        events = self._dated(
            "events_by_date", [*([before] if self._has("events_by_date", before) else []), *self.joined]
        )
        # Where a session may begin: after a gap, and at a customer's first event of a day.
        self.db.execute(f"""CREATE OR REPLACE TABLE marks AS SELECT * FROM (
            SELECT customer_id, event_date, us,
                coalesce(us - lag(us) OVER customer >= {TIMEOUT_US}, true) AS is_gap,
                lag(event_date) OVER customer IS DISTINCT FROM event_date AS is_first
            FROM (SELECT customer_id, event_date, epoch_us(event_time) AS us FROM {events})
            WINDOW customer AS (PARTITION BY customer_id ORDER BY us)
        ) WHERE is_gap OR is_first""")
        # A day without a gap from its midnight on ends its session, whatever came before it.
        self.db.execute(f"""CREATE OR REPLACE TABLE starts AS
            WITH full_days AS (
                SELECT customer_id, event_date FROM marks GROUP BY ALL
                HAVING count(*) FILTER (is_gap AND NOT is_first) = 0
                AND min(us) - epoch_us(event_date::TIMESTAMPTZ) < {TIMEOUT_US}
            )
            SELECT marks.customer_id, us AS start FROM marks LEFT JOIN full_days
            ON marks.customer_id = full_days.customer_id AND marks.event_date = full_days.event_date + 1
            WHERE is_gap OR full_days.customer_id IS NOT NULL""")
        self._save(
            "session_events",
            self.joined,
            f"""SELECT e.*, e.customer_id || '-' || start AS session_id
            FROM {self._dated("events_by_date", self.joined)} e
            ASOF JOIN starts s ON e.customer_id = s.customer_id AND epoch_us(e.event_time) >= s.start""",
        )
        used = " | ".join(f"(platform = '{name}')::INT * {1 << bit}" for bit, name in enumerate(PLATFORMS))
        self.db.execute(f"""CREATE OR REPLACE TABLE pieces AS
            SELECT session_id, event_date, any_value(customer_id) AS customer_id, min(event_time) AS first_at,
                max(event_time) AS last_at, count(*) AS events,
                count(*) FILTER (event_type = 'page_view') AS page_views, bit_or({used}) AS used
            FROM {self._dated("session_events", self.joined)} GROUP BY session_id, event_date""")
        names = " || ".join(f"CASE WHEN bit_or(used) & {1 << bit} > 0 THEN ['{name}'] ELSE [] END"
                            for bit, name in enumerate(PLATFORMS))  # fmt: skip
        self._save(
            "sessions",
            self.joined,
            f"""SELECT session_id, any_value(customer_id) AS customer_id, min(first_at) AS session_start,
                max(last_at) AS session_end, sum(events)::BIGINT AS event_count, sum(page_views)::BIGINT AS page_views,
                (epoch_us(max(last_at)) - epoch_us(min(first_at))) / 1e6 AS duration_seconds, {names} AS platforms,
                min(first_at)::DATE AS event_date
            FROM pieces GROUP BY session_id
            HAVING split_part(session_id, '-', -1)::BIGINT >= epoch_us(DATE '{self.joined[0]}'::TIMESTAMPTZ)""",
        )
        self._save(
            "user_daily",
            self.touched,
            f"""SELECT customer_id, sum(page_views)::BIGINT AS page_views, sum(events)::BIGINT AS events,
                count(*) AS sessions,
                (sum(epoch_us(last_at) - epoch_us(first_at))::BIGINT + 300000) // 600000 / 100 AS active_minutes,
                event_date
            FROM pieces WHERE event_date IN ({_listed(self.touched)}) GROUP BY customer_id, event_date""",
        )

    def measure(self) -> None:
        """activity_metrics of the same dates; mean and percentiles are absent where no session starts."""
        self._save(
            "activity_metrics",
            self.joined,
            f"""WITH of_sessions AS (
                SELECT event_date, count(*)::DOUBLE AS sessions, avg(event_count) AS events_per_session_mean,
                    avg((event_count = 1)::INT) AS bounce_rate,
                    quantile_cont(duration_seconds, 0.5) AS session_duration_seconds_p50,
                    quantile_cont(duration_seconds, 0.95) AS session_duration_seconds_p95
                FROM {self._dated("sessions", self.joined)} GROUP BY event_date
            ),
            of_customers AS (
                SELECT event_date, count(*)::DOUBLE AS active_customers, sum(page_views)::DOUBLE AS page_views
                FROM {self._dated("user_daily", self.joined)} GROUP BY event_date
            ),
            numbers AS (
                SELECT event_date, coalesce(sessions, 0) AS sessions, active_customers, page_views,
                    events_per_session_mean, coalesce(bounce_rate, 0) AS bounce_rate, session_duration_seconds_p50,
                    session_duration_seconds_p95
                FROM of_customers LEFT JOIN of_sessions USING (event_date)
            )
            SELECT 'events' AS dataset, metric, NULL::VARCHAR AS dimension, value, event_date
            FROM (UNPIVOT numbers ON COLUMNS(* EXCLUDE event_date) INTO NAME metric VALUE value) ORDER BY metric""",
        )

    def alert(self) -> None:
        """activity_alerts of the same dates and of all that look back on them."""
        last = self.joined[-1] + timedelta(HISTORY_DAYS)
        there = self._there("activity_metrics", self.joined[0] - timedelta(HISTORY_DAYS), last)
        judged = [each for each in there if each >= self.joined[0]]
        self._save(
            "activity_alerts",
            judged,
            f"""WITH counts AS (
                SELECT event_date, metric, value FROM {self._dated("activity_metrics", there)}
                WHERE metric IN ('sessions', 'active_customers')
            ),
            compared AS (
                SELECT c.event_date, c.metric, c.value, median(b.value) AS usual
                FROM counts c JOIN counts b ON b.metric = c.metric
                AND b.event_date BETWEEN c.event_date - {HISTORY_DAYS} AND c.event_date - 1
                GROUP BY ALL HAVING count(*) >= {HISTORY_NEEDED}
            )
            SELECT 'activity_drop' AS rule, 'high' AS severity, metric AS dataset, value, usual, event_date
            FROM compared WHERE value < usual * {1 - MAX_DROP}
            UNION ALL SELECT 'activity_spike', 'medium', metric, value, usual, event_date
            FROM compared WHERE value > usual * {MAX_SPIKE}""",
        )

    def outcome(self) -> dict[str, Any]:
        """Every event date there is, as it is now; not part of what is measured."""
        found = {}
        for folder in sorted((self.out / "events_by_date").iterdir()):
            event_date = folder.name.partition("=")[2]
            metrics = self._read("activity_metrics", event_date)
            alerts = self._read("activity_alerts", event_date) if self._has("activity_alerts", event_date) else ""
            fired = f"SELECT rule, severity, dataset FROM {alerts} ORDER BY ALL"
            found[event_date] = {
                "metrics": {
                    f"events {name} ": value
                    for name, value in self.db.execute(f"SELECT metric, value FROM {metrics}").fetchall()
                },
                "alerts": [list(row) for row in self.db.execute(fired).fetchall()] if alerts else [],
                **{
                    table: totals(self.db, self._read(table, event_date))
                    for table in ("events_by_date", "session_events", "sessions", "user_daily")
                },
            }
        return found

    # -- files --------------------------------------------------------------------------------------------

    def _has(self, table: str, event_date: date | str) -> bool:
        return (self.out / table / f"event_date={event_date}").is_dir()

    def _there(self, table: str, first: date, last: date) -> list[date]:
        return [each for each in _days(first, last) if self._has(table, each)]

    def _read(self, table: str, event_date: str) -> str:
        if not self._has(table, event_date):  # no row, no file: a date on which no session starts
            return f"(SELECT * FROM read_parquet('{self.out / table}/*/*.parquet', hive_partitioning = false) LIMIT 0)"
        return f"read_parquet('{self.out / table}/event_date={event_date}/*.parquet', hive_partitioning = false)"

    def _dated(self, table: str, event_dates: Iterable[date]) -> str:
        return self._partitions(table, "event_date", [each for each in event_dates if self._has(table, each)])

    def _ingested(self, days: Iterable[date]) -> str:
        return self._partitions("events_clean", "ingest_date", days)

    def _partitions(self, table: str, key: str, days: Iterable[date]) -> str:
        paths = ", ".join(f"'{self.out / table}/{key}={day}/*.parquet'" for day in days)
        return f"read_parquet([{paths}], hive_partitioning = true, hive_types = {{'{key}': DATE}})"

    def _save(self, table: str, event_dates: Iterable[date], query: str) -> None:
        """Replace these partitions by the rows of the query, which ends with event_date."""
        folder = self.out / table
        for each in event_dates:
            shutil.rmtree(folder / f"event_date={each}", ignore_errors=True)
        self.db.execute(f"""COPY ({query}) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1,
            PARTITION_BY (event_date), OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'part-{{uuid}}')""")


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(count) for count in range((last - first).days + 1)]


def _listed(days: Iterable[date]) -> str:
    return ", ".join(f"DATE '{day}'" for day in days)
