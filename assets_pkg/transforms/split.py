"""Evaluated rows into clean and quarantine, and what is counted on the way (contract §3, §5)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import RAW_TEXT, SOURCE_FILE, SOURCE_ROW, Feed
from assets_pkg.contracts.rules import Rule, duplicate_of, reject_rules, warning_rules
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy import Policy
from assets_pkg.transforms.duplicates import DROPPED, LOST
from assets_pkg.transforms.evaluate import REASONS, WARNINGS, bit, mask_texts

# Kinds of counts in a profile.
ROWS: Final = "rows"
REASON: Final = "reason"
WARNING: Final = "warning"
NULL: Final = "null"
# Of one raw file, named by its path: its rows that are …
FILE_CLEAN, FILE_QUARANTINE = "file_clean", "file_quarantine"
FILE_FULL_ROW, FILE_SAME_ID = "file_full_row_duplicates", "file_id_duplicates"
TOTAL, CLEAN, QUARANTINE, FULL_ROW, WELL_FORMED = "total", "clean", "quarantine", "full_row_duplicates", "well_formed"


@dataclass
class Tally:
    """Counts of a feed's day, by (kind, name); grows slice by slice and becomes the profile table."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, kind: str, name: str, rows: int) -> None:
        """Count `rows` more."""
        self.counts[kind, name] += rows

    def frame(self) -> pl.DataFrame:
        """The profile's rows: kind, name, rows; ordered."""
        rows = [(kind, name, count) for (kind, name), count in sorted(self.counts.items())]
        return pl.DataFrame(rows, schema={"kind": pl.String, "name": pl.String, "rows": pl.Int64}, orient="row")


@dataclass(frozen=True)
class Split:
    """A slice of rows, divided."""

    clean: pl.DataFrame
    quarantine: pl.DataFrame


class Splitter:
    """Divides the slices of one feed and ingest date, and counts them."""

    def __init__(self, feed: Feed, policy: Policy, day: date, fates: pl.DataFrame) -> None:
        """`fates` are the rows that do not stay, as `duplicates.decide` gives them."""
        self.feed = feed
        self.rejects: tuple[Rule, ...] = reject_rules(feed, policy, day)
        self.warnings: tuple[Rule, ...] = warning_rules(feed, policy)
        self.required = feed.required(policy)
        self.tally = Tally()
        self._duplicate = bit(self.rejects, duplicate_of(feed))
        self._fates = {
            str(name): {str(fate): rows[SOURCE_ROW] for (fate,), rows in of_file.group_by("fate")}
            for (name,), of_file in fates.select(SOURCE_FILE, SOURCE_ROW, "fate").group_by(SOURCE_FILE)
        }

    def split(self, raw: pl.DataFrame, evaluated: pl.DataFrame) -> Split:
        """Divide some raw rows; `evaluated` are the same rows, evaluated. Adds to the tally."""
        dropped, lost = self._fate(evaluated, DROPPED), self._fate(evaluated, LOST)
        self._count_texts(raw, evaluated)
        reasons = evaluated[REASONS]
        if lost.any():
            reasons = reasons | (lost.cast(pl.UInt64) * self._duplicate)
        is_clean = (reasons == 0) & ~dropped
        is_rejected = (reasons != 0) & ~dropped
        clean_names = [name for name in TABLES[self.feed.clean_table].schema if name != "warnings"]
        clean = _rows(evaluated, [*clean_names, WARNINGS], is_clean)
        warnings = clean[WARNINGS]
        clean = clean.drop(WARNINGS).hstack([mask_texts(warnings, self.warnings).alias("warnings")])
        quarantine = _rows(raw, raw.columns, is_rejected)
        rejected = reasons.filter(is_rejected)
        quarantine = quarantine.hstack([mask_texts(rejected, self.rejects).alias("reject_reason")])
        self.tally.add(ROWS, TOTAL, raw.height)
        self.tally.add(ROWS, CLEAN, clean.height)
        self.tally.add(ROWS, QUARANTINE, quarantine.height)
        self.tally.add(ROWS, FULL_ROW, int(dropped.sum()))
        by_file = {FILE_CLEAN: is_clean, FILE_QUARANTINE: is_rejected, FILE_FULL_ROW: dropped, FILE_SAME_ID: lost}
        self._count_files(raw[SOURCE_FILE], by_file)
        self._count_bits(REASON, rejected, self.rejects)
        self._count_bits(WARNING, warnings, self.warnings)
        return Split(
            clean.select(list(TABLES[self.feed.clean_table].schema)),
            quarantine.select(list(TABLES[self.feed.quarantine].schema)),
        )

    def _fate(self, rows: pl.DataFrame, fate: str) -> pl.Series:
        """Which rows meet `fate`. Rows of one file stand together, so there are few files to look at."""
        mask = pl.repeat(value=False, n=rows.height, dtype=pl.Boolean, eager=True)
        for name in rows[SOURCE_FILE].unique():
            numbers = self._fates.get(name, {}).get(fate)
            if numbers is not None:
                mask = mask | ((rows[SOURCE_FILE] == name) & rows[SOURCE_ROW].is_in(numbers.implode()))
        return mask

    def _count_texts(self, raw: pl.DataFrame, evaluated: pl.DataFrame) -> None:
        well_formed = raw[RAW_TEXT].is_null()
        rows = evaluated if well_formed.all() else evaluated.filter(well_formed)
        self.tally.add(ROWS, WELL_FORMED, rows.height)
        for column in self.required:
            self.tally.add(NULL, column, rows[f"text:{column}"].null_count())

    def _count_files(self, files: pl.Series, masks: Mapping[str, pl.Series]) -> None:
        names = files.unique()
        for name in names:
            of_file = files == name if len(names) > 1 else None  # rows of one file stand together: mostly there is one
            for kind, mask in masks.items():
                self.tally.add(kind, name, int((mask if of_file is None else mask & of_file).sum()))

    def _count_bits(self, kind: str, masks: pl.Series, rules: tuple[Rule, ...]) -> None:
        for mask, count in masks.value_counts().iter_rows():
            for position, rule in enumerate(rules):
                if mask >> position & 1:
                    self.tally.add(kind, rule.reason, count)


def _rows(frame: pl.DataFrame, columns: Sequence[str], mask: pl.Series) -> pl.DataFrame:
    """Some columns of the rows that `mask` marks. Lazy: an eager select on a frame of many chunks copies all of it."""
    marked = frame.lazy().with_columns(mask.alias("__kept")).filter("__kept")
    return marked.select(columns).collect(engine="in-memory").rechunk()
