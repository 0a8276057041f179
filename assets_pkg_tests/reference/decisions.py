"""What becomes of the raw rows of one feed and day: clean, quarantine, or dropped as a full-row duplicate."""

from collections import defaultdict
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from .feeds import Feed, RawFeed, RawRow, Row
from .values import (
    WHITE_SPACE,
    clean_text,
    match_country,
    match_currency,
    match_event_type,
    match_platform,
    match_status,
    parse_amount,
    parse_duration_ms,
    parse_timestamp,
    valid_email,
)

CLOCK_SKEW = timedelta(hours=24)
MAX_DURATION_MS = 86_400_000
MAX_AMOUNT = Decimal(1_000_000)
STATUS_WITHOUT_AMOUNT = "failed"
STATUSES_NOT_ZERO = frozenset({"paid", "refunded", "chargeback"})

Texts = dict[str, str | None]
"""A row's contract columns after trimming and null tokens."""

NOT_COUNTED_AS_FILLED = frozenset({"event_type_raw", "event_date", "warnings", "source_file", "source_row"})
"""Columns of a clean row that say nothing about how much the feed had filled in."""

UNKNOWN = "unknown"
UNKNOWN_MEANS_NULL = {"customers": {"status"}, "events": {"event_type", "platform"}, "orders": set[str]()}


@dataclass
class Verdict:
    """One raw row with its canonical values, its reasons to be rejected and its warnings."""

    raw: RawRow
    clean: Row = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class FeedDay:
    """One feed on one day: what came in, where it went, and what its files were like."""

    raw: list[Row]
    clean: list[Row]
    quarantine: list[Row]
    full_row_duplicates: int
    failed_files: list[str]
    drifted_files: list[str]


def decide(feed: Feed, day: date, raw: RawFeed, known_customers: Container[str]) -> FeedDay:
    """Judge every row, then drop the full-row duplicates, then let the best row of each id win."""
    verdicts = [_judge(feed, day, row, known_customers) for row in raw.rows]
    kept = _without_full_row_duplicates(feed, verdicts)
    _reject_id_duplicates(feed, kept)
    return FeedDay(
        raw=[row.row for row in raw.rows],
        clean=[_clean_row(verdict) for verdict in kept if not verdict.reasons],
        quarantine=[_quarantine_row(verdict) for verdict in kept if verdict.reasons],
        full_row_duplicates=len(verdicts) - len(kept),
        failed_files=raw.failed_files,
        drifted_files=raw.drifted_files,
    )


def _clean_row(verdict: Verdict) -> Row:
    """Give the row of the clean table."""
    return {
        **verdict.clean,
        "warnings": "|".join(verdict.warnings) or None,
        "source_file": verdict.raw.row["source_file"],
        "source_row": verdict.raw.row["source_row"],
    }


def _quarantine_row(verdict: Verdict) -> Row:
    """Give the row of the quarantine table."""
    return {**verdict.raw.row, "reject_reason": "|".join(verdict.reasons)}


# --- duplicates -------------------------------------------------------------------------------------------


def _without_full_row_duplicates(feed: Feed, verdicts: list[Verdict]) -> list[Verdict]:
    """Keep the first of equal rows, by file and record; a malformed row equals no other."""
    seen: set[tuple[str, ...]] = set()
    kept: list[Verdict] = []
    for verdict in verdicts:
        if not verdict.raw.malformed:
            texts = [verdict.raw.row[name] for name in (*feed.raw_columns.values(), "extra")]
            key = tuple((text or "").strip(WHITE_SPACE) for text in texts)
            if key in seen:
                continue
            seen.add(key)
        kept.append(verdict)
    return kept


def _reject_id_duplicates(feed: Feed, verdicts: list[Verdict]) -> None:
    """Among the rows without a reason, give all but the best of each id the reason that it is a duplicate."""
    rivals: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if not verdict.reasons:
            rivals[verdict.clean[feed.id_column]].append(verdict)
    for same_id in rivals.values():
        best = max(same_id, key=lambda verdict: _rank(feed, verdict))
        for verdict in same_id:
            if verdict is not best:
                verdict.reasons.append(f"duplicate_{feed.id_column}")


def _rank(feed: Feed, verdict: Verdict) -> tuple[bool, int, datetime, str, int]:
    """Give what makes a row better than another of the same id, the weightiest first."""
    has_email = feed.name == "customers" and verdict.clean["email"] is not None
    filled = sum(
        value is not None and not (value == UNKNOWN and column in UNKNOWN_MEANS_NULL[feed.name])
        for column, value in verdict.clean.items()
        if column not in NOT_COUNTED_AS_FILLED
    )
    row = verdict.raw.row
    return has_email, filled, verdict.clean[feed.time_column], row["source_file"], row["source_row"]


# --- one row ----------------------------------------------------------------------------------------------


def _judge(feed: Feed, day: date, raw: RawRow, known_customers: Container[str]) -> Verdict:
    """Find every reason and warning of one row, in the contract's order, and its canonical values."""
    if raw.malformed:
        return Verdict(raw, reasons=["malformed_row"])
    if raw.missing_columns:
        return Verdict(raw, reasons=[f"missing_column:{name}" for name in raw.missing_columns])
    verdict = Verdict(raw)
    texts = {column: clean_text(raw.row[raw_name]) for column, raw_name in feed.raw_columns.items()}
    if texts["ingest_date"] not in (None, day.isoformat()):
        verdict.reasons.append("ingest_date_mismatch")
    for id_column in ("customer_id", "event_id", "order_id"):
        if id_column in texts and texts[id_column] is None:
            verdict.reasons.append(f"missing_{id_column}")
    _JUDGE_FEED[feed.name](texts, day, verdict)
    customer_id = texts["customer_id"]
    if feed.name != "customers" and customer_id is not None and customer_id not in known_customers:
        verdict.reasons.append("orphan_customer_id")
    return verdict


def _judge_customer(texts: Texts, _day: date, verdict: Verdict) -> None:
    """Judge what only customers have."""
    email, country = texts["email"], match_country(texts["country"])
    created_at = _time("created_at", texts, verdict)
    if email is not None and not valid_email(email):
        verdict.warnings.append("invalid_email")
        email = None
    if texts["country"] is not None and country is None:
        verdict.warnings.append("unknown_country")
    status = _or_unknown("status", texts, match_status(texts["status"], "customers"), verdict)
    verdict.clean = {
        "customer_id": texts["customer_id"],
        "email": email,
        "created_at": created_at,
        "country": country,
        "status": status,
    }


def _judge_event(texts: Texts, day: date, verdict: Verdict) -> None:
    """Judge what only events have."""
    event_time = _time("event_time", texts, verdict)
    _reject_future("event_time", event_time, day, verdict)
    duration_ms = parse_duration_ms(texts["duration_ms"])
    if texts["duration_ms"] is not None:
        if duration_ms is None:
            verdict.reasons.append("invalid_duration_ms")
        elif duration_ms < 0:
            verdict.reasons.append("negative_duration_ms")
        elif duration_ms > MAX_DURATION_MS:
            verdict.reasons.append("duration_ms_exceeds_max")
    event_type = _or_unknown("event_type", texts, match_event_type(texts["event_type"]), verdict)
    platform = _or_unknown("platform", texts, match_platform(texts["platform"]), verdict)
    verdict.clean = {
        "event_id": texts["event_id"],
        "customer_id": texts["customer_id"],
        "event_time": event_time,
        "event_date": None if event_time is None else event_time.date(),
        "event_type": event_type,
        "event_type_raw": texts["event_type"] if event_type == UNKNOWN else None,
        "platform": platform,
        "client_session_id": texts["session_id"],
        "duration_ms": duration_ms,
        "url": texts["url"],
    }


def _judge_order(texts: Texts, day: date, verdict: Verdict) -> None:
    """Judge what only orders have."""
    order_time = _time("order_time", texts, verdict)
    _reject_future("order_time", order_time, day, verdict)
    currency = match_currency(texts["currency"])
    status = match_status(texts["status"], "orders")
    for column, matched in (("currency", currency), ("status", status)):
        if matched is None:
            verdict.reasons.append(f"missing_{column}" if texts[column] is None else f"unknown_{column}")
    amount = parse_amount(texts["amount"])
    if texts["amount"] is None:
        if status != STATUS_WITHOUT_AMOUNT:
            verdict.reasons.append("missing_amount")
    elif amount is None:
        verdict.reasons.append("invalid_amount")
    elif amount < 0:
        verdict.reasons.append("negative_amount")
    elif amount == 0 and status in STATUSES_NOT_ZERO:
        verdict.reasons.append("zero_amount")
    elif amount > MAX_AMOUNT:
        verdict.reasons.append("amount_exceeds_max")
    verdict.clean = {
        "order_id": texts["order_id"],
        "customer_id": texts["customer_id"],
        "order_time": order_time,
        "amount": amount,
        "currency": currency,
        "status": status,
    }


_JUDGE_FEED: dict[str, Callable[[Texts, date, Verdict], None]] = {
    "customers": _judge_customer,
    "events": _judge_event,
    "orders": _judge_order,
}


def _time(column: str, texts: Texts, verdict: Verdict) -> datetime | None:
    """Read the feed's time column, which must be there."""
    instant = parse_timestamp(texts[column])
    if instant is None:
        verdict.reasons.append(f"missing_{column}" if texts[column] is None else f"invalid_{column}")
    return instant


def _reject_future(column: str, instant: datetime | None, day: date, verdict: Verdict) -> None:
    """Reject what claims to have happened after the day's end and the allowed clock skew."""
    end_of_day = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    if instant is not None and instant >= end_of_day + CLOCK_SKEW:
        verdict.reasons.append(f"future_{column}")


def _or_unknown(column: str, texts: Texts, matched: str | None, verdict: Verdict) -> str:
    """Put `unknown` in place of a category that is missing or means nothing, with a warning."""
    if matched is None:
        verdict.warnings.append(f"missing_{column}" if texts[column] is None else f"unknown_{column}")
        return UNKNOWN
    return matched
