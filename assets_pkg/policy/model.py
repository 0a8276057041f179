"""The frozen model that validates a policy. What a setting means and why stands in default.yaml, once."""

import codecs
import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Literal

import pycountry
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from assets_pkg.policy.columns import ESSENTIAL_COLUMNS, FEED_COLUMNS, INGEST_DATE

Rate = Annotated[float, Field(ge=0, le=1)]
Severity = Literal["high", "medium", "low"]  # the severest first


_MINUTE_US = 60_000_000


def _codec(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(f"{name!r} is no text encoding that Python knows") from None
    return name


def _without_nulls(names: object) -> object:
    return {key: value for key, value in names.items() if value is not None} if isinstance(names, dict) else names


Names = Annotated[dict[str, str], BeforeValidator(_without_nulls)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        # YAML reads yes, no, on, off, true and false as switches; pydantic would take them for 1 and 0.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("is a switch (true, yes, on …) where another value belongs; put quotes around a text")
        return value


class FeedPolicy(_Frozen):
    """What one feed must bring."""

    required: tuple[str, ...]
    aliases: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_without_nulls)] = {}
    check_orphans: bool = True

    @model_validator(mode="after")
    def _each_header_means_one_column(self) -> "FeedPolicy":
        seen: dict[str, str] = {}
        for column, names in self.aliases.items():
            for name in names:
                if not name:
                    raise ValueError(f"alias of {column} is empty")
                if name != name.strip().lower():
                    raise ValueError(f"alias {name!r} of {column}: header names are compared in lower case, trimmed")
                if seen.setdefault(name, column) != column:
                    raise ValueError(f"alias {name!r} stands under both {seen[name]} and {column}")
        if len(set(self.required)) < len(self.required):
            raise ValueError("required names a column twice")
        return self


class FeedPolicies(_Frozen):
    """One policy per feed."""

    customers: FeedPolicy
    events: FeedPolicy
    orders: FeedPolicy

    @model_validator(mode="after")
    def _columns_exist(self) -> "FeedPolicies":
        for feed, columns in FEED_COLUMNS.items():
            policy: FeedPolicy = getattr(self, feed)
            for column in (*policy.required, *policy.aliases):
                if column not in columns:
                    raise ValueError(f"{feed}: {column!r} is none of its columns {', '.join(columns)}")
            for column, names in policy.aliases.items():
                for name in names:
                    if name in columns:
                        raise ValueError(f"{feed}: alias {name!r} of {column} is a column of its own")
            missing = [column for column in ESSENTIAL_COLUMNS[feed] if column not in policy.required]
            if missing:
                raise ValueError(f"{feed}: {', '.join(missing)} must be required; no row can do without")
            if feed == "customers" and policy.check_orphans:
                raise ValueError(f"{feed}: check_orphans must be false; a customers row makes its customer known")
            if INGEST_DATE in policy.required:
                raise ValueError(f"{feed}: {INGEST_DATE} is the partition's and cannot be required")
        return self


class ReadingPolicy(_Frozen):
    """How far the reader goes before it calls a piece of a file broken."""

    open_quote_lines: Annotated[int, Field(ge=1, le=1_000_000)]
    max_line_mib: Annotated[int, Field(ge=1, le=1024)]

    @property
    def max_line_bytes(self) -> int:
        """The longest line that is read, in bytes."""
        return self.max_line_mib * 2**20


class ValuePolicy(_Frozen):
    """How texts become values."""

    null_tokens: tuple[Annotated[str, AfterValidator(lambda token: token.strip().lower())], ...]
    slash_dates: Literal["mdy", "dmy", "reject"]
    first_year: Annotated[int, Field(ge=1, le=9999)]
    last_year: Annotated[int, Field(ge=1, le=9999)]
    clock_skew_hours: Annotated[int, Field(ge=0, le=24 * 366)]
    max_duration_ms: Annotated[int, Field(gt=0, lt=10**17)]
    max_amount: Annotated[int, Field(gt=0, le=10**12)]

    @model_validator(mode="after")
    def _years_in_order(self) -> "ValuePolicy":
        if self.first_year > self.last_year:
            raise ValueError(f"first_year {self.first_year} is after last_year {self.last_year}")
        return self

    @property
    def clock_skew(self) -> timedelta:
        """How far after its ingest date's end a time may lie."""
        return timedelta(hours=self.clock_skew_hours)

    @property
    def early_days(self) -> int:
        """How many days before its own day an event may land, as clocks are wrong by no more."""
        return -(-self.clock_skew_hours // 24)


class NamedCategory(_Frozen):
    """A category with its own canonical names, and other spellings of them."""

    names: tuple[str, ...]
    aliases: Names = {}

    @model_validator(mode="after")
    def _names_are_as_texts_are_compared(self) -> "NamedCategory":
        for name in self.names:
            compared = re.sub(r"[\s_-]+", "_", name.strip().lower())
            if name != compared or not name:
                raise ValueError(f"name {name!r} must be written as texts are compared: {compared!r}")
        return self

    @model_validator(mode="after")
    def _aliases_lead_to_names(self) -> "NamedCategory":
        for alias, name in self.aliases.items():
            if not alias.strip() or alias in self.names:
                raise ValueError(f"alias {alias!r} is {'blank' if not alias.strip() else 'a name of its own'}")
            if name not in self.names:
                raise ValueError(
                    f"alias {alias!r} leads to {name!r}, which is none of {', '.join(self.names)}; an alias of the "
                    "default policy is taken away by setting it to null"
                )
        return self


class OrderStatusCategory(NamedCategory):
    """The names of order states, and what they say about amounts."""

    settled: tuple[str, ...]
    without_amount: tuple[str, ...]

    @model_validator(mode="after")
    def _states_are_names(self) -> "OrderStatusCategory":
        for name in (*self.settled, *self.without_amount):
            if name not in self.names:
                raise ValueError(f"{name!r} is none of its names {', '.join(self.names)}")
        return self


class CountryCategory(_Frozen):
    """Spellings of countries beyond ISO 3166-1's."""

    aliases: Names = {}

    @model_validator(mode="after")
    def _aliases_lead_to_countries(self) -> "CountryCategory":
        for alias, code in self.aliases.items():
            if pycountry.countries.get(alpha_2=code) is None:
                raise ValueError(f"alias {alias!r} leads to {code!r}, which is no ISO 3166-1 alpha-2 code")
        return self


class CurrencyCategory(_Frozen):
    """Symbols of currencies, and what a misread symbol looks like."""

    not_money: tuple[str, ...]
    symbols: Names
    misread_as: tuple[Annotated[str, AfterValidator(_codec)], ...]

    @model_validator(mode="after")
    def _symbols_lead_to_currencies(self) -> "CurrencyCategory":
        for symbol, code in self.symbols.items():
            if not symbol.strip():
                raise ValueError("a symbol is blank")
            if pycountry.currencies.get(alpha_3=code) is None or code in self.not_money:
                raise ValueError(f"symbol {symbol!r} leads to {code!r}, which is no currency of ISO 4217")
        return self

    @property
    def spellings(self) -> dict[str, str]:
        """Every symbol, also as its UTF-8 bytes look in the encodings of `misread_as`, and its currency."""
        spelled = dict(self.symbols)
        for symbol, code in self.symbols.items():
            if not symbol.isascii():
                for encoding in self.misread_as:
                    spelled.setdefault(symbol.encode().decode(encoding, "replace"), code)
        return spelled


class Categories(_Frozen):
    """Every category column's names."""

    country: CountryCategory
    customer_status: NamedCategory
    platform: NamedCategory
    event_type: NamedCategory
    currency: CurrencyCategory
    order_status: OrderStatusCategory


class Deadlines(_Frozen):
    """For each feed, hours after a day's end (UTC) until which its files are waited for."""

    customers: Annotated[float, Field(ge=0, le=24 * 7)]
    events: Annotated[float, Field(ge=0, le=24 * 7)]
    orders: Annotated[float, Field(ge=0, le=24 * 7)]


class ArrivalPolicy(_Frozen):
    """When a day's raw files are taken as complete."""

    settle_seconds: Annotated[float, Field(ge=0, le=24 * 3600)]
    deadline_hours: Deadlines


class ActivityPolicy(_Frozen):
    """Late data and sessions."""

    late_window_days: Annotated[int, Field(ge=0, le=31)]
    session_timeout_minutes: Annotated[float, Field(ge=1 / _MINUTE_US, le=24 * 60)]
    active_gap_minutes: Annotated[float, Field(ge=1 / _MINUTE_US)] | None = None

    @property
    def session_timeout_us(self) -> int:
        """A gap of so many microseconds, or more, ends a session."""
        return round(self.session_timeout_minutes * _MINUTE_US)

    @property
    def active_gap_us(self) -> int | None:
        """When set, only gaps of up to so many microseconds count as active time."""
        return None if self.active_gap_minutes is None else round(self.active_gap_minutes * _MINUTE_US)


class AlertRule(_Frozen):
    """What every alert rule has."""

    enabled: bool
    severity: Severity


class HourlyCoverage(AlertRule):
    """Hours without a clean event."""

    max_missing_hours: Annotated[int, Field(ge=0, le=24)]


class Drop(AlertRule):
    """A share below the median."""

    max_drop: Rate


class Spike(AlertRule):
    """Times the median."""

    max_ratio: Annotated[float, Field(ge=1)]


class PointsAbove(AlertRule):
    """A rate above the median rate, as a difference."""

    max_points_above: Rate


class MaxRate(AlertRule):
    """A rate."""

    max_rate: Rate


class MaxEvents(AlertRule):
    """A count of events."""

    max_events: Annotated[int, Field(ge=0)]


class AlertPolicy(_Frozen):
    """Which days deserve a look."""

    history_days: Annotated[int, Field(ge=1, le=366)]
    min_history_days: Annotated[int, Field(ge=1, le=366)]
    missing_feed: AlertRule
    failed_file: AlertRule
    hourly_coverage: HourlyCoverage
    volume_drop: Drop
    volume_spike: Spike
    quarantine_rate: PointsAbove
    orphan_rate: MaxRate
    duplicate_rate: MaxRate
    late_beyond_window: MaxEvents
    schema_drift: AlertRule
    activity_drop: Drop
    activity_spike: Spike

    @model_validator(mode="after")
    def _history_is_long_enough(self) -> "AlertPolicy":
        if self.min_history_days > self.history_days:
            raise ValueError(
                f"min_history_days {self.min_history_days} can never be reached in {self.history_days} history_days"
            )
        return self


class CheckPolicy(_Frozen):
    """What asset checks show, and when the non-blocking ones complain."""

    row_rules_max_rate: Rate
    sample_rows: Annotated[int, Field(ge=1, le=100)]


class MaintenancePolicy(_Frozen):
    """What upkeep leaves in the lake."""

    keep_versions_hours: Annotated[int, Field(ge=24, le=24 * 3660)]
    compact_from_files: Annotated[int, Field(ge=2, le=100_000)]


class Policy(_Frozen):
    """Every threshold and every list of names, validated and frozen."""

    feeds: FeedPolicies
    arrival: ArrivalPolicy
    reading: ReadingPolicy
    values: ValuePolicy
    categories: Categories
    activity: ActivityPolicy
    alerts: AlertPolicy
    checks: CheckPolicy
    maintenance: MaintenancePolicy

    def reading_fingerprint(self, feed: str) -> str:
        """A short digest of what decides how a feed's files are read: when it changes, they are read anew."""
        part: FeedPolicy = getattr(self.feeds, feed)
        return _digest([self.reading.model_dump(mode="json"), part.aliases])

    def fingerprint(self, *sections: str) -> str:
        """A short digest of the named sections (all when none is named): it changes exactly when they do."""
        content = self.model_dump(mode="json", include=set(sections) or None)
        return _digest(content)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
