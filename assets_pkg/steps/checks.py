"""Looking at tables that were written: do the numbers add up, do the values keep the rules, what was rejected."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl
from pandera.errors import SchemaErrors

from assets_pkg.contracts.feeds import ADDRESS, RAW_TEXT, UNKNOWN, Feed
from assets_pkg.contracts.rules import ORPHAN, SEPARATOR, reject_rules, rejected_for
from assets_pkg.contracts.schemas import clean_schema
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy import Policy
from assets_pkg.steps.clean import clean_inputs
from assets_pkg.steps.known import customers_as_of, up_to_date
from assets_pkg.steps.provenance import is_built_from
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.categories import category_names
from assets_pkg.transforms.duplicates import repeated
from assets_pkg.transforms.metrics import Profile
from assets_pkg.transforms.split import FULL_ROW

_ID_SEED = 5


@dataclass(frozen=True)
class Conservation:
    """Where a day's raw rows went. Rows are counted in the tables themselves; only copies are known by their tally."""

    total: int
    clean: int
    quarantine: int
    full_row_duplicates: int

    @property
    def lost(self) -> int:
        """Raw rows that are nowhere (or, below 0, rows that came from nowhere)."""
        return self.total - self.clean - self.quarantine - self.full_row_duplicates


def conservation(work: Workplace, feed: Feed, day: date) -> Conservation:
    """Count the feed's rows of `day` in raw, clean and quarantine."""
    profile = Profile(work.lake.scan(feed.profile, [day]).collect())
    return Conservation(
        work.lake.rows(feed.raw, day),
        work.lake.rows(feed.clean_table, day),
        work.lake.rows(feed.quarantine, day),
        profile.rows(FULL_ROW),
    )


@dataclass
class SchemaFailures:
    """What a clean partition breaks: how many values per check, and the first rows."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)


def schema_failures(work: Workplace, feed: Feed, day: date) -> SchemaFailures:
    """Validate every value of the feed's clean partition of `day`, and that ids are unique."""
    failures = SchemaFailures()
    schema = clean_schema(feed, work.policy, day, category_values(feed, work.policy))
    most = work.policy.checks.sample_rows
    hashes = []
    for piece in work.lake.slices(feed.clean_table, day):
        rows = piece.collect(engine="in-memory")
        hashes.append(rows[feed.id].hash(_ID_SEED))
        try:
            schema.validate(rows, lazy=True)
        except SchemaErrors as errors:
            cases = errors.failure_cases.with_columns(pl.coalesce("column", pl.lit("")).alias("column"))
            for (column, check), found in cases.group_by("column", "check", maintain_order=True):
                failures.counts[f"{column}: {check}" if column else str(check)] += found.height
                for index, value in found.select("index", "failure_case").head(most).iter_rows():
                    where = dict(zip(ADDRESS, rows.row(index)[-2:], strict=True)) if index is not None else {}
                    failures.rows.append({**where, "column": column, "check": check, "value": str(value)})
    twice = repeated(pl.concat(hashes)) if hashes else pl.Series(dtype=pl.UInt64)
    if len(twice):
        suspects = work.lake.scan(feed.clean_table, [day]).filter(pl.col(feed.id).hash(_ID_SEED).is_in(twice.implode()))
        copies = suspects.select(*ADDRESS, feed.id).collect().filter(pl.col(feed.id).is_duplicated())
        if copies.height:
            failures.counts[f"{feed.id}: unique"] += copies.height
            for row in copies.head(most).iter_rows(named=True):
                where = {name: row[name] for name in ADDRESS}
                failures.rows.append({**where, "column": feed.id, "check": "unique", "value": row[feed.id]})
    failures.rows = failures.rows[:most]
    return failures


def category_values(feed: Feed, policy: Policy) -> dict[str, list[str]]:
    """The names each category column of the clean table may hold."""
    return {
        column: sorted({*category_names(of.category, policy).values(), *([UNKNOWN] if of.or_unknown else [])})
        for column, of in feed.categories.items()
    }


@dataclass(frozen=True)
class RejectedRows:
    """Reasons of a day's rejected rows with their counts, meanings and shares of all rows, and the first rows."""

    total: int
    rejected: int
    reasons: list[dict[str, Any]]
    first: pl.DataFrame

    @property
    def rate(self) -> float:
        """Rejected rows as a share of all rows."""
        return self.rejected / self.total if self.total else 0.0


def rejected_rows(work: Workplace, feed: Feed, day: date) -> RejectedRows:
    """What the row rules rejected on `day`, counted in the quarantine table itself."""
    quarantine = work.lake.scan(feed.quarantine, [day])
    joined = quarantine.group_by("reject_reason").agg(rows=pl.len()).collect(engine="streaming")
    counts: Counter[str] = Counter()
    for reasons, rows in joined.iter_rows():
        for reason in reasons.split(SEPARATOR):
            counts[reason] += rows
    total = work.lake.rows(feed.raw, day)
    meanings = {rule.reason: rule.meaning for rule in reject_rules(feed, work.policy, day)}
    reasons_table = [
        {"reason": reason, "rows": rows, "rate": round(rows / total, 6), "meaning": meanings.get(reason, "")}
        for reason, rows in counts.most_common()
    ]
    return RejectedRows(total, int(joined["rows"].sum()), reasons_table, preview(work, feed, day))


def preview(work: Workplace, feed: Feed, day: date, reason: str | None = None) -> pl.DataFrame:
    """The first rejected rows, of one reason if given, in order of file and row.

    Where they are, why, and what they say, as JSON of the columns that say anything.
    """
    quarantine = work.lake.scan(feed.quarantine, [day])
    rows = (
        (quarantine.filter(rejected_for(reason)) if reason else quarantine)
        .sort(ADDRESS)
        .head(work.policy.checks.sample_rows)
        .collect(engine="streaming")
    )
    said = [
        json.dumps({name: value for name, value in row.items() if value}, ensure_ascii=False)
        for row in rows.select(*feed.raw_columns, RAW_TEXT).iter_rows(named=True)
    ]
    return rows.select(*ADDRESS, "reject_reason").with_columns(pl.Series("row", said, dtype=pl.String))


@dataclass(frozen=True)
class Healable:
    """A day's quarantined orphans, and the rows that customers files decide otherwise which came or changed since.

    `healable`: orphans whose customer is known as of the day by now; `orphaned`: clean rows whose customer is no more.
    `first`: the first of both.
    """

    orphans: int
    healable: int
    orphaned: int
    first: pl.DataFrame

    @property
    def is_decided(self) -> bool:
        """Whether running the day again would decide no row otherwise."""
        return not self.healable and not self.orphaned


def healable_orphans(work: Workplace, feed: Feed, day: date) -> Healable:
    """Count the day's rows that would be clean, or orphans, if it were run again: customers files up to it changed."""
    orphans = Profile(work.lake.scan(feed.profile, [day]).collect()).reason(ORPHAN)
    columns = (*ADDRESS, "customer_id")
    none = pl.DataFrame(schema=TABLES[feed.quarantine].schema).select(columns)
    if day not in undecided_days(work, feed, [day]):
        return Healable(orphans, 0, 0, none)
    rows = work.lake.scan(feed.quarantine, [day]).filter(rejected_for(ORPHAN)).select(columns)
    named = rows.with_columns(pl.col("customer_id").str.strip_chars())
    known = customers_as_of(work, day).lazy().select("customer_id")
    healable = named.join(known, on="customer_id", how="semi").collect(engine="streaming").sort(ADDRESS)
    clean = work.lake.scan(feed.clean_table, [day]).select(columns)
    orphaned = clean.join(known, on="customer_id", how="anti").collect(engine="streaming").sort(ADDRESS)
    first = pl.concat([healable, orphaned]).head(work.policy.checks.sample_rows)
    return Healable(orphans, healable.height, orphaned.height, first)


def healable_said(feed: Feed, day: date, found: Healable) -> str:
    """Which rows of a day would be decided otherwise, in words."""
    healable = f"{found.healable:,} of {found.orphans:,} orphans name customers who are known as of {day} by now"
    orphaned = f"{found.orphaned:,} clean {feed.name} name customers who are known as of {day} no more"
    return " and ".join(said for said, rows in ((healable, found.healable), (orphaned, found.orphaned)) if rows)


def undecided_days(work: Workplace, feed: Feed, days: Iterable[date] | None = None) -> list[date]:
    """Those of `days` whose rows were not judged by the customers that are known as of them by now.

    Of all days that were processed, unless given.
    """
    asked = list(work.lake.partitions(feed.quarantine) if days is None else days)
    known = up_to_date(work, asked)
    return [
        day
        for day in asked
        if day not in known or not is_built_from(work, feed.quarantine, day, clean_inputs(work, feed, day))
    ]
