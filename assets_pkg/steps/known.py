"""The customers known as of a day: all customers partitions up to it, folded in date order.

The snapshot of D is a function of every customers partition up to D. It is not built from all of them each time:
the newest earlier snapshot that was built from exactly what lies there now (its `built_from` says so) is taken
as the start, and only later days are folded in. So a single day folds one partition, a range folds each once,
gaps do no harm, and a snapshot made stale by a repaired earlier day is never built upon (docs/adr/0003).
"""

import hashlib
from collections.abc import Collection
from datetime import date

import polars as pl

from assets_pkg.contracts.feeds import CUSTOMERS
from assets_pkg.contracts.tables import CUSTOMERS_KNOWN
from assets_pkg.steps.provenance import is_built_from, is_current, replacing
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.customers import known_from_day, known_so_far

_TABLE = CUSTOMERS_KNOWN.name


def know_customers(work: Workplace, day: date) -> int:
    """Replace the snapshot of `day`, unless it is up to date; gives its number of customers."""
    inputs = _digest_as_of(_chain(work, day), day)
    if is_current(work, [_TABLE], day, inputs):
        return work.lake.rows(_TABLE, day)
    rows = customers_as_of(work, day)
    with replacing(work, day, inputs)(_TABLE) as writer:
        writer.write(rows)
    return rows.height


def up_to_date(work: Workplace, days: Collection[date]) -> set[date]:
    """Those of `days` whose snapshot is built from the customers partitions that lie there now."""
    chain = _chain(work, max(days, default=date.min))
    return {day for day in days if is_built_from(work, _TABLE, day, _digest_as_of(chain, day))}


def customers_as_of(work: Workplace, day: date) -> pl.DataFrame:
    """The rows of customers_known of `day`, from the customers partitions that lie there now."""
    lake = work.lake
    chain = _chain(work, day)
    start = _newest_sound(work, chain, day)
    known = lake.scan(_TABLE, [start] if start else []).drop(CUSTOMERS_KNOWN.partition_by)
    known = known.with_columns(has_clean=pl.col("created_at").is_not_null())  # a clean row always has one
    so_far = known.collect()
    for later in chain:
        if start is None or later > start:
            raw, clean = lake.scan(CUSTOMERS.raw, [later]), lake.scan(CUSTOMERS.clean_table, [later])
            so_far = known_so_far(so_far.lazy(), known_from_day(raw, clean, later, work.policy)).collect()
    return so_far.sort("customer_id").select(list(CUSTOMERS_KNOWN.schema))


def _chain(work: Workplace, day: date) -> dict[date, str]:
    """For every customers partition with rows up to `day`, in order: a digest of it and all before it."""
    raw, clean = work.lake.partitions(CUSTOMERS.raw), work.lake.partitions(CUSTOMERS.clean_table)
    digest = work.policy.fingerprint("values", "feeds")
    chain = {}
    for each, partition in raw.items():
        if each <= day and partition.rows:
            cleaned = clean[each].version if each in clean else ""
            text = f"{digest} {each} {partition.version} {cleaned}"
            digest = hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
            chain[each] = digest
    return chain


def _digest_as_of(chain: dict[date, str], day: date) -> str:
    return next((digest for each, digest in reversed(chain.items()) if each <= day), "nobody")


def _newest_sound(work: Workplace, chain: dict[date, str], day: date) -> date | None:
    """The newest snapshot before `day` that was built from the partitions that lie there now."""
    first = min(chain, default=day)
    for each, snapshot in reversed(work.lake.partitions(_TABLE).items()):
        # Built by older code is sound too, or every upgrade would fold all days again.
        if first <= each < day and snapshot.rows and is_built_from(work, _TABLE, each, _digest_as_of(chain, each)):
            return each
    return None
