"""What a changed policy would do to a day: which rows would move between clean and quarantine, and why.

Writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from assets_pkg.contracts.feeds import ADDRESS, Feed
from assets_pkg.steps.clean import DayRules
from assets_pkg.steps.files import files_read_otherwise
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.metrics import Profile
from assets_pkg.transforms.split import CLEAN, QUARANTINE, REASON, WARNING


@dataclass(frozen=True)
class Change:
    """How many rows carry a reason (or warning), and would."""

    kind: str
    name: str
    before: int
    after: int


@dataclass(frozen=True)
class Preview:
    """A feed's day as the tables hold it, and as the policy in force would decide it.

    `to_quarantine` and `to_clean` count rows that would move; `changes` are reasons and warnings of other counts.
    """

    feed: str
    clean: int
    quarantine: int
    to_quarantine: int
    to_clean: int
    changes: list[Change]
    unread: list[str]
    """Files that would be read again, in another way: what that changes is not previewed."""


def preview_policy(work: Workplace, feed: Feed, day: date) -> Preview:
    """Judge the feed's raw rows of `day` under the policy in force, beside what its tables hold."""
    held = work.lake.scan(feed.quarantine, [day]).select(ADDRESS).collect(engine="streaming")
    rules = DayRules(work, feed, day)
    to_quarantine = to_clean = 0
    for part in rules.split():
        to_quarantine += part.quarantine.join(held, on=ADDRESS, how="anti").height
        to_clean += part.clean.join(held, on=ADDRESS, how="semi").height
    before = Profile(work.lake.scan(feed.profile, [day]).collect())
    after = Profile(rules.splitter.tally.frame())
    return Preview(
        feed.name,
        before.rows(CLEAN),
        before.rows(QUARANTINE),
        to_quarantine,
        to_clean,
        [change for kind in (REASON, WARNING) for change in _changes(kind, before.of_kind(kind), after.of_kind(kind))],
        files_read_otherwise(work, feed, day),
    )


def _changes(kind: str, before: Mapping[str, int], after: Mapping[str, int]) -> list[Change]:
    both = [Change(kind, name, before.get(name, 0), after.get(name, 0)) for name in sorted({*before, *after})]
    return [change for change in both if change.before != change.after]
