"""Raw rows of a feed and day into clean, quarantine and profile: three outputs of one evaluation of the rules.

Rows pass in slices, so memory depends on the slice and on the duplicates, not on the day. Three passes: which
ids repeat (hashes only), which of those rows stay (only candidates are evaluated), and the split itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from assets_pkg.contracts.feeds import CUSTOMERS, Feed
from assets_pkg.contracts.tables import CUSTOMERS_KNOWN
from assets_pkg.steps.provenance import inputs_of, is_current, replacing
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms import duplicates
from assets_pkg.transforms.customers import orphan_texts
from assets_pkg.transforms.evaluate import evaluate
from assets_pkg.transforms.metrics import Profile
from assets_pkg.transforms.split import Split, Splitter

CLEAN_POLICY = ("feeds", "values", "categories")  # the sections that decide which rows are clean
_CANDIDATES_AT_ONCE = 100_000


@dataclass(frozen=True)
class CleanDay:
    """What a clean step did: the counts it wrote as the profile."""

    profile: Profile


def clean(work: Workplace, feed: Feed, day: date) -> CleanDay:
    """Replace the feed's clean, quarantine and profile partitions of `day`, from its raw partition.

    Unless they are already made of it, as it is.
    """
    lake = work.lake
    inputs = clean_inputs(work, feed, day)
    if is_current(work, (feed.clean_table, feed.quarantine, feed.profile), day, inputs):
        return CleanDay(Profile(lake.scan(feed.profile, [day]).collect()))
    rules = DayRules(work, feed, day)
    replace = replacing(work, day, inputs)
    with (
        replace(feed.clean_table) as clean_rows,
        replace(feed.quarantine) as quarantine,
        replace(feed.profile) as profile,
    ):
        for part in rules.split():
            clean_rows.write(part.clean)
            quarantine.write(part.quarantine)
        counts = rules.splitter.tally.frame()
        profile.write(counts)
    return CleanDay(Profile(counts))


def clean_inputs(work: Workplace, feed: Feed, day: date) -> str:
    """A digest of what the feed's clean step of `day` reads."""
    sources = {feed.raw: [day], **({} if feed is CUSTOMERS else {CUSTOMERS_KNOWN.name: [day]})}
    return inputs_of(work, CLEAN_POLICY, sources)


class DayRules:
    """The rules of one feed and day with what they need to know about the whole day: orphans and duplicates."""

    def __init__(self, work: Workplace, feed: Feed, day: date) -> None:
        self._lake = work.lake
        self._feed = feed
        self._day = day
        self._policy = work.policy
        self._orphans = self._find_orphans()
        self.splitter = Splitter(feed, self._policy, day, self._find_fates())

    def split(self) -> Iterator[Split]:
        """The day's rows, divided, slice by slice; afterwards the splitter's tally is complete."""
        for lazy in self._slices():
            raw = lazy.collect(engine="in-memory")
            yield self.splitter.split(raw, self._evaluate(raw))

    def _slices(self) -> list[pl.LazyFrame]:
        return self._lake.slices(self._feed.raw, self._day)

    def _evaluate(self, raw: pl.DataFrame) -> pl.DataFrame:
        rows = evaluate(raw.lazy(), self._feed, self._policy, self._day, self._orphans)
        return rows.collect(engine="in-memory")

    def _find_orphans(self) -> pl.Series:
        if not self._feed.policy(self._policy).check_orphans:
            return pl.Series(dtype=pl.String)
        raw, known = self._lake.scan(self._feed.raw, [self._day]), self._lake.scan(CUSTOMERS_KNOWN.name, [self._day])
        named = raw.select(pl.col("customer_id").drop_nulls().unique()).collect(engine="streaming").to_series()
        known_ids = known.select("customer_id").collect(engine="streaming").to_series()
        return orphan_texts(named, known_ids, self._policy)

    def _find_fates(self) -> pl.DataFrame:
        keys = list(self._candidate_keys())
        twice = duplicates.repeated(pl.concat(keys)) if keys else pl.Series(dtype=pl.UInt64)
        found = [duplicates.no_candidates(self._feed)]
        waiting: list[pl.DataFrame] = []
        for raw, of_rows in zip(self._slices(), keys, strict=True):
            waiting.append(raw.collect(engine="in-memory").filter(of_rows.is_in(twice.implode())))
            # An evaluation costs 50 ms before its first row, so the few candidates of a slice wait for more.
            if sum(map(len, waiting)) >= _CANDIDATES_AT_ONCE:
                found.append(self._fingerprints(waiting))
                waiting = []
        if waiting:
            found.append(self._fingerprints(waiting))
        return duplicates.decide(pl.concat(found))

    def _fingerprints(self, pieces: list[pl.DataFrame]) -> pl.DataFrame:
        candidates = pl.concat(pieces)
        return duplicates.fingerprints(candidates, self._evaluate(candidates), self._feed)

    def _candidate_keys(self) -> Iterator[pl.Series]:
        """A key per row, equal for rows that may repeat each other; whole rows are read only where ids are missing."""
        for raw in self._slices():
            keyed = duplicates.id_keys(raw, self._feed, self._policy).collect()
            keys, anonymous = keyed["key"], keyed["anonymous"].arg_true()
            if len(anonymous):
                rows = raw.collect(engine="in-memory").gather(anonymous)
                keys = keys.scatter(anonymous, duplicates.row_keys(rows, self._feed))
            yield keys
