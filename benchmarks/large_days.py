"""Large messy days in the contract's layout: the same arguments give the same bytes.

python benchmarks/large_days.py --out RAW_ROOT --events 1000000 [--date 2025-12-10] [--seed 1]

Customers are events/50, orders events/25. Nothing is drawn in sequence: every random number is a function of the
seed, the column's name and the row's number (Draws), so a day is made hour by hour in little memory, and one column
can change without changing the others. The events file holds each hour's visits, event by event as they arrived.

Days of one seed belong together: a visit that begins before midnight goes on after it, some events come days late, and
each day's file begins with part of the day before's last hour once more, some of it with another time.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final

import polars as pl

TEXT: Final = pl.String()
_BITS: Final = pl.UInt64()
_HOUR: Final = 3600
_DAY: Final = 86_400

EVENTS_PER_CUSTOMER: Final = 50
EVENTS_PER_ORDER: Final = 25
EVENTS_PER_VISIT: Final = 8
MEAN_PAUSE: Final = 75  # seconds between two events of a visit
GHOSTS: Final = 1000  # customers that no customers file names
WRONG_DAY: Final = "2099-01-01"
SENT_AGAIN: Final = 0.2  # of the last hour of the day before
MOVED: Final = 0.05  # of those: the time was corrected, maybe to another date

# How busy each hour is, from midnight UTC.
HOURS: Final = (3, 2, 1, 1, 1, 2, 3, 5, 7, 8, 8, 7, 8, 8, 7, 7, 8, 9, 10, 10, 8, 7, 5, 4)

# Shares are per cent where they add up to 100, else weights. None is an empty field.
Shares = Mapping[str | None, float]
EVENT_TYPES: Final[Shares] = {
    "page_view": 29, "pageview": 5, "Page View": 2, "view": 2, "click": 14, "search": 8, "feature_use": 6,
    "FEATURE_USE": 3, "featureUse": 1, "login": 6, "Logout": 4, "log-in": 1, "paywall_view": 4, "add_to_cart": 4,
    "purchase": 2, "error": 3, "signup": 1, None: 3, "null": 1, "hover": 1,
}  # fmt: skip
PLATFORMS: Final[Shares] = {
    "ios": 15, "iPhone": 10, "android": 18, "AND": 8, "web": 20, "browser": 14, None: 13, "TV": 2,
}  # fmt: skip
COUNTRIES: Final[Shares] = {
    "US": 20, "usa": 6, "United States": 10, "GB": 8, "uk": 6, "IN": 10, "india": 6, "BR": 8, "DEU": 3, "Germany": 8,
    "N/A": 6, None: 8, "XX": 1,
}  # fmt: skip
CUSTOMER_STATUS: Final[Shares] = {
    "active": 40, "ACTIVE": 15, "actve": 10, "inactive": 15, "banned": 8, "Blocked": 1, None: 10, "zombie": 1,
}  # fmt: skip
CURRENCIES: Final[Shares] = {
    "USD": 20, "usd": 18, "$": 18, "EUR": 16, "€": 14, "‚Ç¨": 2, "GBP": 6, "???": 3, None: 3,  # noqa: RUF001
}  # fmt: skip
ORDER_STATUS: Final[Shares] = {
    "paid": 30, "PAID": 12, "succeeded": 15, "failed": 15, "refunded": 12, "charge back": 1, "chargeback": 6,
    "shipped": 1, None: 3,
}  # fmt: skip
NO_TIMES: Final[Shares] = {
    "bad-ts": 55, "soon": 8, None: 22, "2025-02-30 10:00:00": 6, "13/32/2025": 4, "Dec 10 2025 4:21PM EST": 5,
}  # fmt: skip


def _form(pattern: str, hours: int = 0) -> Callable[[pl.Series], pl.Series]:
    return lambda instants: (instants + timedelta(hours=hours)).dt.strftime(pattern)


# How an instant is written, and in how many of 96 cases; the rest of 100 is no time at all.
TIME_FORMS: Final[tuple[tuple[float, Callable[[pl.Series], pl.Series]], ...]] = (
    (60, _form("%Y-%m-%d %H:%M:%S")),
    (34, _form("%Y-%m-%dT%H:%M:%S-05:00", hours=-5)),
    (1, _form("%Y-%m-%dT%H:%M:%SZ")),
    (0.34, lambda instants: instants.dt.epoch("s").cast(TEXT)),
    (0.33, _form("%m/%d/%Y %-I:%M %p")),
    (0.33, _form("%a, %d %b %Y %H:%M:%S GMT")),
)


class Draws:
    """Random columns: rows `first` to `first + n` of the column `name`, each number a hash of its place."""

    def __init__(self, *key: object) -> None:
        self._key = key

    def bits(self, name: str, first: int, n: int) -> pl.Series:
        """64 random bits a row (splitmix64 over the row's number)."""
        salt = int.from_bytes(blake2b(repr((*self._key, name)).encode(), digest_size=8).digest())
        rows = pl.int_range(first, first + n, dtype=_BITS, eager=True)
        x = rows * _u64(0x9E3779B97F4A7C15) + _u64(salt)
        x = (x ^ (x // _u64(1 << 30))) * _u64(0xBF58476D1CE4E5B9)
        x = (x ^ (x // _u64(1 << 27))) * _u64(0x94D049BB133111EB)
        return x ^ (x // _u64(1 << 31))

    def share(self, name: str, first: int, n: int) -> pl.Series:
        """Evenly spread over [0, 1)."""
        return (self.bits(name, first, n) // _u64(1 << 11)).cast(pl.Float64) / 2**53

    def number(self, name: str, first: int, n: int, below: int) -> pl.Series:
        """Whole numbers from 0 to `below` - 1."""
        return (self.share(name, first, n) * below).cast(pl.Int64)

    def normal(self, name: str, first: int, n: int) -> pl.Series:
        """The standard normal distribution (Box and Muller)."""
        radius = (-2 * (1 - self.share(f"{name} radius", first, n)).log()).sqrt()
        return radius * (self.share(f"{name} angle", first, n) * (2 * math.pi)).cos()

    def choice(self, name: str, first: int, n: int, weights: tuple[float, ...]) -> pl.Series:
        """Positions in `weights`, as often as they weigh."""
        edges = pl.Series(weights, dtype=pl.Float64).cum_sum()
        return edges.head(len(weights) - 1).search_sorted(self.share(name, first, n) * edges[-1], side="right")

    def pick(self, name: str, first: int, n: int, shares: Shares) -> pl.Series:
        """Texts of `shares`, as often as they weigh."""
        return pl.Series(list(shares), dtype=TEXT).gather(self.choice(name, first, n, tuple(shares.values())))

    def ids(self, prefix: str, name: str, first: int, n: int) -> pl.Series:
        """`prefix` and 9 of 36 characters. No two rows of a day get the same (46 bits, shuffled one to one)."""
        mask, odd = _u64((1 << 46) - 1), self.bits(name, 0, 1) | _u64(1)
        x = pl.int_range(first, first + n, dtype=_BITS, eager=True) + self.bits(f"{name} start", 0, 1)
        for _ in range(2):
            x = (x * odd) & mask
            x = x ^ (x // _u64(1 << 23))
        three = _three_characters()
        size = _u64(len(three))
        parts = [three.gather(place) for place in (x // size // size, x // size % size, x % size)]
        return pl.select(pl.concat_str(pl.lit(prefix), *parts)).to_series()

    def times(self, name: str, first: int, seconds: pl.Series, bad: float = 0.04) -> pl.Series:
        """Instants (epoch seconds) as people write them; a share of `bad` is no time at all."""
        n = len(seconds)
        good = (1 - bad) / sum(share for share, _ in TIME_FORMS)
        form = self.choice(name, first, n, (*(share * good for share, _ in TIME_FORMS), bad))
        instants = pl.from_epoch(seconds)
        texts, places = [], []
        for number, (_, write) in enumerate(TIME_FORMS):
            places.append((form == number).arg_true())
            texts.append(write(instants.gather(places[-1])))
        places.append((form == len(TIME_FORMS)).arg_true())
        texts.append(self.pick(f"{name} that is none", first, len(places[-1]), NO_TIMES))
        return pl.concat(texts).gather(pl.concat(places).arg_sort())


@dataclass(frozen=True)
class Day:
    """A day to be made."""

    day: date
    events: int
    seed: int

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return max(self.events // EVENTS_PER_CUSTOMER, 10)

    @property
    def midnight(self) -> int:
        """The day's first second."""
        return int(datetime.combine(self.day, datetime.min.time(), UTC).timestamp())

    def draws(self, feed: str) -> Draws:
        """The feed's random numbers. Customers are the same people every day."""
        return Draws(self.seed, feed) if feed == "customers" else Draws(self.seed, feed, self.day.isoformat())


def customer_ids(day: Day) -> pl.Series:
    """The day's customers, then as many ghosts as there are, then nobody."""
    numbers = pl.Series(["c"]) + pl.int_range(day.customers, eager=True).cast(TEXT).str.zfill(8)
    ghosts = pl.Series(["ghost"]) + pl.int_range(GHOSTS, eager=True).cast(TEXT).str.zfill(4)
    return pl.concat([numbers, ghosts, pl.Series([None], dtype=TEXT)])


def orphaned(day: Day, draws: Draws, first: int, customers: pl.Series) -> pl.Series:
    """Places in `customer_ids`: 2 % become ghosts, 0.3 % nobody."""
    n = len(customers)
    fate = draws.share("orphan", first, n)
    ghost = draws.number("ghost", first, n, GHOSTS) + day.customers
    return _cases(customers, (fate < 0.023, pl.repeat(day.customers + GHOSTS, n, eager=True)), (fate < 0.02, ghost))


def visits(day: Day, draws: Draws) -> pl.DataFrame:
    """Who came when, for how many events, in the order of hours; `end` numbers the events."""
    repeats = _COPIES + _CORRECTIONS + SENT_AGAIN * HOURS[-1] / sum(HOURS)
    wanted = round(day.events / (1 + repeats))
    n = wanted // (EVENTS_PER_VISIT - 1) + 100
    # The number of events of a visit is geometric, its customer one of few busy or many quiet ones.
    length = ((1 - draws.share("length", 0, n)).log() / math.log(1 - 1 / EVENTS_PER_VISIT)).cast(pl.Int64) + 1
    late = draws.share("late", 0, n)
    found = pl.DataFrame(
        {
            "length": length,
            "customer": (draws.share("customer", 0, n) ** 2 * day.customers).cast(pl.Int64),
            "hour": draws.choice("hour", 0, n, HOURS).cast(pl.Int64),
            "second": draws.number("second", 0, n, _HOUR),
            "platform": draws.pick("platform", 0, n, PLATFORMS),
            "session": draws.ids("s", "session", 0, n),
            "days_late": pl.select(
                pl.when(late < 0.0002).then(5).when(late < 0.01).then(2).when(late < 0.02).then(1)
                .when(late < 0.0205).then(-3)  # a clock far ahead
                .otherwise(0)
            ).to_series(),
        }
    )  # fmt: skip
    found = found.filter(pl.col("length").cum_sum() - pl.col("length") < wanted)
    return found.sort("hour", maintain_order=True).with_columns(end=pl.col("length").cum_sum())


_COPIES, _CORRECTIONS = 0.01, 0.005
_EVENT_COLUMNS: Final = (
    "event_id", "customer_id", "event_time", "event_type", "platform", "session_id", "duration_ms", "ingest_date",
)  # fmt: skip


def events(day: Day) -> Iterator[pl.DataFrame]:
    """The rows of the events file, hour by hour."""
    draws = day.draws("events")
    ids = customer_ids(day)
    all_visits = visits(day, draws)
    waiting = [_sent_again(day, ids)]  # repeats that arrive in a later hour
    for hour in range(24):
        of_hour = all_visits.filter(pl.col("hour") == hour)
        if not of_hour.height:
            continue
        first = _first_event(of_hour)
        rows = _events_of_visits(day, draws, first, of_hour, ids)
        arrived = pl.concat([*waiting, rows, *_repeats(draws, first, rows)])
        is_later = (arrived["arrival"] >= (hour + 1) * _HOUR) & (hour < 23)
        waiting = [arrived.filter(is_later & arrived["is_repeat"])]
        yield (
            arrived.filter(~(is_later & arrived["is_repeat"]))
            .sort("arrival", maintain_order=True)
            .select(_EVENT_COLUMNS)
        )


def _first_event(of_hour: pl.DataFrame) -> int:
    """The number of the hour's first event."""
    return of_hour["end"][0] - of_hour["length"][0]


def _sent_again(day: Day, ids: pl.Series) -> pl.DataFrame:
    """Events of the last hour of the day before that are in this day's file too, under the same ids."""
    before = replace(day, day=day.day - timedelta(days=1))
    of_before, draws = before.draws("events"), day.draws("sent again")
    of_hour = visits(before, of_before).filter(pl.col("hour") == len(HOURS) - 1)
    rows = _events_of_visits(before, of_before, _first_event(of_hour), of_hour, ids)
    rows = rows.filter(draws.share("which", 0, rows.height) < SENT_AGAIN)
    n = rows.height
    moved = draws.share("moved", 0, n) < MOVED
    other_time = draws.times("moved to", 0, rows["happened"] + draws.number("by", 0, n, 3 * _HOUR))
    return rows.with_columns(
        event_time=_cases(rows["event_time"], (moved, other_time)),
        ingest_date=pl.lit(day.day.isoformat()),
        arrival=draws.share("arrival", 0, n) * _HOUR,
        is_repeat=True,
    )


def _events_of_visits(day: Day, draws: Draws, first: int, of_hour: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    n = of_hour["length"].sum()
    visit = pl.select(pl.int_range(of_hour.height).repeat_by(of_hour["length"]).explode()).to_series()

    def of_visit(column: str) -> pl.Series:
        return of_hour[column].gather(visit)

    # Seconds since the visit began: a running sum of pauses, less what it was at the visit's first event.
    pause = (-MEAN_PAUSE * (1 - draws.share("pause", first, n)).log()).cast(pl.Int64) + 1
    so_far = pause.cum_sum()
    at_first = so_far.gather(of_hour["end"] - of_hour["length"] - first)
    second = of_visit("hour") * _HOUR + of_visit("second") + so_far - at_first.gather(visit)
    happened = second + day.midnight - of_visit("days_late") * _DAY
    customer = ids.gather(orphaned(day, draws, first, of_visit("customer")))
    padded = draws.share("padded", first, n) < 0.001
    no_session = draws.share("no session", first, n) < 0.1
    return pl.DataFrame(
        {
            "event_id": draws.ids("e", "event", first, n),
            "customer_id": _cases(customer, (padded, pl.Series([" "]) + customer + pl.Series([" "]))),
            "event_time": draws.times("event_time", first, happened),
            "event_type": draws.pick("event_type", first, n, EVENT_TYPES),
            "platform": of_visit("platform"),
            "session_id": _cases(of_visit("session"), (no_session, pl.repeat(None, n, dtype=TEXT, eager=True))),
            "duration_ms": _durations(draws, first, n),
            "ingest_date": draws.pick("ingest_date", first, n, {day.day.isoformat(): 99.4, WRONG_DAY: 0.4, None: 0.2}),
            "arrival": second.cast(pl.Float64) + draws.share("arrival", first, n),
            "happened": happened,
            "is_repeat": pl.repeat(value=False, n=n, eager=True),
        }
    )


def _durations(draws: Draws, first: int, n: int) -> pl.Series:
    size = (draws.normal("duration", first, n) * 1.2 + 10).exp().cast(pl.Int64) + 1
    fate = draws.share("duration fate", first, n)
    usual = _cases(size, (fate < 0.015, size + _DAY * 1000), (fate < 0.01, -size)).cast(TEXT)
    return _cases(
        usual,
        (fate >= 0.98, usual + pl.Series([".5"])),
        (fate >= 0.987, pl.repeat("fast", n, dtype=TEXT, eager=True)),
        (fate >= 0.99, pl.repeat(None, n, dtype=TEXT, eager=True)),
    )


def _repeats(draws: Draws, first: int, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Rows sent twice, unchanged or changed, up to an hour after the first time."""
    n = round(rows.height * _COPIES)
    again = draws.number("copy", first, n, rows.height)
    later = draws.share("copy later", first, n) * _HOUR
    copies = rows[again].with_columns(pl.col("arrival") + later, is_repeat=True)
    n = round(rows.height * _CORRECTIONS)
    changed = rows[draws.number("correction", first, n, rows.height)]
    changed = changed.with_columns(
        pl.col("arrival") + draws.share("correction later", first, n) * _HOUR,
        is_repeat=True,
        event_time=draws.times("corrected time", first, changed["happened"] + draws.number("moved", first, n, 600)),
        platform=draws.pick("corrected platform", first, n, PLATFORMS),
        duration_ms=draws.number("corrected duration", first, n, 500_000).cast(TEXT),
    )
    return [copies, changed]


def customers(day: Day) -> pl.DataFrame:
    """The rows of the customers file."""
    draws, n = day.draws("customers"), day.customers
    number = pl.int_range(n, eager=True).cast(TEXT)
    fate = draws.share("email", 0, n)
    user = pl.Series(["user"]) + number
    email = _cases(
        user + pl.Series(["@example.com"]),
        (fate < 0.03, pl.repeat(None, n, dtype=TEXT, eager=True)),
        (fate < 0.02, user + pl.Series(["example.com"])),
    )
    created = day.midnight - draws.number("created", 0, n, 300 * _DAY)
    rows = pl.DataFrame(
        {
            "customer_id": customer_ids(day).head(n),
            "email": email,
            "created_at": draws.times("created_at", 0, created, 0.02),
            "country": draws.pick("country", 0, n, COUNTRIES),
            "status": draws.pick("status", 0, n, CUSTOMER_STATUS),
            "ingest_date": draws.pick("ingest_date", 0, n, {day.day.isoformat(): 99, WRONG_DAY: 1}),
        }
    )
    undated = rows[draws.number("undated", 0, n // 30, n)].with_columns(created_at=pl.lit("not a date"))
    moved = rows[draws.number("moved", 0, n // 200, n)]
    moved = moved.with_columns(
        country=draws.pick("new country", 0, moved.height, COUNTRIES),
        email=pl.Series(["new."]) + moved["customer_id"] + pl.Series(["@example.org"]),
    )
    copies = rows[draws.number("copy", 0, n // 100, n)]
    return _shuffled_in(draws, rows, undated, moved, copies)


def orders(day: Day) -> pl.DataFrame:
    """The rows of the orders file."""
    draws, n = day.draws("orders"), max(day.events // EVENTS_PER_ORDER, 10)
    cents = (draws.normal("amount", 0, n) * 0.9 + 8).exp().cast(pl.Int64)
    fate = draws.share("amount fate", 0, n)
    cents = _cases(cents, (fate < 0.015, cents * 0), (fate < 0.01, -cents))
    usual = (cents // 100).cast(TEXT) + pl.Series(["."]) + (cents.abs() % 100).cast(TEXT).str.zfill(2)
    grouped = pl.Series(["1,"]) + (draws.number("grouped", 0, n, 900) + 100).cast(TEXT) + pl.Series([".50"])
    amount = _cases(
        usual,
        (fate >= 0.975, pl.Series(["$"]) + usual),
        (fate >= 0.98, grouped),
        (fate >= 0.987, pl.repeat("to follow", n, dtype=TEXT, eager=True)),
        (fate >= 0.99, pl.repeat(None, n, dtype=TEXT, eager=True)),
    )
    placed = day.midnight + draws.number("second", 0, n, _DAY)
    rows = pl.DataFrame(
        {
            "order_id": draws.ids("o", "order", 0, n),
            "customer_id": customer_ids(day).gather(
                orphaned(day, draws, 0, draws.number("customer", 0, n, day.customers))
            ),
            "order_time": draws.times("order_time", 0, placed),
            "amount": amount,
            "currency": draws.pick("currency", 0, n, CURRENCIES),
            "status": draws.pick("status", 0, n, ORDER_STATUS),
            "ingest_date": pl.repeat(day.day.isoformat(), n, dtype=TEXT, eager=True),
        }
    )
    copies = rows[draws.number("copy", 0, n // 100, n)]
    changed = rows[draws.number("changed", 0, n // 200, n)]
    changed = changed.with_columns(status=draws.pick("new status", 0, changed.height, ORDER_STATUS))
    return _shuffled_in(draws, rows, copies, changed)


def write_day(root: Path, day: Day) -> dict[str, int]:
    """Write the day's three files under the raw root; gives their numbers of records."""
    folder = root / f"ingest_date={day.day}"
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"events": 0}
    with (folder / "events_raw.csv").open("wb") as stream:
        for number, rows in enumerate(events(day)):
            rows.write_csv(stream, include_header=number == 0)
            counts["events"] += rows.height
    for name, rows in (("customers", customers(day)), ("orders", orders(day))):
        rows.write_csv(folder / f"{name}_raw.csv")
        counts[name] = rows.height
    return counts


def _shuffled_in(draws: Draws, rows: pl.DataFrame, *more: pl.DataFrame) -> pl.DataFrame:
    """`rows` in their order, with all of `more` strewn among them."""
    places = [pl.int_range(rows.height, eager=True).cast(pl.Float64)]
    places += [draws.share(f"place {number}", 0, each.height) * rows.height for number, each in enumerate(more)]
    everything = pl.concat([rows, *more]).with_columns(pl.concat(places).alias("place"))
    return everything.sort("place", maintain_order=True).drop("place")


def _cases(usual: pl.Series, *cases: tuple[pl.Series, pl.Series]) -> pl.Series:
    """`usual`, replaced where a case is true; the last true case wins."""
    result = usual
    for condition, value in cases:
        result = value.zip_with(condition, result)
    return result


def _three_characters() -> pl.Series:
    letters = pl.Series(list("0123456789abcdefghijklmnopqrstuvwxyz"))
    place = pl.int_range(36**3, eager=True)
    return letters.gather(place // 1296) + letters.gather(place // 36 % 36) + letters.gather(place % 36)


def _u64(value: int) -> pl.Series:
    return pl.Series([value], dtype=_BITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the raw root; ingest_date=…/ is made in it")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--date", type=date.fromisoformat, default=date(2025, 12, 10))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    counts = write_day(asked.out, Day(asked.date, asked.events, asked.seed))
    print(f"{asked.date}: " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
