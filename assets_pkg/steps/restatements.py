"""Restatements: which numbers of an event date a refresh changed, before and after, and whose doing it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import EVENTS, MICROS
from assets_pkg.contracts.tables import ACTIVITY_METRICS, EVENT_DATE, EVENTS_BY_DATE, RESTATEMENTS, Table
from assets_pkg.steps.landed import clean_rows, gathered_from
from assets_pkg.steps.provenance import digest_of, is_built_from
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError
from assets_pkg.transforms.activity import Sources, causes
from assets_pkg.transforms.windows import BESIDE, Window, landing

_TOLD: Final = "told"
_UNREADABLE: Final = (LakeError, OSError, pl.exceptions.ComputeError)


def readable(work: Workplace, table: Table, event_date: date) -> pl.DataFrame | None:
    """The rows of a partition that is to be made anew; None if its file is lost or spoilt, which must not hinder."""
    try:
        return work.lake.scan(table.name, [event_date]).drop(EVENT_DATE).collect()
    except _UNREADABLE:
        return None


@dataclass
class History:
    """The restatements of an event date, and what its metrics were made from, which their data file keeps.

    `sources`: for each event date whose events decide sessions of this one, the versions of the clean partitions
    that they were gathered from, and how many of their rows. `policy`: a digest of what decides numbers; `window`: the
    days that events may land on.
    """

    event_date: date
    rows: pl.DataFrame
    metrics: str = ""
    sources: Sources = field(default_factory=dict)
    policy: str = ""
    window: Window | None = None
    withdrawn: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    """Whether what was told before could not be read; the numbers of the date are told of anew from here on."""

    @classmethod
    def of(cls, work: Workplace, event_date: date) -> "History":
        """As it is told; but what was told of metrics that never came is taken back."""
        lake = work.lake
        rows = readable(work, RESTATEMENTS, event_date)
        if rows is None:
            return cls(event_date, pl.DataFrame(schema=RESTATEMENTS.schema), lost=True)
        files = lake.files(RESTATEMENTS.name, event_date)
        told = json.loads(files[0].pieces()[0].facts.get(_TOLD, "{}")) if files else {}
        if told and told["metrics"] != lake.version(ACTIVITY_METRICS.name, event_date):
            told = told["before"]
            rows = rows.filter(pl.col("revision") <= told["revision"])
        window = Window(*told["window"]) if told.get("window") else None
        return cls(event_date, rows, told.get("metrics", ""), told.get("sources", {}), told.get("policy", ""), window)

    def add(self, work: Workplace, changed: pl.DataFrame, metrics: str) -> pl.DataFrame:
        """Tell of a refresh that changed these numbers; `metrics`: the version that activity_metrics gets.

        Gives the rows that tell of it: none for a date's first numbers, which restate nothing.
        """
        self.withdrawn = self._told() | {"revision": self._revision()}
        sources, policy, window = self._sources_now(work), _deciding(work), landing(work.policy)
        added = changed.clear() if not self.metrics else changed
        added = added.with_columns(
            pl.lit(self._revision() + 1).alias("revision"),
            pl.lit(datetime.now(UTC), MICROS).alias("restated_at"),
            pl.lit(causes(self.sources, sources, _both(self.window, window)), pl.List(pl.Date)).alias("caused_by"),
            pl.lit(policy != self.policy).alias("policy_changed"),
        )
        added = added.select(list(RESTATEMENTS.schema)).cast(RESTATEMENTS.schema)
        self.rows = pl.concat([self.rows, added])
        self.metrics, self.sources, self.policy, self.window = metrics, sources, policy, window
        return added

    def facts(self) -> dict[str, str]:
        """What the data file keeps."""
        return {_TOLD: json.dumps(self._told() | {"before": self.withdrawn}, sort_keys=True)}

    def _told(self) -> dict[str, Any]:
        window = [self.window.first, self.window.last] if self.window else None
        return {"metrics": self.metrics, "sources": self.sources, "policy": self.policy, "window": window}

    def _revision(self) -> int:
        newest = self.rows["revision"].max()
        return newest if isinstance(newest, int) else 0

    def _sources_now(self, work: Workplace) -> Sources:
        """By what lies there now.

        Where a clean partition was replaced since the events were gathered, nobody knows which version they came
        from: what differs from before may be a cause now, and again when they are gathered anew.
        """
        found: dict[str, Mapping[str, tuple[str, int]]] = {}
        for near in BESIDE.of(self.event_date):
            days = {day: work.lake.version(EVENTS.clean_table, day) for day in landing(work.policy).of(near)}
            now = {str(day): (version, clean_rows(work, day, near)) for day, version in days.items() if version}
            if not is_built_from(work, EVENTS_BY_DATE.name, near, gathered_from(work, near)):
                before = self.sources.get(str(near), {})
                now = {
                    day: (version if tuple(before.get(day, ())) == (version, rows) else f"not {version}", rows)
                    for day, (version, rows) in now.items()
                }
            found[str(near)] = now
        return found


def _deciding(work: Workplace) -> str:
    """A digest of what the policy says that can make numbers of a date others."""
    window = landing(work.policy)
    return digest_of(map(str, (work.policy.activity.session_timeout_us, window.first, window.last)))


def _both(one: Window | None, other: Window) -> Window:
    """The days in both windows: what one lacks is no doing of the day's files."""
    return other if one is None else Window(max(one.first, other.first), min(one.last, other.last))
