"""Pandera schemas of the clean tables, made from the row rules: what rejects a row must not be seen there.

Types and nullability come from the feed, one check per rule that a clean row could break, allowed names from the
policy. `unique` of the id is not among them: it speaks of a whole partition, and schemas are used slice by slice.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import pandera.polars as pa
import polars as pl
from pandera.api.polars.types import PolarsData

from assets_pkg.contracts.feeds import Feed
from assets_pkg.contracts.rules import Rule, duplicate_of, reject_rules
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy import Policy


def clean_schema(feed: Feed, policy: Policy, day: date, names: Mapping[str, Sequence[str]]) -> pa.DataFrameSchema:
    """The schema of the feed's clean table on ingest date `day`.

    `names` are the canonical names of its category columns, by column.
    """
    rules = [rule for rule in reject_rules(feed, policy, day) if rule.in_clean is not None]
    rules = [rule for rule in rules if rule.reason != duplicate_of(feed)]
    never_null = {name for name in feed.clean if any(_forbids_null(rule, name) for rule in rules)}
    columns = {
        name: pa.Column(
            dtype,
            nullable=name not in {*never_null, *_ALWAYS_THERE},
            checks=pa.Check.isin(list(names[name]), name=f"{name}_is_known") if name in names else None,
        )
        for name, dtype in TABLES[feed.clean_table].schema.items()
    }
    checks = [_check(rule) for rule in rules if not any(_forbids_null(rule, name) for name in feed.clean)]
    return pa.DataFrameSchema(columns, checks=checks, strict=True, ordered=True, name=feed.clean_table)


_ALWAYS_THERE = ("source_file", "source_row", "event_date")


def _forbids_null(rule: Rule, column: str) -> bool:
    return rule.in_clean is not None and rule.in_clean.meta.eq(pl.col(column).is_null())


def _check(rule: Rule) -> pa.Check:
    broken = rule.in_clean
    assert broken is not None

    def holds(data: PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(~broken.fill_null(value=False))

    return pa.Check(holds, name=rule.reason, error=rule.meaning)
