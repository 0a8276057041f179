"""The same part of the contract's day, raw files to alerts and activity, as one would write it in DuckDB.

It is SQL over Parquet files.

python benchmarks/peer_duckdb.py --raw RAW_ROOT --dates 2025-12-10 [2025-12-11 …] --out FOLDER [--memory 8GB]
prints JSON

It shares no code with the pipeline, so that equal counts mean something. It does the first days of a lake, in their
order, and what such days need; README.md lists what the contract asks for beyond it. peer_activity.py has the part by
event date.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pycountry
from meter import Meter
from peer_activity import PeerActivity, totals

FEEDS = {
    "customers": ("customer_id", "email", "created_at", "country", "status"),
    "events": ("event_id", "customer_id", "event_time", "event_type", "platform", "session_id", "duration_ms"),
    "orders": ("order_id", "customer_id", "order_time", "amount", "currency", "status"),
}
PERSON = ("email", "created_at", "country", "status")
OPTIONAL = {"customers": ("ingest_date",), "events": ("url", "ingest_date"), "orders": ("ingest_date",)}

MACROS = r"""
-- What a text says: trimmed, and null when it says nothing.
CREATE MACRO says(t) AS CASE WHEN lower(trim(t)) IN ('', 'null', 'none', 'nan', 'n/a') THEN NULL ELSE trim(t) END;
CREATE MACRO as_key(t) AS regexp_replace(lower(t), '[\s_-]+', '_', 'g');
CREATE MACRO split_humps(t) AS regexp_replace(t, '([a-z0-9])([A-Z])', '\1_\2', 'g');
CREATE MACRO in_years(t) AS CASE WHEN t >= TIMESTAMPTZ '1970-01-01' AND t < TIMESTAMPTZ '2101-01-01' THEN t END;
CREATE MACRO named_day(t, form) AS
  CASE WHEN strftime(try_strptime(t, form), '%a') = t[1:3] THEN timezone('UTC', try_strptime(t, form)) END;
-- Every accepted form has its own test; what fits none is no time.
CREATE MACRO instant(t) AS in_years(CASE
  WHEN regexp_full_match(t,
    '\d{4}-\d\d-\d\d([T ][0-2]\d:[0-5]\d(:[0-5]\d(\.\d{1,9})?)?( ?(Z|z|[+-]\d\d(:?[0-5]\d)?))?)?')
    THEN try_cast(t AS TIMESTAMPTZ)
  WHEN regexp_full_match(t, '\d{10}') THEN make_timestamptz(t::BIGINT * 1000000)
  WHEN regexp_full_match(t, '\d{13}') THEN make_timestamptz(t::BIGINT * 1000)
  WHEN regexp_full_match(t, '\d{16}') THEN make_timestamptz(t::BIGINT)
  WHEN regexp_full_match(t, '\d{1,2}/\d{1,2}/\d{4}')
    THEN timezone('UTC', try_strptime(t, '%m/%d/%Y'))
  WHEN regexp_full_match(t, '\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d')
    THEN timezone('UTC', try_strptime(t, '%m/%d/%Y %H:%M'))
  WHEN regexp_full_match(t, '\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d ?[AaPp][Mm]')
    THEN timezone('UTC', try_strptime(t, '%m/%d/%Y %I:%M %p'))
  WHEN regexp_full_match(t, '[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT')
    THEN named_day(t, '%a, %d %b %Y %H:%M:%S GMT')
  END);
CREATE MACRO whole(t) AS CASE
  WHEN regexp_full_match(t, '[+-]?[0-9.]+([eE][+-]?[0-9]+)?')
  THEN try_cast(t AS BIGINT) END;
CREATE MACRO money(t) AS CASE
  WHEN regexp_full_match(t, '[+-]?[$€£¥₹]? ?(\d+|\d{1,3}(,\d{3})+)(\.\d*)?')
  THEN try_cast(regexp_replace(t, '[$€£¥₹ ,]', '', 'g') AS DECIMAL(18, 4)) END;
"""

# Category: (the contract's names, their aliases as keys).
NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "customer_status": (
        "active inactive banned",
        {"actve": "active", "enabled": "active", "disabled": "inactive", "blocked": "banned"},
    ),
    "platform": (
        "ios android web",
        {"iphone": "ios", "ipad": "ios", "and": "android", "droid": "android", "browser": "web", "desktop": "web"},
    ),
    "event_type": (
        "login logout signup page_view click search feature_use paywall_view add_to_cart purchase error",
        {
            "pageview": "page_view", "view": "page_view", "sign_up": "signup", "log_in": "login", "sign_in": "login",
            "log_out": "logout", "sign_out": "logout",
        },
    ),
    "order_status": (
        "paid failed refunded chargeback",
        {
            "succeeded": "paid", "success": "paid", "completed": "paid", "declined": "failed", "refund": "refunded",
            "charge_back": "chargeback",
        },
    ),
}  # fmt: skip
MONEY_SIGNS = {"$": "USD", "us$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "‚Ç¨": "EUR", "â‚¬": "EUR"}  # noqa: RUF001
OTHER_COUNTRIES = {
    "uk": "GB", "great britain": "GB", "england": "GB", "usa": "US", "u.s.": "US", "u.s.a.": "US", "america": "US",
}  # fmt: skip


def spellings() -> Iterable[tuple[str, str, str]]:
    """Every (category, spelling, canonical name)."""
    for category, (names, aliases) in NAMES.items():
        yield from ((category, name, name) for name in names.split())
        yield from ((category, alias, name) for alias, name in aliases.items())
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
            if spelling := getattr(country, attribute, None):
                yield "country", spelling, country.alpha_2
    yield from (("country", alias, code) for alias, code in OTHER_COUNTRIES.items())
    for currency in pycountry.currencies:
        if currency.alpha_3 not in {"XXX", "XTS"}:
            yield "currency", currency.alpha_3, currency.alpha_3
    yield from (("currency", sign, code) for sign, code in MONEY_SIGNS.items())


@dataclass
class FeedRules:
    """One feed in SQL. Expressions may use the names that come before them: texts, then values.

    `categories`: column -> category; `values`: column -> expression over texts (`t_<column>`) and matched names
    (`n_<column>`); `clean`: the clean table's columns; `reasons` and `warnings`: name -> condition, in the contract's
    order; `best`: sort order among rows of one id.
    """

    time: str
    categories: dict[str, str]
    values: dict[str, str]
    clean: str
    reasons: dict[str, str]
    warnings: dict[str, str]
    best: str


def rules_of(day: date) -> dict[str, FeedRules]:
    """The contract's sections 2 and 3."""
    too_late = f"TIMESTAMPTZ '{day + timedelta(days=2)} 00:00:00+00'"
    mismatch = {"ingest_date_mismatch": f"t_ingest_date <> '{day}'"}
    orphan = {"orphan_customer_id": "t_customer_id IS NOT NULL AND NOT is_known"}

    def missing(column: str) -> dict[str, str]:
        return {f"missing_{column}": f"t_{column} IS NULL"}

    def timed(column: str) -> dict[str, str]:
        return {
            **missing(column),
            f"invalid_{column}": f"t_{column} IS NOT NULL AND {column} IS NULL",
        }

    def or_unknown(column: str) -> dict[str, str]:
        return {
            f"missing_{column}": f"t_{column} IS NULL",
            f"unknown_{column}": f"t_{column} IS NOT NULL AND {column} = 'unknown'",
        }

    return {
        "customers": FeedRules(
            "created_at",
            {"country": "country", "status": "customer_status"},
            {
                "customer_id": "t_customer_id",
                "email": r"CASE WHEN regexp_full_match(t_email, '[^@\s]+@[^@\s.]+(\.[^@\s.]+)+') THEN t_email END",
                "created_at": "instant(t_created_at)",
                "country": "n_country",
                "status": "coalesce(n_status, 'unknown')",
            },
            "customer_id, email, created_at, country, status",
            {**mismatch, **missing("customer_id"), **timed("created_at")},
            {
                "invalid_email": "t_email IS NOT NULL AND email IS NULL",
                "unknown_country": "t_country IS NOT NULL AND country IS NULL",
                **or_unknown("status"),
            },
            "email IS NOT NULL DESC, (email IS NOT NULL)::INT + (country IS NOT NULL)::INT + (status <> 'unknown')::INT"
            " DESC, created_at DESC",
        ),
        "events": FeedRules(
            "event_time",
            {"event_type": "event_type", "platform": "platform"},
            {
                "event_id": "t_event_id",
                "customer_id": "t_customer_id",
                "event_time": "instant(t_event_time)",
                "event_type": "coalesce(n_event_type, 'unknown')",
                "platform": "coalesce(n_platform, 'unknown')",
                "client_session_id": "t_session_id",
                "duration_ms": "whole(t_duration_ms)",
                "url": "t_url",
            },
            "event_id, customer_id, event_time, event_time::DATE AS event_date, event_type, CASE WHEN event_type = "
            "'unknown' THEN t_event_type END AS event_type_raw, platform, client_session_id, duration_ms, url",
            {
                **mismatch,
                **missing("customer_id"),
                **missing("event_id"),
                **timed("event_time"),
                "future_event_time": f"event_time >= {too_late}",
                "invalid_duration_ms": "t_duration_ms IS NOT NULL AND duration_ms IS NULL",
                "negative_duration_ms": "duration_ms < 0",
                "duration_ms_exceeds_max": "duration_ms > 86400000",
                **orphan,
            },
            {**or_unknown("event_type"), **or_unknown("platform")},
            "(event_type <> 'unknown')::INT + (platform <> 'unknown')::INT + (client_session_id IS NOT NULL)::INT"
            " + (duration_ms IS NOT NULL)::INT + (url IS NOT NULL)::INT DESC, event_time DESC",
        ),
        "orders": FeedRules(
            "order_time",
            {"currency": "currency", "status": "order_status"},
            {
                "order_id": "t_order_id",
                "customer_id": "t_customer_id",
                "order_time": "instant(t_order_time)",
                "amount": "money(t_amount)",
                "currency": "n_currency",
                "status": "n_status",
            },
            "order_id, customer_id, order_time, amount, currency, status",
            {
                **mismatch,
                **missing("customer_id"),
                **missing("order_id"),
                **timed("order_time"),
                "future_order_time": f"order_time >= {too_late}",
                **missing("currency"),
                "unknown_currency": "t_currency IS NOT NULL AND currency IS NULL",
                **missing("status"),
                "unknown_status": "t_status IS NOT NULL AND status IS NULL",
                "missing_amount": "t_amount IS NULL AND status IS DISTINCT FROM 'failed'",
                "invalid_amount": "t_amount IS NOT NULL AND amount IS NULL",
                "negative_amount": "amount < 0",
                "zero_amount": "amount = 0 AND status IN ('paid', 'refunded', 'chargeback')",
                "amount_exceeds_max": "amount > 1000000",
                **orphan,
            },
            {},
            "(amount IS NOT NULL)::INT DESC, order_time DESC",
        ),
    }


class PeerDay:
    """One ingest date in DuckDB: each method makes tables from tables, as Parquet files under `out`."""

    def __init__(self, raw: Path, out: Path, day: date, memory: str | None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.raw, self.out, self.day = raw, out, day
        self.rules = rules_of(day)
        self.report: dict[str, Any] = {"ingest_date": day.isoformat()}
        self.metrics: list[tuple[str, str, str | None, float]] = []
        # A database file and not memory, so that what does not fit can be put aside.
        self.db = duckdb.connect(out / f"work-{day}.duckdb")
        self.db.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        if memory:
            self.db.execute(f"SET memory_limit = '{memory}'")
        self.db.execute(MACROS)
        known = list(spellings())
        rows = ", ".join(["(?, ?, ?)"] * len(known))
        self.db.execute(
            f"""CREATE TABLE names AS SELECT category, as_key(spelling) AS key, any_value(name) AS name
            FROM (VALUES {rows}) t(category, spelling, name) GROUP BY ALL""",
            [text for spelling in known for text in spelling],
        )

    def land(self, feed: str) -> None:
        """Every record of the day's files as text, with its address."""
        columns = (*FEEDS[feed], *OPTIONAL[feed])
        for number, path in enumerate(sorted((self.raw / f"ingest_date={self.day}").glob(f"{feed}_raw*.csv"))):
            there = path.open(encoding="utf-8").readline().strip().lower().split(",")
            selected = ", ".join(column if column in there else f"NULL::VARCHAR AS {column}" for column in columns)
            source = path.relative_to(self.raw).as_posix()
            self._save(
                f"raw_{feed}",
                f"""SELECT {selected}, '{source}' AS source_file, row_number() OVER () AS source_row
                FROM read_csv('{path}', header = true, all_varchar = true, delim = ',', quote = '"', escape = '"',
                    hive_partitioning = false)""",
                number,
            )

    def judge(self, feed: str) -> None:
        """Clean and quarantine of a feed, from one evaluation; what was counted goes into the report."""
        rules, id_column = self.rules[feed], FEEDS[feed][0]
        self._name_categories(feed)
        self.db.execute(f"CREATE OR REPLACE TABLE judged AS {self._evaluation(feed)}")
        # Only rows whose id (or, without one, whose whole text) occurs twice can be duplicates.
        self.db.execute(f"""CREATE OR REPLACE TABLE fates AS
            WITH twice AS (SELECT id_key FROM judged GROUP BY id_key HAVING count(*) > 1),
            copies AS (
                SELECT *, 1 < row_number() OVER (
                    PARTITION BY id_key, row_key ORDER BY source_file, source_row) AS is_copy
                FROM judged SEMI JOIN twice USING (id_key)
            ),
            ranked AS (
                SELECT source_file, source_row, row_number() OVER (
                    PARTITION BY {id_column} ORDER BY {rules.best}, source_file DESC, source_row DESC) AS place
                FROM copies WHERE NOT is_copy AND reject_reason IS NULL
            )
            SELECT source_file, source_row, NULL AS lost FROM copies WHERE is_copy
            UNION ALL SELECT source_file, source_row, 'duplicate_{id_column}' FROM ranked WHERE place > 1""")
        self.db.execute("""CREATE OR REPLACE TABLE rejected AS
            SELECT source_file, source_row, coalesce(j.reject_reason, f.lost) AS reject_reason
            FROM judged j LEFT JOIN fates f USING (source_file, source_row)
            WHERE (j.reject_reason IS NOT NULL AND f.source_row IS NULL) OR f.lost IS NOT NULL""")
        self._save(
            f"{feed}_clean",
            f"""SELECT {rules.clean}, warnings, source_file, source_row
            FROM judged ANTI JOIN fates USING (source_file, source_row) WHERE reject_reason IS NULL""",
        )
        self._save(
            f"{feed}_quarantine",
            f"SELECT * FROM {self._table(f'raw_{feed}')} JOIN rejected USING (source_file, source_row)",
        )
        self._count(feed)

    def know_customers(self) -> None:
        """Who exists as of the day: whoever a customers row names, clean or not, and whoever the day before knew."""
        before = self.out / "customers_known" / f"ingest_date={self.day - timedelta(days=1)}"
        known = f"read_parquet('{before}/*.parquet', hive_partitioning = false)"
        if not before.is_dir():
            clean = self._table("customers_clean")
            known = f"(SELECT *, NULL::DATE AS first_seen, NULL::DATE AS last_seen FROM {clean} LIMIT 0)"
        self._save(
            "customers_known",
            f"""SELECT customer_id, coalesce(k.first_seen, DATE '{self.day}') AS first_seen,
                CASE WHEN is_named THEN DATE '{self.day}' ELSE k.last_seen END AS last_seen,
                {", ".join(f"CASE WHEN is_clean THEN c.{name} ELSE k.{name} END AS {name}" for name in PERSON)}
            FROM (
                SELECT DISTINCT says(customer_id) AS customer_id, true AS is_named FROM {self._table("raw_customers")}
            ) FULL JOIN {known} k USING (customer_id)
            LEFT JOIN (SELECT *, true AS is_clean FROM {self._table("customers_clean")}) c USING (customer_id)
            WHERE customer_id IS NOT NULL ORDER BY customer_id""",
        )

    def measure(self) -> None:
        """The day's metrics beyond what was counted on the way."""
        events, orders = self._table("events_clean"), self._table("orders_clean")
        for feed, table in (("events", events), ("orders", orders)):
            self._metric(feed, "active_customers", f"SELECT NULL, count(DISTINCT customer_id) FROM {table}")
        for column in ("event_type", "platform"):
            self._metric("events", f"by_{column}", f"SELECT {column}, count(*) FROM {events} GROUP BY 1")
        self._metric("orders", "by_status", f"SELECT status, count(*) FROM {orders} GROUP BY 1")
        self._metric(
            "events",
            "by_hour",
            f"""SELECT printf('%02d', h), count(event_time) FROM range(24) r(h)
            LEFT JOIN (SELECT event_time FROM {events} WHERE event_date = DATE '{self.day}') ON hour(event_time) = h
            GROUP BY h""",
        )
        for metric, days in (("late_events", 0), ("late_beyond_window", 2)):
            limit = self.day - timedelta(days=days)
            self._metric("events", metric, f"SELECT NULL, count(*) FROM {events} WHERE event_date < DATE '{limit}'")
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            self._metric(
                "events", f"duration_ms_{name}", f"SELECT NULL, quantile_cont(duration_ms, {share}) FROM {events}"
            )
            self._metric(
                "orders",
                f"amount_{name}",
                f"""SELECT currency, quantile_cont(amount::DOUBLE, {share}) FROM {orders}
                GROUP BY GROUPING SETS ((), (currency))""",
            )
        rows = ", ".join("(?, ?, ?, ?)" for _ in self.metrics)
        self.db.execute(
            f"CREATE OR REPLACE TABLE metrics AS SELECT * FROM (VALUES {rows}) t(dataset, metric, dimension, value)",
            [value for metric in self.metrics for value in metric],
        )
        self._save("daily_metrics", "SELECT * FROM metrics ORDER BY ALL")

    def alert(self) -> list[dict[str, Any]]:
        """The rules that a first day can break: there are no days before to compare with."""
        value = {(feed, metric): number for feed, metric, dimension, number in self.metrics if dimension is None}
        silent = sum(1 for _, metric, _, number in self.metrics if metric == "by_hour" and not number)
        fired = [("hourly_coverage", "medium", "events")] if silent > 4 else []
        for feed in FEEDS:
            repeats = value[feed, "duplicate_full_row_rate"] + value[feed, "duplicate_id_rate"]
            fired += [("missing_feed", "high", feed)] if not value[feed, "total"] else []
            fired += [("orphan_rate", "medium", feed)] if value.get((feed, "orphan_rate"), 0) > 0.1 else []
            fired += [("duplicate_rate", "low", feed)] if repeats > 0.2 else []
        fired += [("late_beyond_window", "low", "events")] if value["events", "late_beyond_window"] else []
        return [dict(zip(("rule", "severity", "dataset"), alert, strict=True)) for alert in sorted(fired)]

    def write_reports(self) -> list[dict[str, Any]]:
        """The day's two reports; gives the alerts."""
        alerts = self.alert()
        folder = self.out / "reports" / f"ingest_date={self.day}"
        folder.mkdir(parents=True)
        contents = {"validation_report": self.report, "alerts": {"ingest_date": str(self.day), "alerts": alerts}}
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        return alerts

    def outcome(self, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        """What the day came to, to be compared with the pipeline's; not part of what is measured."""
        names = (*(f"{feed}_clean" for feed in FEEDS), "customers_known")
        tables = {name: totals(self.db, self._table(name)) for name in names}
        metrics = {f"{feed} {metric} {dimension or ''}": value for feed, metric, dimension, value in self.metrics}
        fired = [[alert["rule"], alert["severity"], alert["dataset"]] for alert in alerts]
        return {"report": self.report, "metrics": metrics, "alerts": fired, "tables": tables}

    def _name_categories(self, feed: str) -> None:
        """A little table for each category column, from every text in it to its canonical name."""
        for column, category in self.rules[feed].categories.items():
            text = "split_humps(says(t))" if category == "event_type" else "says(t)"
            self.db.execute(f"""CREATE OR REPLACE TABLE named_{column} AS
                SELECT t AS text, name FROM (SELECT DISTINCT {column} AS t FROM {self._table(f"raw_{feed}")})
                JOIN names ON category = '{category}' AND key = as_key({text})""")

    def _evaluation(self, feed: str) -> str:
        """SQL: every raw row with its values, its reasons, its warnings and what it is compared by."""
        rules, columns = self.rules[feed], (*FEEDS[feed], *OPTIONAL[feed])
        texts = ", ".join(f"says({column}) AS t_{column}" for column in columns)
        named = ", ".join(f"named_{column}.name AS n_{column}" for column in rules.categories)
        joins = " ".join(f"LEFT JOIN named_{column} ON r.{column} = named_{column}.text" for column in rules.categories)
        known, is_known = "", ""
        if feed != "customers":
            joins += " LEFT JOIN known ON says(r.customer_id) = known.known_id"
            is_known = ", known_id IS NOT NULL AS is_known"
            known = f"known AS (SELECT customer_id AS known_id FROM {self._table('customers_known')}), "
        whole_row = ", ".join(f"coalesce(trim(r.{column}), '')" for column in columns)
        values = ", ".join(f"{expression} AS {column}" for column, expression in rules.values.items())
        # One bit for each required column that says nothing: null rates without another pass.
        nulls = " + ".join(f"(t_{column} IS NULL)::INT * {1 << place}" for place, column in enumerate(FEEDS[feed]))
        kept = "t_event_type, " if feed == "events" else ""
        return f"""WITH {known} texts AS (
                SELECT source_file, source_row, {texts}, {named} {is_known}, hash({whole_row}) AS row_key
                FROM {self._table(f"raw_{feed}")} r {joins}
            ),
            typed AS (SELECT * EXCLUDE (n_{", n_".join(rules.categories)}), {values} FROM texts)
            SELECT source_file, source_row, {kept} {", ".join(rules.values)}, row_key,
                coalesce(hash({FEEDS[feed][0]}) , row_key) AS id_key, ({nulls})::UTINYINT AS nulls,
                {_joined(rules.reasons)} AS reject_reason, {_joined(rules.warnings)} AS warnings
            FROM typed"""

    def _count(self, feed: str) -> None:
        """The feed's part of the report, and the metrics that follow from it."""
        id_column, time = FEEDS[feed][0], self.rules[feed].time
        total = self._one("SELECT count(*) FROM judged")
        clean = self._one(f"SELECT count(*) FROM {self._table(f'{feed}_clean')}")
        rejected = self._one("SELECT count(*) FROM rejected")
        copies = self._one("SELECT count(*) FROM fates WHERE lost IS NULL")
        split = (
            "SELECT name, count(*) FROM (SELECT unnest(string_split({0}, '|')) AS name FROM {1}) GROUP BY 1 ORDER BY 1"
        )
        reasons = dict(self.db.execute(split.format("reject_reason", "rejected")).fetchall())
        warned = split.format("warnings", self._table(f"{feed}_clean"))
        lost = reasons.get(f"duplicate_{id_column}", 0)
        self.report[feed] = {
            "total": total,
            "clean": clean,
            "quarantine": rejected,
            "duplicates": {"full_row": copies, "id": lost},
            "quarantine_by_reason": reasons,
            "warnings_by_reason": dict(self.db.execute(warned).fetchall()),
        }
        undated = reasons.get(f"missing_{time}", 0) + reasons.get(f"invalid_{time}", 0)
        repeats = {"duplicate_full_row": copies, "duplicate_id": lost}
        counts = {"total": total, "clean": clean, "quarantine": rejected}
        rates = {
            "duplicate_full_row": copies,
            "duplicate_id": lost,
            "quarantine": rejected,
            "invalid_timestamp": undated,
        }
        if feed != "customers":
            rates["orphan"] = reasons.get("orphan_customer_id", 0)
        self.metrics += [(feed, name, None, float(count)) for name, count in {**counts, **repeats}.items()]
        self.metrics += [(feed, f"{name}_rate", None, count / total if total else 0.0) for name, count in rates.items()]
        shares = ", ".join(f"avg(nulls >> {place} & 1)" for place in range(len(FEEDS[feed])))
        found = self.db.execute(f"SELECT {shares} FROM judged").fetchone()
        self.metrics += [
            (feed, "null_rate", column, share or 0.0) for column, share in zip(FEEDS[feed], found, strict=True)
        ]

    def _metric(self, feed: str, metric: str, query: str) -> None:
        rows = self.db.execute(query).fetchall()
        self.metrics += [(feed, metric, dimension, float(value)) for dimension, value in rows if value is not None]

    def _one(self, query: str) -> int:
        return self.db.execute(query).fetchone()[0]

    def _table(self, name: str) -> str:
        return f"read_parquet('{self.out / name / f'ingest_date={self.day}'}/*.parquet', hive_partitioning = false)"

    def _save(self, table: str, query: str, number: int = 0) -> None:
        folder = self.out / table / f"ingest_date={self.day}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part-{number:05d}.parquet"
        self.db.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


def _joined(conditions: Mapping[str, str]) -> str:
    """The names of the conditions that hold, joined by `|`; null when none does."""
    if not conditions:
        return "NULL::VARCHAR"
    cases = ", ".join(f"CASE WHEN {condition} THEN '{name}' END" for name, condition in conditions.items())
    return f"nullif(concat_ws('|', {cases}), '')"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--dates", type=date.fromisoformat, nargs="+", required=True, help="ingest dates, in order")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--memory", help="DuckDB's memory_limit; its default is 80 %% of the machine's")
    asked = parser.parse_args()
    shutil.rmtree(asked.out, ignore_errors=True)
    print(json.dumps({"days": [run_day(asked.raw, asked.out, day, asked.memory) for day in asked.dates]}))


def run_day(raw: Path, out: Path, day: date, memory: str | None) -> dict[str, Any]:
    """One ingest date and the event dates that it touches, a lap per stage."""
    meter = Meter()
    with meter.lap("set up"):
        peer = PeerDay(raw, out, day, memory)
        activity = PeerActivity(peer.db, out, day)
    for feed in FEEDS:
        with meter.lap(f"raw_{feed}"):
            peer.land(feed)
    with meter.lap("customers_clean"):
        peer.judge("customers")
    with meter.lap("customers_known"):
        peer.know_customers()
    for feed in ("events", "orders"):
        with meter.lap(f"{feed}_clean"):
            peer.judge(feed)
    with meter.lap("daily_metrics"):
        peer.measure()
    with meter.lap("alerts"):
        alerts = peer.write_reports()
    stages = {
        "events_by_date": activity.gather,
        "sessions": activity.sessionise,
        "activity_metrics": activity.measure,
        "activity_alerts": activity.alert,
    }
    for name, run in stages.items():
        with meter.lap(name):
            run()
    outcome = peer.outcome(alerts) | {"activity": activity.outcome()}
    peer.db.close()
    return {"day": day.isoformat(), **meter.result(), "outcome": outcome}


if __name__ == "__main__":
    main()
