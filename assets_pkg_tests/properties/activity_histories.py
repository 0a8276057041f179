"""Random histories of events: whatever comes when, in whatever order days are run, the tables are a fresh build's.

Events lie a session timeout apart, or a microsecond more or less, around midnights; they come early, on their day, or
up to four days late, twice, with another date. Files are corrected and resent; days are run in any order and again;
the policy changes; refreshes wait, and die at any commit. Each customer of a history is a history of its own: there are several in each,
as running days is what costs.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from assets_pkg.contracts.tables import ACTIVITY_TABLES, RESTATEMENTS
from assets_pkg.policy import Policy, load_policy
from assets_pkg.steps.activity import refresh
from assets_pkg.storage import lake
from assets_pkg.transforms import sessions
from assets_pkg_tests import workbench
from assets_pkg_tests.activities import ActivityBench, Event, crash_at, differences, first_numbers, numbers
from assets_pkg_tests.workbench import days_from

START: Final = date(2025, 12, 30)
EVENT_DAYS: Final = days_from(START, 2)  # chains reach into the day before and after
ARRIVAL_DAYS: Final = days_from(START - timedelta(days=1), 7)
NAMES: Final = ("events_raw.csv", "events_raw-2.csv")
MICROSECOND: Final = timedelta(microseconds=1)
DAY: Final = timedelta(days=1)
LATEST: Final = 4

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Chain:
    """Some events of a customer. Offsets and gaps are shares of the session timeout, and microseconds more."""

    customer: int
    day: date
    offset: tuple[float, int]
    gaps: tuple[tuple[float, int], ...]
    round_the_clock: bool
    """The gaps over and over, until past the day's end."""
    usual: int
    """Which of the days that are possible the events come on; `odd` says so of single ones."""
    odd: Mapping[int, int]

    def times(self, timeout: timedelta) -> list[datetime]:
        """When they happen."""
        midnight = datetime.combine(self.day, datetime.min.time(), UTC)
        offset, *gaps = (share * timeout + more * MICROSECOND for share, more in (self.offset, *self.gaps))
        end = midnight + offset
        if self.round_the_clock:
            gaps = [max(gap, timeout / 2) for gap in gaps or [timeout / 2]]
            end = midnight + DAY + timeout / 2
        times = [midnight + offset]
        while len(times) <= len(gaps) or times[-1] < end:
            times.append(times[-1] + gaps[(len(times) - 1) % len(gaps)])
        return times


_choices: Final = st.integers(0, 11)  # of a number of things that is not known beforehand
_offsets: Final = st.sampled_from([(-0.5, 0), (0, 0), (-1, 0), (0, -1), (0, 1), (0.5, 0), (1, -1), (1, 0), (0.3, 7)])
_gaps: Final = st.sampled_from([(1, -1), (0.5, 0), (1, 0), (0.7, 0), (1, 1), (0, 0), (0, 1)])
_chains: Final = st.builds(
    Chain,
    customer=st.integers(0, 3),
    day=st.sampled_from(EVENT_DAYS),
    offset=_offsets,
    gaps=st.lists(_gaps, max_size=4).map(tuple),
    round_the_clock=st.sampled_from([False, False, False, True]),
    usual=_choices,
    odd=st.dictionaries(_choices, _choices, max_size=2),
)
_arrivals: Final = st.lists(_chains, min_size=1, max_size=3)
_timeouts: Final = st.sampled_from([30.0, 480.0, 1440.0])  # minutes
_windows: Final = st.sampled_from([2, 2, 2, 0, 1, 3])  # days
_active_gaps: Final = st.sampled_from([None, None, 0.5, 1.0])  # shares of the timeout
_crashes: Final = st.one_of(st.none(), st.none(), st.integers(0, 12))
_refreshed: Final = st.sampled_from(["each", "together", "later"])
_days: Final = st.lists(_choices, min_size=1, max_size=4)


class Histories(RuleBasedStateMachine):
    """One lake's history."""

    most_days = 3
    fresh_builds = 8
    """One in so many histories is held against a fresh build too: it costs as much as the history."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(dir=_fast_folder())
        self.patches = _patched()
        self.patches.__enter__()
        self.days: list[date] = []
        self.files: dict[tuple[date, str], tuple[Event, ...]] = {}
        self.unrun: set[date] = set()
        self.waiting: set[date] = set()
        self.first: dict[date, dict[str, float]] = {}
        self.ids: dict[tuple[str, datetime], str] = {}
        self.events = 0
        self.policy_changed = False
        self.fine = False

    @initialize(
        minutes=_timeouts,
        window=_windows,
        active_gap=_active_gaps,
        slices=st.sampled_from([400_000, 400_000, 400_000, 2]),
        days=st.lists(st.sampled_from(ARRIVAL_DAYS), min_size=2, max_size=5, unique=True),
        chains=_arrivals,
        order=_days,
        fresh=st.integers(0, 7),
    )
    def begin(
        self,
        minutes: float,
        window: int,
        active_gap: float | None,
        slices: int,
        days: list[date],
        chains: list[Chain],
        order: list[int],
        fresh: int,
    ) -> None:
        """A policy, a few days on which files come, and some of them have come already."""
        self.timeout = timedelta(minutes=minutes)
        self.slices = slices
        self._say(minutes, window, active_gap)
        self.days = sorted(days[: self.most_days])
        self.held_against_fresh = fresh % self.fresh_builds == 0
        self.fine = True
        self.events_come(chains, 0)
        self.days_are_processed(order, refreshed="together", crash=None)

    # -- what happens to files ---------------------------------------------------------------------

    @rule(chains=_arrivals, name=st.integers(0, 1))
    def events_come(self, chains: list[Chain], name: int) -> None:
        """In a file that is new or longer than before. No event comes more than a day early."""
        for chain in chains:
            for number, time in enumerate(chain.times(self.timeout)):
                possible = [day for day in self.days if time.date() - DAY <= day <= time.date() + LATEST * DAY]
                if not possible:
                    continue
                day = _choose(possible, chain.odd.get(number, chain.usual))
                kind, platform = ("page_view", "web") if number % 3 else ("click", "android")
                event = Event(f"e{self.events}", time, f"c{chain.customer}", kind, platform)
                self.events += 1
                self._put(day, NAMES[name], (*self.files.get((day, NAMES[name]), ()), event))

    @precondition(lambda self: any(self.files.values()))
    @rule(
        event=st.integers(0, 99),
        day=_choices,
        name=st.integers(0, 1),
        change=st.integers(0, 5),
        shift=st.integers(-2, 2),
    )
    def an_event_comes_again(self, event: int, day: int, name: int, change: int, shift: int) -> None:
        """The same event_id in another file: the same, or with something else in it, maybe another date."""
        found = _choose([each for events in self.files.values() for each in events], event)
        assert isinstance(found.time, datetime)
        copy = (
            found,
            replace(found, platform="ios"),
            replace(found, kind="page_view"),
            replace(found, time=found.time + shift * MICROSECOND),
            replace(found, time=found.time + shift * DAY),
            replace(found, customer="c0"),
        )[change]
        place = (_choose(self.days, day), NAMES[name])
        self._put(*place, (*self.files.get(place, ()), copy))

    @precondition(lambda self: any(self.files.values()))
    @rule(file=_choices, without=st.sets(st.integers(0, 20), min_size=1, max_size=3))
    def a_file_is_corrected(self, file: int, without: set[int]) -> None:
        """Some of its events are taken out."""
        place = _choose(sorted(place for place, events in self.files.items() if events), file)
        events = self.files[place]
        out = {number % len(events) for number in without}
        self._put(*place, tuple(event for number, event in enumerate(events) if number not in out))

    @precondition(lambda self: self.files)
    @rule(file=_choices, day=_choices, name=st.integers(0, 1))
    def a_file_is_resent(self, file: int, day: int, name: int) -> None:
        """Under another name and day, maybe over what was there."""
        events = self.files[_choose(sorted(self.files), file)]
        self._put(_choose(self.days, day), NAMES[name], events)

    # -- what is run -------------------------------------------------------------------------------

    @rule(order=_days, refreshed=_refreshed, crash=_crashes)
    def days_are_processed(self, order: list[int], refreshed: str, crash: int | None) -> None:
        """A backfill in any order; event dates are refreshed after each day, after all of them, or later."""
        days = list(dict.fromkeys(_choose(self.days, number) for number in order))
        for day in days:
            self._run(day, crash)
            if refreshed == "each" and day not in self.unrun:
                self._refresh({day}, crash)
        if refreshed == "together":
            self._refresh(set(days) - self.unrun, crash)

    @rule(minutes=_timeouts, window=_windows, active_gap=_active_gaps, crash=_crashes)
    def the_policy_changes(self, minutes: float, window: int, active_gap: float | None, crash: int | None) -> None:
        """And with it all event dates, whatever days are refreshed next."""
        self._say(minutes, window, active_gap)
        self.policy_changed = True
        self._refresh(set(), crash)

    @rule(crash=_crashes)
    def everything_is_brought_up_to_date(self, crash: int | None) -> None:
        self._settle(crash)

    def teardown(self) -> None:
        """Finish it, do it all once more, and hold it against a fresh build."""
        try:
            if self.fine:
                self._settle(None)
                before = self.bench.activity_versions()
                for day in self.bench.ingest_dates():
                    self._run(day, None)
                assert refresh(self.bench.work, self.bench.ingest_dates()) == []
                assert self.bench.activity_versions() == before
                if self.held_against_fresh:
                    self._compare_with_fresh_build()
        finally:
            self.patches.__exit__(None, None, None)
            self.place.cleanup()

    def _say(self, minutes: float, window: int, active_gap: float | None) -> None:
        said = {
            "session_timeout_minutes": minutes,
            "late_window_days": window,
            "active_gap_minutes": None if active_gap is None else active_gap * minutes,
        }
        self.said = {"min_history_days": 1, **said}
        self.bench = self._bench("first")

    # -- how ---------------------------------------------------------------------------------------

    def _bench(self, name: str) -> ActivityBench:
        return ActivityBench(Path(self.place.name) / name, **self.said)

    def _put(self, day: date, name: str, events: tuple[Event, ...]) -> None:
        if self.files.get((day, name)) != events:
            self.files[day, name] = events
            self.bench.drop(day, *events, name=name)
            self.unrun.add(day)

    def _run(self, day: date, crash: int | None) -> None:
        """The ingest steps. Of a day that they ran for already, as it is, they leave everything as it is."""
        self.fine = False
        changes = day in self.unrun or day not in self.bench.ingest_dates()
        before = None if changes else self.bench.activity_versions()
        self.unrun.add(day)
        with crash_at(crash):
            self.bench.clean_events(day)
            self.unrun.remove(day)
        waiting = self.bench.work.ledger.entries(feed="events", status="PENDING")
        self.unrun |= {each["ingest_date"] for each in waiting}
        if before is None:
            self.waiting.add(day)
        else:
            assert self.bench.activity_versions() == before
        self.fine = True

    def _refresh(self, days: set[date], crash: int | None) -> None:
        """Built is nothing twice, and nothing far away from what waits for it."""
        self.fine = False
        waiting = self.waiting | days
        with crash_at(crash), _slices_of(self.slices):
            built = refresh(self.bench.work, sorted(days))
            assert built == sorted(set(built))
            early = (self.bench.numbers.late_window_days + 1) * DAY  # a session reaches one date further
            for event_date in built:  # an event is at most a day early; alerts look back a week
                near = any(day - early <= event_date <= day + 9 * DAY for day in waiting)
                assert near or self.policy_changed, (event_date, waiting)
            self.waiting, self.policy_changed = set(), False
        for day in self.bench.work.lake.partitions("activity_metrics"):
            self.first.setdefault(day, numbers(self.bench, day))
        if not self.waiting and not self.unrun and not self.policy_changed:
            self._compare()
        self.fine = True

    def _settle(self, crash: int | None) -> None:
        """Run what must be run, and then refresh what waits. Each run settles a content, so it comes to an end."""
        for _ in range(20):
            if not self.unrun:
                break
            self._run(min(self.unrun), crash)
            crash = None
        assert not self.unrun, "days must be run again and again"
        self._refresh(set(), crash)
        if self.waiting or self.policy_changed:
            self._refresh(set(), None)

    def _compare(self) -> None:
        """The tables are the oracle's; every session has the id that it always had; restatements lead back."""
        assert differences(self.bench) == []
        for row in (row for rows in self.bench.by_date("sessions").values() for row in rows):
            session = (row["customer_id"], row["session_start"])
            assert self.ids.setdefault(session, row["session_id"]) == row["session_id"]
        assert {day: first_numbers(self.bench, day) for day in self.first} == self.first

    def _compare_with_fresh_build(self) -> None:
        """A second lake, built once, from the first day to the last, from the same raw files."""
        fresh = self._bench("fresh")
        raw = self.bench.settings.raw_dir
        if raw.exists():
            shutil.copytree(raw, fresh.settings.raw_dir)
        days = self.bench.ingest_dates()
        for day in days:
            fresh.clean_events(day)
        refresh(fresh.work, days)
        for table in ACTIVITY_TABLES.keys() - {RESTATEMENTS.name}:
            assert _sorted_rows(self.bench, table) == _sorted_rows(fresh, table), table


@contextmanager
def fast_bench(**activity: float | None) -> Iterator[ActivityBench]:
    """A bench for a short history, in memory."""
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder, _patched():
        yield ActivityBench(Path(folder), **activity)


def _sorted_rows(bench: ActivityBench, table: str) -> list[str]:
    return sorted(repr(sorted(row.items())) for rows in bench.by_date(table).values() for row in rows)


def _choose(things: Sequence[Thing], number: int) -> Thing:
    return things[number % len(things)]


def _fast_folder() -> str | None:
    """Memory, where there is some to write files to: a history is thousands of small ones."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and _writable(memory) else None


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def _patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workbench, "load_policy", lambda overlay: _policy(json.dumps(overlay)))
        yield


@cache
def _policy(overlay: str) -> Policy:
    """Read once: it is parsed for 25 ms."""
    return load_policy(overlay=json.loads(overlay))


@contextmanager
def _slices_of(rows: int) -> Iterator[None]:
    """A refresh reads, orders and writes as if that many rows were all that a data file, or memory, holds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lake, "ROWS_PER_FILE", rows)
        patched.setattr(sessions, "_AT_ONCE", rows)
        yield
