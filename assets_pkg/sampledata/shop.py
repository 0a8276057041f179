"""The shop without any mess: its customers, what they do in a visit, and when.

Everything follows from a seed. No dates are formatted and no rows are written here.
"""

from bisect import bisect
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import accumulate
from math import log
from random import Random
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

SHOP_OPENED: Final = date(2025, 9, 1)
"""From this day on the customer base grows; customers of before had joined in the two years up to it."""

DAY: Final = 86_400
HOUR: Final = 3_600


class Country(NamedTuple):
    """A home country: how customers there pay, and by which clock they live."""

    code: str
    share: int
    currency: str
    typical_amount: float
    decimals: int
    offset_minutes: int
    spellings: tuple[str, ...]

    @property
    def zone(self) -> str:
        """The clock's offset as ISO 8601 writes it."""
        sign = "-" if self.offset_minutes < 0 else "+"
        hours, minutes = divmod(abs(self.offset_minutes), 60)
        return f"{sign}{hours:02d}:{minutes:02d}"


COUNTRIES: Final = (
    Country("US", 30, "USD", 38.0, 2, -300, ("usa", "USA", "U.S.", "united states", "America", "us")),
    Country("GB", 14, "GBP", 29.0, 2, 0, ("uk", "UK", "Great Britain", "England", "united-kingdom", "GBR")),
    Country("DE", 14, "EUR", 34.0, 2, 60, ("Germany", "GERMANY", "DEU", "de", "Federal Republic of Germany")),
    Country("FR", 8, "EUR", 33.0, 2, 60, ("France", "FRA", "fr", "French Republic")),
    Country("NL", 8, "EUR", 31.0, 2, 60, ("Netherlands", "NLD", "nl", "Kingdom of the Netherlands")),
    Country("IN", 8, "INR", 1450.0, 2, 330, ("India", "india", "IND", "in")),
    Country("BR", 6, "BRL", 120.0, 2, -180, ("Brazil", "BRA", "br")),
    Country("JP", 5, "JPY", 4600.0, 0, 540, ("Japan", "JPN", "jp")),
    Country("AU", 4, "AUD", 52.0, 2, 600, ("Australia", "AUS", "au")),
    Country("NA", 3, "NAD", 480.0, 2, 120, ("Namibia", "NAM", "na")),
)
COUNTRY: Final = {country.code: country for country in COUNTRIES}
_COUNTRY_SHARES: Final = tuple(accumulate(country.share for country in COUNTRIES))

_FIRST_NAMES: Final = (
    "ada", "amir", "ana", "ben", "carla", "chloe", "dev", "elif", "emma", "farid", "grace", "hana",
    "ines", "ivan", "jonas", "kenji", "lena", "lucas", "mara", "mei", "milan", "nadia", "noah", "olga",
    "omar", "paula", "priya", "rosa", "sam", "sofia", "tariq", "tomas", "ursula", "vera", "wanda",
    "yusuf", "zoe",
)  # fmt: skip
_LAST_NAMES: Final = (
    "adams", "bakker", "brandt", "castro", "dubois", "evans", "fischer", "garcia", "haddad", "ito",
    "jansen", "kapoor", "keller", "laurent", "lopez", "mbeki", "meyer", "nowak", "okafor", "patel",
    "petit", "ramos", "rossi", "sato", "schmidt", "silva", "smith", "tanaka", "turner", "visser",
    "weber", "wong", "yilmaz",
)  # fmt: skip
_PLATFORMS: Final = ("ios", "android", "web")
_PLATFORM_SHARES: Final = (38, 66, 100)
_ORDER_STATUSES: Final = ("paid", "failed", "refunded", "chargeback")
_ORDER_STATUS_SHARES: Final = (87, 93, 98, 100)
_MAIL_HOSTS: Final = ("example.com", "example.org", "mail.example.net", "post.example.com")

_PRODUCT_PAGES: Final = tuple(f"/p/{number}" for number in range(100, 400))
_SEARCHES: Final = tuple(
    f"/search?q={words}" for words in ("boots", "rain+coat", "red+shoes", "mug", "lamp", "tea", "wool+socks", "tent")
)
_NO_PAGE: Final = ("",)
_BROWSING: Final = (
    ("page_view", 44, _PRODUCT_PAGES),
    ("click", 20, _PRODUCT_PAGES),
    ("search", 12, _SEARCHES),
    ("feature_use", 9, _NO_PAGE),
    ("paywall_view", 6, _NO_PAGE),
    ("add_to_cart", 3, _PRODUCT_PAGES),
    ("error", 2, _NO_PAGE),
)
"""What people do in between, out of a hundred or so, and where."""

# Tables to draw from, each entry as likely: one draw gives an action, a pause or a stay at once.
_ACTIONS: Final = tuple(
    (event_type, pages[number % len(pages)]) for event_type, share, pages in _BROWSING for number in range(share * 50)
)
_IN_CART: Final = tuple(("add_to_cart", page) for page in _PRODUCT_PAGES)

# How busy each hour of the customer's own day is.
_DAY_CURVE: Final = tuple(
    accumulate((5, 3, 2, 2, 2, 4, 9, 17, 24, 27, 28, 31, 37, 33, 28, 27, 29, 34, 42, 50, 54, 47, 29, 13))
)
_HOURS: Final = tuple(range(24))

EVENTS_PER_VISIT: Final = 7
_LONGEST_VISIT: Final = 90
_LOG_STAYS: Final = log(1 - 1 / EVENTS_PER_VISIT)
_TICKS: Final = 1024
"""Parts of a second that a float holds exactly, so that a time moved by days keeps its fraction."""
_PAUSES: Final = tuple(int(_TICKS * (1 - 75 * log(share / 4000))) / _TICKS for share in range(1, 4000)) + tuple(
    60.0 * minutes for minutes in range(20, 50, 2)
)
"""Seconds to the next event: exponential, but for the few who go on after lunch as if nothing had been."""
_STAYS: Final = tuple(str(int(5_400 * (share / (4000 - share)) ** 0.6)) for share in range(1, 4000))
"""Milliseconds on a page, as text; log-logistic: half longer than the typical, a few very much longer."""

Step = tuple[int, float, tuple[str, str], str]
"""One event of a visit: its place in it, its second after a UTC midnight, type and URL, duration in ms.

A plain tuple, as there are very many.
"""


class Customer(NamedTuple):
    """Who a customer is, for good: a status is looked up for a day."""

    id: str
    email: str
    joined: date
    joined_second: int
    leaves: date
    banned: bool
    country: Country
    platform: str

    def status_on(self, day: date) -> str:
        """What the customers feed of that day says."""
        if self.banned:
            return "banned"
        return "inactive" if self.leaves <= day else "active"


class Shop:
    """The customers of one seed and size. Customer number k is the same whatever day is asked about first."""

    def __init__(self, seed: int, events: int) -> None:
        """`events` a day set how large the shop is and how fast it grows."""
        self._events = events
        self._base = max(20, events // 20)
        self._rng = Random(f"{seed}/{events}/customers")
        self._customers: list[Customer] = []
        self._activity: list[float] = []

    def size_on(self, day: date) -> int:
        """How many customers have joined by the end of a day."""
        return self._base + max(0, (day - SHOP_OPENED).days) * self._events // 1000

    def customers_on(self, day: date) -> list[Customer]:
        """All who have joined by the end of a day, oldest first."""
        size = self.size_on(day)
        self._grow(size)
        return self._customers[:size]

    def newcomers_on(self, day: date) -> list[Customer]:
        """Those who join on a day."""
        return self.customers_on(day)[self.size_on(day - timedelta(days=1)) :]

    def visitor(self, rng: Random, size: int) -> Customer:
        """One of the first `size` customers; some come far more often than others."""
        self._grow(size)
        return self._customers[bisect(self._activity, rng.random() * self._activity[size - 1], 0, size - 1)]

    def _grow(self, size: int) -> None:
        """Make customers up to a number, always with the same draws in the same order."""
        if size <= len(self._customers):
            return
        rng = self._rng
        total = self._activity[-1] if self._activity else 0.0
        for number in range(len(self._customers), size):
            first, last, host = pick(rng, _FIRST_NAMES), pick(rng, _LAST_NAMES), pick(rng, _MAIL_HOSTS)
            joined = self._joined(number, int(rng.random() * 730))
            self._customers.append(
                Customer(
                    id=f"c{number:06d}",
                    email=f"{first}.{last}{number}@{host}",
                    joined=joined,
                    joined_second=int(start_second(rng, 0)),
                    leaves=joined + timedelta(days=30 + int(rng.expovariate(1 / 2000))),
                    banned=rng.random() < 0.02,
                    country=weighted(rng, COUNTRIES, _COUNTRY_SHARES),
                    platform=weighted(rng, _PLATFORMS, _PLATFORM_SHARES),
                )
            )
            total += (1 - rng.random()) ** -0.5
            self._activity.append(total)

    def _joined(self, number: int, days_before: int) -> date:
        """The day on which `size_on` first counts this customer."""
        if number < self._base:
            return SHOP_OPENED - timedelta(days=days_before)
        days = -(-(number - self._base + 1) * 1000 // self._events)
        return SHOP_OPENED + timedelta(days=days)


def pick(rng: Random, values: Sequence[T]) -> T:
    """One of these, each as likely; much quicker than `rng.choice`."""
    return values[int(rng.random() * len(values))]


def weighted(rng: Random, values: Sequence[T], shares: Sequence[int]) -> T:
    """One of these, by shares that add up from one to the next; much quicker than `rng.choices`."""
    return values[bisect(shares, rng.random() * shares[-1])]


def start_second(rng: Random, offset_minutes: int) -> float:
    """When a visit begins: after the day curve of the visitor's clock, given as a second of the UTC day."""
    local = (weighted(rng, _HOURS, _DAY_CURVE) + rng.random()) * HOUR
    return (local - offset_minutes * 60) % DAY


def visit(rng: Random, start: float, *, joins: bool = False) -> list[Step]:
    """What one visitor does: in by login or signup, browse, perhaps buy, perhaps log out."""
    length = min(_LONGEST_VISIT, 1 + int(log(1 - rng.random()) / _LOG_STAYS))
    actions = rng.choices(_ACTIONS, k=length)
    if joins:
        actions[0] = ("signup", "")
    elif rng.random() < 0.6:
        actions[0] = ("login", "")
    if length >= 4 and rng.random() < 0.5:
        actions[-3] = pick(rng, _IN_CART)
        if rng.random() < 0.65:
            actions[-2] = ("purchase", "")
    if length >= 3 and rng.random() < 0.4:
        actions[-1] = ("logout", "")
    first = int(start * _TICKS) / _TICKS
    seconds = accumulate(rng.choices(_PAUSES, k=length - 1), initial=first)
    return list(zip(range(length), seconds, actions, rng.choices(_STAYS, k=length), strict=True))


def busy_platform(rng: Random, customer: Customer) -> str:
    """The favourite platform, or now and then another one."""
    return customer.platform if rng.random() < 0.85 else pick(rng, _PLATFORMS)


def amount(rng: Random, country: Country) -> str:
    """What a basket costs in the country's money."""
    return f"{max(1.0, country.typical_amount * rng.lognormvariate(0, 0.7)):.{country.decimals}f}"


def order_status(rng: Random) -> str:
    """How most payments end."""
    return weighted(rng, _ORDER_STATUSES, _ORDER_STATUS_SHARES)
