"""What people are told of problems: what is news to somebody, and how it is put in words."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from assets_pkg.policy.model import Severity
from assets_pkg.transforms.alerts import some, urgency

ALERT: Final = "alert"
RUN: Final = "run"
HIGH: Final[Severity] = "high"
# The day, and the axis, of what is about no days: a run of upkeep.
NO_DAY: Final = date.min
NO_AXIS: Final = "none"
# A problem that is seen for the first time is told when its date is at most so many days before the newest ingest date.
RECENT: Final = timedelta(days=14)
_MOST_LINES: Final = 10
_LONGEST_LINE: Final = 160


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a day of an axis, or with none. It is the same as long as its key is."""

    key: str
    kind: str
    severity: str
    axis: str
    day: date
    text: str


@dataclass(frozen=True)
class Notice:
    """What somebody was told: of a problem that has not been told to be over. `told` is false for what waits."""

    problem: Problem
    told: bool


@dataclass(frozen=True)
class News:
    """What somebody is to be told. `withdrawn`: what was to be told and is over, or is not asked for any more."""

    new: tuple[Problem, ...]
    recovered: tuple[Problem, ...]
    withdrawn: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.recovered)


@dataclass(frozen=True)
class Message:
    """A title and plain text, and whether it is good to hear: some notifiers show that in colour."""

    title: str
    body: str
    mood: Literal["info", "warning", "success"]


TEST: Final = Message("Test message", "What is wrong with the shop feeds will be told here.", "info")


def first_recent(newest: date) -> date:
    """The first day whose problems are news."""
    return newest - RECENT


def news_of(
    problems: Iterable[Problem], notices: Iterable[Notice], severities: Collection[str], newest: date | None
) -> News:
    """What of the `problems` that are there somebody with these `notices` does not know yet, and what is over.

    `newest`: the newest ingest date there is. Alerts of other severities, and those of old days, are no news.
    """
    there = {each.key: each for each in problems}
    known = {each.problem.key: each for each in notices}

    def is_wanted(problem: Problem) -> bool:
        return problem.kind == RUN or problem.severity in severities

    def is_recent(problem: Problem) -> bool:
        return problem.kind == RUN or (newest is not None and problem.day >= first_recent(newest))

    new = [
        each
        for key, each in there.items()
        if is_wanted(each) and (not known[key].told if key in known else is_recent(each))
    ]
    coming = {each.key for each in new}
    return News(
        tuple(new),
        tuple(each.problem for key, each in known.items() if each.told and key not in there),
        tuple(each.problem for key, each in known.items() if not each.told and key not in coming),
    )


def message(news: News) -> Message:
    """News in words, the severest first, as plain text; the first lines, and how many there are more."""
    new, recovered = _lines(news.new), _lines(news.recovered)
    titles = [some(len(new), "new problem")] if new else []
    if recovered:
        titles.append(f"{len(recovered)} recovered" if new else f"{some(len(recovered), 'problem')} recovered")
    told = [*(f"- {line}" for line in new), *(f"- recovered: {line}" for line in recovered)]
    more = len(told) - _MOST_LINES
    body = "\n".join([*told[:_MOST_LINES], *([f"and {more} more"] if more > 0 else [])])
    return Message(", ".join(titles), body, "warning" if new else "success")


def _lines(problems: Sequence[Problem]) -> list[str]:
    """A line for each problem; one for all days of an axis that have the same."""
    days: dict[tuple[str, str, str], list[date]] = {}
    for each in sorted(problems, key=lambda each: (urgency(each.severity), each.day, each.key)):
        days.setdefault((each.severity, each.axis, each.text), []).append(each.day)
    return [_cut(f"{severity}{_when(axis, of)}: {text}") for (severity, axis, text), of in days.items()]


def _when(axis: str, days: Sequence[date]) -> str:
    if axis == NO_AXIS:
        return ""
    span = f"{min(days)} to {max(days)} ({len(days)} days)" if len(days) > 1 else str(days[0])
    return f", {axis.replace('_', ' ')} {span}"


def _cut(text: str) -> str:
    """One line of characters that can be seen, and not too many."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
