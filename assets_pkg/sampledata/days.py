"""A day of raw files: visits made into rows, rows messed up, files written."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import chain, repeat
from math import floor
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from assets_pkg.sampledata.files import (
    BROKEN,
    UNFINISHED,
    Part,
    Record,
    broken_gzip,
    lay_out,
    resent_rows,
    save,
    turn_of,
)
from assets_pkg.sampledata.mess import (
    ALL,
    COLUMNS,
    CUSTOMERS,
    EVENTS,
    FEEDS,
    LINE_MESS,
    ORDERS,
    ROW_MESS,
    Doses,
    LineMess,
    csv_text,
)
from assets_pkg.sampledata.shop import (
    DAY,
    EVENTS_PER_VISIT,
    HOUR,
    Country,
    Customer,
    Shop,
    Step,
    amount,
    busy_platform,
    order_status,
    start_second,
    visit,
)

MIN_EVENTS: Final = 50
"""Fewer events make no shop."""

_ORDERS_PER_EVENT: Final = 0.04
"""Roughly; it scales the doses of mess, nothing else."""


class _LateVisits(NamedTuple):
    """Visits that reach the shop days after they happened, from devices that were offline."""

    name: str
    rate: float
    days: tuple[int, int]


_LATE_VISITS: Final = (
    _LateVisits("late_within_the_window", 0.015, (1, 2)),
    _LateVisits("late_beyond_the_window", 0.003, (3, 6)),
)
_NIGHT_VISITS: Final = 0.015
"""Share of visits that begin shortly before midnight and may go on after it."""
_RESENT_NIGHT_VISITS: Final = 6
"""One in so many of the last night's visits is delivered again today, with the ids of yesterday."""
_UNANNOUNCED: Final = 3
"""One in so many newcomers is in the customers feed only a day later."""


@dataclass(frozen=True)
class DayFiles:
    """What was written for one day.

    `records` counts those that a reader of the contract finds, per feed, without files copied whole;
    `mess` counts what was done, by `feed/kind`.
    """

    day: date
    files: tuple[Path, ...]
    records: Mapping[str, int]
    bytes: int
    mess: Mapping[str, int]


class _Visitor(NamedTuple):
    """Who comes, under which session id, and with what."""

    customer: Customer
    session: str
    platform: str


class _Night(NamedTuple):
    """A visit that begins before midnight; `sent_again` when its delivery is repeated on the next day."""

    visitor: _Visitor
    steps: list[Step]
    sent_again: bool


def generate(
    out: Path,
    start: date,
    end: date,
    events: int,
    seed: int,
    missing_hours: Mapping[date, Collection[int]] | None = None,
    *,
    hourly: bool = False,
    broken_gzip_days: Collection[date] = (),
) -> list[DayFiles]:
    """Write the days from `start` to `end`, both included, as `out/ingest_date=.../{feed}_raw*`.

    The same arguments give the same bytes, and a day's files depend on (seed, day, events) and that day's
    options alone. Each day has `events` events records, orphans, duplicates and broken lines included.

    `missing_hours`: hours (0-23, UTC) of a day in which no event happens; the other hours make up for them.
    `hourly`: events in `hour=HH/` folders on every day, not just on one in five.
    `broken_gzip_days`: days that also get a gzip file which breaks off; no reader can open it.

    Raises ValueError for arguments that make no sense, and FileExistsError, before it writes anything of that
    day, when a day's folder holds raw files of other names than those to be written.
    """
    hours_off = {day: frozenset(hours) for day, hours in (missing_hours or {}).items()}
    if end < start:
        raise ValueError(f"end {end} is before start {start}")
    if events < MIN_EVENTS:
        raise ValueError(f"events must be at least {MIN_EVENTS}, not {events}")
    for day, hours in hours_off.items():
        if not hours <= set(range(24)):
            raise ValueError(f"missing hours of {day} must be within 0 to 23, not {sorted(hours)}")
        if len(hours) == 24:
            raise ValueError(f"all 24 hours of {day} are missing: nothing could happen")
    shop = Shop(seed, events)
    days = (start + timedelta(days=number) for number in range((end - start).days + 1))
    written = []
    for day in days:
        making = _Day(shop, day, events, seed, hours_off.get(day, frozenset()))
        written.append(making.write(out, hourly=hourly, broken=day in broken_gzip_days))
    return written


class _Day:
    """One day in the making."""

    def __init__(self, shop: Shop, day: date, events: int, seed: int, missing: frozenset[int]) -> None:
        """Nothing is made yet."""
        self.shop = shop
        self.day = day
        self.events = events
        self.seed = seed
        self.missing = missing
        self.doses = Doses(seed, day.toordinal())
        self.mess: Counter[str] = Counter()
        self.turn = turn_of(day.toordinal(), seed)
        self.iso = day.isoformat()
        self.stampers = _stampers(day)
        self.event_rows: list[Record] = []
        self.order_rows: list[Record] = []

    def write(self, out: Path, *, hourly: bool, broken: bool) -> DayFiles:
        """Make everything, then write it."""
        self._happen()
        rows = {CUSTOMERS: self._customer_rows(), EVENTS: self.event_rows, ORDERS: self.order_rows}
        folder = out / f"ingest_date={self.iso}"
        records: dict[str, int] = {}
        contents: dict[Path, Callable[[], bytes]] = {}
        for feed in FEEDS:
            parts = [Part(f"{feed}_raw", list(COLUMNS[feed]), self._messed_up(feed, rows[feed]))]
            for name in lay_out(parts, feed, self.turn, self._rng(f"{feed}/files"), always_hourly=hourly):
                self.mess[f"{feed}/{name}"] += 1
            if broken and feed == EVENTS:
                contents[folder / BROKEN] = partial(broken_gzip, parts)
                self.mess[f"{feed}/broken_gzip"] += 1
            records[feed] = sum(part.count for part in parts if not part.copy)
            contents |= {folder / part.path: part.content for part in parts}
        _refuse_strangers(folder, contents)
        size = 0
        for path, make in contents.items():
            data = make()
            save(path, data)
            size += len(data)
        return DayFiles(self.day, tuple(sorted(contents)), records, size, dict(sorted(self.mess.items())))

    def _rng(self, purpose: str, day: date | None = None) -> Random:
        """Draws of their own for each purpose, so that more of one thing does not change another."""
        return Random(f"{self.seed}/{self.events}/{day or self.day}/{purpose}")

    # --- what happens -------------------------------------------------------------------------------------

    def _happen(self) -> None:
        """Fill the rows of events and orders, in the order in which they arrive."""
        wanted = self.events - resent_rows(self.turn, EVENTS, self.events)
        wanted -= sum(
            self.doses(f"{EVENTS}/{mess.name}", mess.rate * self.events)
            for mess in ROW_MESS
            if mess.outcome == "duplicate" and mess.feed in (EVENTS, ALL)
        )
        self._nights()
        self._visits(wanted)
        self._renewals()
        del self.event_rows[wanted:]
        self.event_rows.sort()
        self.order_rows.sort()

    def _visits(self, wanted: int) -> None:
        """Newcomers sign up, late deliveries come in, others visit until there are enough events."""
        rng = self._rng("visits")
        size = self.shop.size_on(self.day)
        newcomers = iter(self.shop.newcomers_on(self.day))
        delays = chain(self._delays(rng), repeat(0))
        prefix = f"s{self.day.toordinal():x}"
        number = 0
        while len(self.event_rows) < wanted:
            number += 1
            newcomer = next(newcomers, None)
            if newcomer is not None:
                customer, delay, start = newcomer, 0, float(newcomer.joined_second)
            else:
                customer, delay = self.shop.visitor(rng, size), next(delays)
                start = start_second(rng, customer.country.offset_minutes)
            while start // HOUR in self.missing:
                start = start_second(rng, customer.country.offset_minutes)
            visitor = _Visitor(customer, f"{prefix}{number:x}", busy_platform(rng, customer))
            self._add(rng, visitor, visit(rng, start, joins=newcomer is not None), delay=delay)

    def _delays(self, rng: Random) -> list[int]:
        """By how many days the first visits of the day are late."""
        delays = []
        for late in _LATE_VISITS:
            count = self.doses(late.name, late.rate * self.events / EVENTS_PER_VISIT)
            delays += [rng.randint(*late.days) for _ in range(count)]
            self.mess[f"{EVENTS}/{late.name}"] += count
        return delays

    def _nights(self) -> None:
        """The end of last night's visits, some of the beginnings again, and the beginning of tonight's."""
        rng = self._rng("nights")
        for night in self._night_of(self.day - timedelta(days=1)):
            later = [(number, second - DAY, what, stay) for number, second, what, stay in night.steps]
            self._add(rng, night.visitor, [step for step in later if step[1] >= 0])
            if night.sent_again:
                before = [step for step in later if step[1] < 0]
                self._add(rng, night.visitor, before, again_at=start_second(rng, 0))
        for night in self._night_of(self.day):
            self._add(rng, night.visitor, night.steps)

    def _night_of(self, day: date) -> list[_Night]:
        """The visits shortly before midnight: the same, whether asked for by that day or by the next."""
        rng = self._rng("night", day)
        size = self.shop.size_on(day)
        count = Doses(self.seed, day.toordinal())("night", _NIGHT_VISITS * self.events / EVENTS_PER_VISIT)
        nights = []
        for number in range(count):
            customer = self.shop.visitor(rng, size)
            steps = visit(rng, DAY - rng.uniform(60, 900))
            visitor = _Visitor(customer, f"n{day.toordinal():x}{number:x}", busy_platform(rng, customer))
            nights.append(_Night(visitor, steps, sent_again=rng.randrange(_RESENT_NIGHT_VISITS) == 0))
        return nights

    def _add(
        self,
        rng: Random,
        visitor: _Visitor,
        steps: list[Step],
        *,
        delay: int = 0,
        again_at: float | None = None,
    ) -> None:
        """Write a visit's events up to midnight, and the orders that its purchases make.

        `delay`: the days by which the device was late. `again_at`: when a copy of an older delivery comes in.
        """
        customer, session, platform = visitor
        stamp = self.stampers[platform](customer.country)
        late, missing, rows, iso = delay * DAY, self.missing, self.event_rows, self.iso
        for number, second, (event_type, url), duration in steps:
            if second >= DAY:
                break
            if missing and second % DAY // HOUR in missing:
                continue
            text = (
                f"{session}.{number},{customer.id},{stamp(second - late)},{event_type},{platform},{session},"
                f"{duration},{url},{iso}"
            )
            if again_at is None:
                rows.append((second, text))
                if event_type == "purchase":
                    self._order(rng, customer, second, late)
            else:
                rows.append((again_at, text))
                self.mess[f"{EVENTS}/sent_again_a_day_later"] += 1

    def _order(self, rng: Random, customer: Customer, second: float, late: int = 0) -> None:
        """An order, a moment after the customer asked for it."""
        second = min(second + rng.uniform(0.5, 4), DAY - 1)
        when = self.stampers["android"](customer.country)(second - late)
        money = f"{amount(rng, customer.country)},{customer.country.currency},{order_status(rng)}"
        number = f"o{self.day.toordinal():x}{len(self.order_rows):04x}"
        self.order_rows.append((second, f"{number},{customer.id},{when},{money},{self.iso}"))

    def _renewals(self) -> None:
        """Orders that no visit made: subscriptions renew themselves."""
        rng = self._rng("renewals")
        size = self.shop.size_on(self.day)
        for _ in range(max(3, self.events // 100)):
            self._order(rng, self.shop.visitor(rng, size), start_second(rng, 0))

    def _customer_rows(self) -> list[Record]:
        """Everybody who has joined, but for some of today's newcomers, whose rows come tomorrow."""
        customers = self.shop.customers_on(self.day)
        known = len(customers) - len(self.shop.newcomers_on(self.day))
        rows = []
        for number, customer in enumerate(customers):
            if number >= known and number % _UNANNOUNCED == 0:
                self.mess[f"{CUSTOMERS}/row_a_day_late"] += 1
                continue
            clock = _MINUTES[customer.joined_second // 60] + _SECONDS[customer.joined_second % 60]
            text = (
                f"{customer.id},{customer.email},{customer.joined}T{clock}Z,{customer.country.code},"
                f"{customer.status_on(self.day)},{self.iso}"
            )
            rows.append((0.0, text))
        return rows

    # --- what goes wrong ----------------------------------------------------------------------------------

    def _messed_up(self, feed: str, rows: list[Record]) -> list[Record]:
        """The rows with the day's doses of every kind of mess; a row gets one kind only."""
        nominal = {
            CUSTOMERS: float(_steady(self.shop.size_on(self.day))),
            EVENTS: float(self.events),
            ORDERS: self.events * _ORDERS_PER_EVENT,
        }[feed]
        return self._messed_lines(feed, self._messed_rows(feed, rows, nominal), nominal)

    def _messed_rows(self, feed: str, rows: list[Record], nominal: float) -> list[Record]:
        """`ROW_MESS`, applied; what it adds comes a little later in the file."""
        rng = self._rng(f"{feed}/rows")
        kinds = [
            mess
            for mess in ROW_MESS
            if mess.feed in (feed, ALL)
            for _ in range(self.doses(f"{feed}/{mess.name}", mess.rate * nominal))
        ]
        added: dict[int, list[str]] = {}
        places = rng.sample(range(len(rows)), min(len(kinds), len(rows)))
        for place, mess in zip(places, kinds, strict=False):
            at, text = rows[place]
            row = dict(zip(COLUMNS[feed], text.split(","), strict=True))
            extra = mess.apply(row, rng)
            rows[place] = (at, csv_text(row.values()))
            if extra is not None:
                later = min(place + rng.randrange(60), len(rows) - 1)
                added.setdefault(later, []).append(csv_text(extra.values()))
            self.mess[f"{feed}/{mess.name}"] += 1
        return _with_added(rows, added)

    def _messed_lines(self, feed: str, rows: list[Record], nominal: float) -> list[Record]:
        """`LINE_MESS`, applied."""
        rng = self._rng(f"{feed}/lines")
        added: dict[int, list[str]] = {}
        for mess in LINE_MESS:
            if mess.feed not in (feed, ALL):
                continue
            for _ in range(self.doses(f"{feed}/{mess.name}", mess.rate * nominal)):
                place = _plain_place(rows, mess, rng)
                if place is None:
                    continue
                at, text = rows[place]
                first, *others = mess.apply(text, rng)
                rows[place] = (at, first)
                added.setdefault(place, []).extend(others)
                self.mess[f"{feed}/{mess.name}"] += 1
        return _with_added(rows, added)


_MINUTES: Final = tuple(f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in range(60))
_SECONDS: Final = tuple(f":{second:02d}" for second in range(60))
"""Together the clock of a second of the day."""


def _stampers(day: date) -> dict[str, Callable[[Country], Callable[[float], str]]]:
    """Makers of a day's time texts: each platform has its own habit, all of them easy to read.

    They take seconds after the day's midnight, negative for the days before.
    """
    dates = {number: (day + timedelta(days=number)).isoformat() for number in range(-9, 4)}

    def android(second: float) -> str:
        number, rest = divmod(floor(second), DAY)
        return f"{dates[number]} {_MINUTES[rest // 60]}{_SECONDS[rest % 60]}"

    def web(second: float) -> str:
        number, rest = divmod(floor(second), DAY)
        milliseconds = int(second % 1 * 1000)
        return f"{dates[number]}T{_MINUTES[rest // 60]}{_SECONDS[rest % 60]}.{milliseconds:03d}Z"

    def ios(country: Country) -> Callable[[float], str]:
        offset, zone = country.offset_minutes * 60, country.zone

        def stamp(second: float) -> str:
            number, rest = divmod(floor(second) + offset, DAY)
            return f"{dates[number]}T{_MINUTES[rest // 60]}{_SECONDS[rest % 60]}{zone}"

        return stamp

    return {"android": lambda _: android, "web": lambda _: web, "ios": ios}


def _steady(size: int) -> int:
    """A size rounded down a little, so that it stays the same for many days: doses add up only if it does."""
    step = 1 << max(0, size.bit_length() - 4)
    return size // step * step


def _plain_place(rows: list[Record], mess: LineMess, rng: Random) -> int | None:
    """A record without a quote; if the mess needs quiet, with none soon after it and no open one before it.

    None if there seems to be none.
    """
    for _ in range(60):
        place = rng.randrange(len(rows))
        after = rows[place : place + mess.quiet + 1]
        before = rows[max(0, place - mess.quiet) : place]
        if any('"' in text for _, text in after) or any(text.count('"') % 2 for _, text in before):
            continue
        return place
    return None


def _with_added(rows: list[Record], added: Mapping[int, list[str]]) -> list[Record]:
    """The rows, each followed by what was added to it."""
    result: list[Record] = []
    done = 0
    for place, texts in sorted(added.items()):
        result += rows[done : place + 1]
        result += [(rows[place][0], text) for text in texts]
        done = place + 1
    return result + rows[done:]


def _refuse_strangers(folder: Path, contents: Collection[Path]) -> None:
    """Stop before files of another making would be read together with these."""
    present = (path for path in folder.rglob("*_raw*") if path.is_file() and path.suffix != UNFINISHED)
    strangers = sorted(path for path in present if path not in contents)
    if strangers:
        raise FileExistsError(f"{folder} holds raw files of another making: {strangers[0].name}; remove them first")
