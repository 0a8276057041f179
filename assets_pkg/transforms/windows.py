"""Which days count for which (contract §4, §5): the windows that steps read, and that the asset graph declares."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from assets_pkg.policy import Policy


@dataclass(frozen=True)
class Window:
    """Of a day: the days from `first` to `last` days after it."""

    first: int
    last: int

    def of(self, day: date) -> list[date]:
        """The days in the window of `day`, in order."""
        return [day + timedelta(days=shift) for shift in range(self.first, self.last + 1)]

    def reaching(self, day: date) -> list[date]:
        """The days in whose window `day` is, in order."""
        return Window(-self.last, -self.first).of(day)

    def reached(self, days: Iterable[date]) -> set[date]:
        """The days in whose window any of `days` is."""
        return {each for day in days for each in self.reaching(day)}

    def __add__(self, other: "Window") -> "Window":
        """Of a day: the days in the other window of any day in this one."""
        return Window(self.first + other.first, self.last + other.last)


# Of an event date: the event dates whose runs decide its sessions.
BESIDE: Final = Window(-1, 1)


def landing(policy: Policy) -> Window:
    """Of an event date: the ingest dates whose clean events count for it, as early as clocks may be wrong, to late."""
    return Window(-policy.values.early_days, policy.activity.late_window_days)


def compared(policy: Policy) -> Window:
    """Of a day: the days before that its alerts are judged by, and itself."""
    return Window(-policy.alerts.history_days, 0)


def changed_by(policy: Policy, event_dates: Iterable[date]) -> set[date]:
    """The event dates whose sessions, metrics or alerts can change with the events of some."""
    return compared(policy).reached(BESIDE.reached(event_dates))
