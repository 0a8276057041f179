"""The `sessions` command's work: a file of events in, sessions and skipped events out, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from assets_pkg.contracts.event_file import EVENT, REASON, SESSIONS_FILE, SKIPPED_FILE
from assets_pkg.policy import Policy
from assets_pkg.storage.event_files import Broken, Events, open_events
from assets_pkg.storage.whole_files import Format, TableFile, whole_files
from assets_pkg.transforms.event_file import Judge, distinct, in_order, skipped_rows, spans_by_gap, whole_spans

BROKEN_TOLD: Final = 10
_AT_ONCE: Final = 2**23  # bytes of events


@dataclass
class FileSummary:
    """What became of a file's events: total = valid + duplicates + all skipped.

    `skipped`: how many by reason; `broken`: the first BROKEN_TOLD of those that could not be read.
    """

    total: int = 0
    valid: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    users: int = 0
    sessions: int = 0
    fault: str = ""
    broken: list[Broken] = field(default_factory=list)


def sessions_of_file(
    source: Path, target: Path, skips: Path | None, policy: Policy, *, by_gap: bool, form: Format
) -> FileSummary:
    """Write the sessions of the events in `source` to `target`, and what is skipped to `skips` if it is given.

    `by_gap`: split by the policy's session timeout; else one row per user. Raises UnreadableFileError and
    UnwritableFileError, and then leaves all files as they were.
    """
    summary = FileSummary()
    with whole_files(form) as files:
        sessions = files.new(target, SESSIONS_FILE)
        skipped = files.new(skips, SKIPPED_FILE) if skips else None
        spans = _spans(_read(source, policy, skipped, summary), policy, summary, by_gap=by_gap)
        summary.sessions = spans.height
        summary.users = spans["customer"].n_unique()
        for rows in in_order(spans):
            sessions.write(rows)
    return summary


def _read(source: Path, policy: Policy, skipped: TableFile | None, summary: FileSummary) -> pl.DataFrame:
    """The events that count, as `Judge.split` gives them; the others go to `skipped`."""
    judge = Judge(policy.values)
    pieces = [judge.split(pl.DataFrame(schema=SKIPPED_FILE))[0]]
    with open_events(source, policy) as events:
        summary.fault = events.fault
        for some in _many(events):
            counting, left = judge.split(some.rows)
            pieces.append(counting)
            if some.broken:
                left = pl.concat([left, skipped_rows([each.event for each in some.broken], events.fault)])
                summary.broken += some.broken[: BROKEN_TOLD - len(summary.broken)]
            if left.height:
                summary.skipped.update(dict(left[REASON].value_counts().iter_rows()))
                if skipped is not None:
                    skipped.write(left.sort(EVENT))
            summary.total += counting.height + left.height
    return pl.concat(pieces, rechunk=True)


def _many(events: Iterable[Events]) -> Iterator[Events]:
    """The same events, more at a time: judging has a price of its own, however few they are."""
    waiting: list[Events] = []
    for some in events:
        waiting.append(some)
        if sum(each.rows.estimated_size() for each in waiting) >= _AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(events: list[Events]) -> Events:
    return Events(pl.concat([each.rows for each in events]), [broken for each in events for broken in each.broken])


def _spans(events: pl.DataFrame, policy: Policy, summary: FileSummary, *, by_gap: bool) -> pl.DataFrame:
    """Who did what from when to when, as `whole_spans` gives it."""
    counting = 0
    found = []
    for some in distinct(events):
        counting += some.height
        found.append(some.select("customer", "at_us") if by_gap else whole_spans(some))
    summary.valid, summary.duplicates = counting, events.height - counting
    none = whole_spans(events.clear())
    if not by_gap:
        return pl.concat([none, *found])
    del events
    once = pl.concat([none.select("customer", pl.col("start_us").alias("at_us")), *found])
    found.clear()
    return pl.concat([none, *spans_by_gap(once, policy)])
