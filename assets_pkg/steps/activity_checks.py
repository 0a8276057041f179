"""Looking at tables by event date that were written: is every event accounted for, are sessions what they should be.

Rows are counted in the tables themselves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import polars as pl

from assets_pkg.contracts.feeds import ADDRESS, EVENTS
from assets_pkg.contracts.tables import (
    EVENT_DATE,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
    USER_DAILY,
)
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps.activity import Stage
from assets_pkg.steps.provenance import inputs_named
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.duplicates import are_among, repeated
from assets_pkg.transforms.sessions import DAY_SPAN_US, epoch_us, is_full, session_ids
from assets_pkg.transforms.windows import landing

_ID_SEED: Final = 7
_DAY: Final = timedelta(days=1)
_OF_RUN: Final = {
    "events": "found",
    "start_us": "first_us",
    "end_us": "last_us",
}  # in session_runs, by its events
_EVENT: Final = [INGEST_DATE, *ADDRESS, "event_id"]
_KEY: Final = pl.struct(_EVENT).hash(_ID_SEED).alias("key")
_SESSION: Final = pl.col("session_id").hash(_ID_SEED).alias("session")
_ID: Final = pl.col("event_id").hash(_ID_SEED).alias("id")
_NO_EVENTS: Final = pl.DataFrame(schema={name: EVENTS_BY_DATE.schema[name] for name in _EVENT})


@dataclass
class Finding:
    """What a check found: how much is wrong, the numbers, and the first rows at fault."""

    wrong: int
    facts: dict[str, Any] = field(default_factory=dict)
    first: pl.DataFrame = field(default_factory=pl.DataFrame)


def events_accounted(work: Workplace, event_date: date) -> Finding:
    """Every clean event of the date that landed in its window is in events_by_date once, or its id landed before.

    Wrong are events that are missing, stand twice, or came from nowhere. Events are compared by hashes of where they
    came from and their id: by their sum for each day that they landed on, one by one where that differs.
    """
    landed, counted = _Events(_landed(work, event_date)), _Events(_counted(work, event_date))
    ids = [_NO_EVENTS.select(_ID)["id"]]
    for rows in counted.read():
        ids.append(rows.select(_ID).to_series())
        counted.count(rows)
    for rows in landed.read():
        landed.count(rows)
    known = pl.concat(ids).sort()
    twice = pl.concat([counted.sharing(repeated(known)), _landed_elsewhere(work, event_date, counted, known)])
    del known
    differing = counted.differing_days(landed)
    missing, invented = landed.without(counted, differing), counted.without(landed, differing)
    lost = missing.join(_landed_before(work, event_date, missing), on=[INGEST_DATE, "event_id"], how="anti")
    return Finding(
        lost.height + invented.height + twice.height,
        {
            "clean events that landed in the window": landed.rows,
            "events by date": counted.rows,
            "copies of an event that landed before": missing.height - lost.height,
            "events that are missing": lost.height,
            "events from nowhere": invented.height,
            "events that stand twice": twice.height,
        },
        pl.concat([lost, invented, twice])
        .select(*ADDRESS, "event_id")
        .unique(maintain_order=True)
        .head(work.policy.checks.sample_rows),
    )


def _landed(work: Workplace, event_date: date) -> list[pl.LazyFrame]:
    """The clean events of the date that landed in its window, in slices."""
    return [
        piece.filter(pl.col(EVENT_DATE) == event_date).with_columns(pl.lit(day).alias(INGEST_DATE))
        for day in landing(work.policy).of(event_date)
        for piece in work.lake.slices(EVENTS.clean_table, day, event_date)
    ]


def _counted(work: Workplace, event_date: date) -> list[pl.LazyFrame]:
    """events_by_date of the date, in slices."""
    return work.lake.slices(EVENTS_BY_DATE.name, event_date)


class _Events:
    """One side of a comparison of events: where each came from, and its id."""

    def __init__(self, pieces: list[pl.LazyFrame]) -> None:
        self._pieces = pieces
        self.seen: dict[date, tuple[int, int]] = {}  # by ingest date: how many, and the sum of their hashes

    @property
    def rows(self) -> int:
        """How many events were counted."""
        return sum(rows for rows, _ in self.seen.values())

    def read(self, days: Iterable[date] | None = None) -> Iterator[pl.DataFrame]:
        """Slices of them: ingest_date, address, event_id. Of some ingest dates, if given."""
        wanted = pl.lit(value=True) if days is None else pl.col(INGEST_DATE).is_in(sorted(days))
        for piece in self._pieces:
            yield piece.select(_EVENT).filter(wanted).collect(engine="in-memory")

    def count(self, events: pl.DataFrame) -> None:
        """Take note of some."""
        for day, rows, hashes in events.group_by(INGEST_DATE).agg(pl.len(), _KEY.sum()).iter_rows():
            before, sum_before = self.seen.get(day, (0, 0))
            self.seen[day] = before + rows, (sum_before + hashes) % 2**64

    def differing_days(self, others: "_Events") -> set[date]:
        """The ingest dates whose events are not the same on both sides."""
        return {day for day, _ in self.seen.items() ^ others.seen.items()}

    @property
    def last_day(self) -> date:
        """The latest ingest date of those counted."""
        return max(self.seen, default=date.min)

    def of_hashes(self, hashes: pl.Series) -> pl.DataFrame:
        """Those with the hashes of ids."""
        if hashes.is_empty():
            return _NO_EVENTS
        return pl.concat([_NO_EVENTS, *(rows.filter(_ID.is_in(hashes.implode())) for rows in self.read())])

    def sharing(self, hashes: pl.Series) -> pl.DataFrame:
        """Those of them that share an id with another."""
        return self.of_hashes(hashes).filter(pl.col("event_id").is_duplicated())

    def without(self, others: "_Events", days: set[date]) -> pl.DataFrame:
        """Those of some ingest dates that are not on the other side."""
        if not days:
            return _NO_EVENTS
        keys = pl.concat([_NO_EVENTS.select(_KEY), *(rows.select(_KEY) for rows in others.read(days))])
        known = keys.to_series().sort()
        return pl.concat([_NO_EVENTS, *(_without(rows, known) for rows in self.read(days))])


def _without(events: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """The events whose key is not among `keys`, which are sorted."""
    own = events.select(_KEY).to_series()
    ordered = own.sort()
    absent = ordered.filter(~are_among(ordered, keys))
    return events.filter(own.is_in(absent.implode())) if len(absent) else events.clear()


def _landed_elsewhere(work: Workplace, event_date: date, counted: _Events, known: pl.Series) -> pl.DataFrame:
    """Those counted whose id an earlier ingest date of the window holds under another date. `known`: sorted hashes."""
    elsewhere = [_NO_EVENTS.select("event_id", first=INGEST_DATE)]
    for day in landing(work.policy).of(event_date):
        for piece in work.lake.slices(EVENTS.clean_table, day) if day < counted.last_day else ():
            others = piece.filter(pl.col(EVENT_DATE) != event_date).select("event_id", first=pl.lit(day))
            rows = others.collect(engine="in-memory")
            hashes = rows.select(_ID).to_series().sort()
            suspects = hashes.filter(are_among(hashes, known))
            if len(suspects):
                elsewhere.append(rows.filter(_ID.is_in(suspects.implode())))
    first = pl.concat(elsewhere).group_by("event_id").agg(pl.min("first"))
    held = counted.of_hashes(first.select(_ID).to_series()).join(first, on="event_id")
    return held.filter(pl.col("first") < pl.col(INGEST_DATE)).select(_EVENT)


def _landed_before(work: Workplace, event_date: date, rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows whose event_id an earlier ingest date of the window holds: ingest_date, event_id."""
    found = [rows.select(INGEST_DATE, "event_id").clear()]
    hashes = rows.select(_ID).to_series().unique()
    for day in landing(work.policy).of(event_date):
        later = rows.filter(pl.col(INGEST_DATE) > day).select(INGEST_DATE, "event_id")
        for piece in work.lake.slices(EVENTS.clean_table, day) if later.height else ():
            ids = piece.select("event_id").collect(engine="in-memory")
            held = ids.filter(_ID.is_in(hashes.implode()))
            found.append(later.join(held, on="event_id", how="semi"))
    return pl.concat(found).unique()


def each_in_one_session(work: Workplace, event_date: date) -> Finding:
    """The date's events, and no others, are in session_events; those of a run in one session, which is its customer's.

    And sessions that start on the date have as many events as name them, on this date and the next.
    """
    lake = work.lake
    events, sessions = (lake.rows(table.name, event_date) for table in (EVENTS_BY_DATE, SESSION_EVENTS))
    of_run = (
        lake.scan(SESSION_EVENTS.name, [event_date])
        .select("run", _SESSION, pl.col("event_time").to_physical().alias("at_us"))
        .group_by("run")
        .agg(
            pl.len().cast(pl.Int64).alias("found"),
            pl.min("session").alias("least"),
            pl.max("session").alias("most"),
            pl.min("at_us").alias("first_us"),
            pl.max("at_us").alias("last_us"),
        )
    )
    runs = lake.scan(SESSION_RUNS.name, [event_date]).select("customer_id", "events", "start_us", "end_us")
    runs = runs.with_row_index("run").with_columns(pl.col("run").cast(pl.Int64))
    known = lake.scan(SESSIONS.name, [event_date - _DAY, event_date]).select(_SESSION, whose="customer_id")
    both = (
        runs.join(of_run, on="run", how="full", coalesce=True)
        .join(known.unique("session"), left_on="least", right_on="session", how="left")
        .collect(engine="streaming")
    )
    is_one = (pl.col("least") == pl.col("most")) & ~pl.col("least").is_duplicated()
    fits = pl.all_horizontal(pl.col(own) == pl.col(seen) for own, seen in _OF_RUN.items())
    sound = fits & is_one & (pl.col("whose") == pl.col("customer_id"))
    faults = both.filter(~sound.fill_null(value=False)).sort("run")
    miscounted = _miscounted(work, event_date, both.lazy().select("least", "found"))
    others = _other_events(work, event_date) if events == sessions else abs(events - sessions)
    return Finding(
        others + faults.height + miscounted.height,
        {
            "events": events,
            "events with a session": sessions,
            "events that are not those of the date": others,
            "runs at fault": faults.height,
            "sessions with other events": miscounted.height,
        },
        faults.select("run", "customer_id", "events", "found").head(work.policy.checks.sample_rows)
        if faults.height
        else miscounted.head(work.policy.checks.sample_rows),
    )


def _miscounted(work: Workplace, event_date: date, found: pl.LazyFrame) -> pl.DataFrame:
    """The sessions of the date whose id stands twice or is not made as ids are, or that have more or fewer events.

    `found`: of each run of the date its session (least, a hash) and its events (found). On the next date a session
    has its customer's first run.
    """
    tomorrow = event_date + _DAY
    first = work.lake.scan(SESSION_RUNS.name, [tomorrow]).filter("is_first").select("customer_id", carried="events")
    goes_on = pl.col("session_end").dt.date() == tomorrow
    there = pl.col("found") + pl.when(goes_on).then("carried").otherwise(0)
    its_id = session_ids(pl.col("session_start").to_physical())
    sound = (pl.col("event_count") == there) & (pl.col("session_id") == its_id) & ~pl.col("session_id").is_duplicated()
    return (
        work.lake.scan(SESSIONS.name, [event_date])
        .select("session_id", "customer_id", "session_start", "session_end", "event_count", _SESSION)
        .join(found.group_by("least").agg(pl.sum("found")), left_on="session", right_on="least", how="left")
        .join(first, on="customer_id", how="left")
        .filter(~sound.fill_null(value=False))
        .select("session_id", "event_count", "found")
        .collect(engine="streaming")
    )


def _other_events(work: Workplace, event_date: date) -> int:
    """How many events of session_events are not those of events_by_date, each with its run, or the other way round."""
    columns = [INGEST_DATE, *ADDRESS, "run"]
    tables = (EVENTS_BY_DATE.name, SESSION_EVENTS.name)
    pieces = [work.lake.slices(table, event_date) for table in tables]
    if len(set(map(len, pieces))) == 1 and all(
        one.select(columns).collect(engine="in-memory").equals(other.select(columns).collect(engine="in-memory"))
        for one, other in zip(*pieces, strict=True)
    ):
        return 0  # both are written in one order, unless somebody else compacted one of them
    key = pl.struct(columns).hash(_ID_SEED)
    counted, found = (work.lake.scan(table, [event_date]).select(key).collect().to_series().sort() for table in tables)
    return max(int((~are_among(one, other)).sum()) for one, other in ((counted, found), (found, counted)))


def sessions_add_up(work: Workplace, event_date: date) -> Finding:
    """Event counts of sessions, without what they carry over midnights, add up to the date's events; customers' do."""
    lake = work.lake
    events = lake.rows(EVENTS_BY_DATE.name, event_date)
    counted = lake.scan(SESSIONS.name, [event_date]).select(pl.sum("event_count")).collect().item()
    taken_over = _carried(work, event_date - _DAY)
    carried_on = _carried(work, event_date)
    of_customers = lake.scan(USER_DAILY.name, [event_date]).select(pl.sum("events")).collect().item()
    return Finding(
        abs(events - (counted - carried_on + taken_over)) + abs(events - of_customers),
        {
            "events": events,
            "events of sessions that start on the date": counted,
            "of these on the next date": carried_on,
            "events of sessions of the day before": taken_over,
            "events of customers": of_customers,
        },
    )


def _carried(work: Workplace, event_date: date) -> int:
    """How many events sessions of a date have on the next: those of its customers' first runs there."""
    tomorrow = event_date + _DAY
    over = work.lake.scan(SESSIONS.name, [event_date]).filter(pl.col("session_end").dt.date() == tomorrow)
    runs = work.lake.scan(SESSION_RUNS.name, [tomorrow]).filter("is_first")
    return int(over.select("customer_id").join(runs, on="customer_id").select(pl.sum("events")).collect().item())


def sessions_bounded(work: Workplace, event_date: date) -> Finding:
    """Sessions start on the date, end after they start, and go on over one midnight at most, and not where cut.

    Nor is there a gap of the timeout within one.
    """
    start, end = pl.col("session_start"), pl.col("session_end")
    ends_on = end.dt.date()
    sound = (start.dt.date() == event_date) & (end >= start) & (ends_on <= event_date + _DAY)
    rows = work.lake.scan(SESSIONS.name, [event_date])
    unsound = rows.filter(~sound).collect(engine="streaming")
    over = rows.filter(ends_on > event_date)
    cut = work.lake.scan(SESSION_RUNS.name, [event_date]).filter(is_full(event_date, work.policy))
    uncut = over.join(cut, on="customer_id", how="semi").collect(engine="streaming")
    torn_over = over.join(_far_over_midnight(work, event_date), on="customer_id", how="semi")
    torn_within = rows.join(_torn_within(work, event_date), on="session_id", how="semi")
    torn = pl.concat([torn_over, torn_within]).collect(engine="streaming")
    longest = rows.select(pl.max("duration_seconds")).collect(engine="streaming").item()
    faults = pl.concat([unsound, uncut, torn]).unique("session_id", maintain_order=True)
    return Finding(
        faults.height,
        {
            "sessions": work.lake.rows(SESSIONS.name, event_date),
            "longest (hours)": round((longest or 0) / 3600, 2),
            "over a midnight where they should be cut": uncut.height,
            "with a gap of the timeout": torn.height,
        },
        faults.head(work.policy.checks.sample_rows),
    )


def _far_over_midnight(work: Workplace, event_date: date) -> pl.LazyFrame:
    """The customers whose first event of the next date comes the timeout after their last of this one: customer_id."""
    last = work.lake.scan(SESSION_RUNS.name, [event_date]).filter("is_last").select("customer_id", "end_us")
    first = work.lake.scan(SESSION_RUNS.name, [event_date + _DAY]).filter("is_first").select("customer_id", "start_us")
    gap = pl.col("start_us") - pl.col("end_us")
    return last.join(first, on="customer_id").filter(gap >= work.policy.activity.session_timeout_us)


def _torn_within(work: Workplace, event_date: date) -> pl.LazyFrame:
    """The sessions that have a gap of the timeout between two events of the date: session_id.

    Only runs as long as the timeout can have one; that a session has one run is for each_in_one_session.
    """
    timeout = work.policy.activity.session_timeout_us
    length = pl.col("end_us") - pl.col("start_us")
    is_long = work.lake.scan(SESSION_RUNS.name, [event_date]).select(length >= timeout).collect().to_series()
    # Run and time in one number: they sort four times as fast as two columns, and take half the memory.
    since_midnight = pl.col("event_time").to_physical() - epoch_us(event_date)
    number = is_long.cum_sum().cast(pl.Int64)
    keys = [pl.Series(dtype=pl.Int64)]
    for piece in work.lake.slices(SESSION_EVENTS.name, event_date):
        rows = piece.select("run", at=since_midnight).collect(engine="in-memory")
        rows = rows.filter(is_long.gather(rows["run"], null_on_oob=True))
        keys.append(number.gather(rows["run"]) * DAY_SPAN_US + rows["at"].clip(0))
    ordered = pl.concat(keys, rechunk=True).sort()
    long_run = ordered // DAY_SPAN_US
    gaps = (long_run == long_run.shift(1)) & (ordered.diff() >= timeout)
    torn = is_long.arg_true().gather(long_run.filter(gaps).unique() - 1).cast(pl.Int64)
    events = work.lake.scan(SESSION_EVENTS.name, [event_date] if len(torn) else [])
    return events.filter(pl.col("run").is_in(torn.implode())).select("session_id")


def sessions_apart(work: Workplace, event_date: date) -> Finding:
    """No session of the date starts within the timeout of its customer's session before, unless that was cut.

    A session is cut at the end of a day without a gap of the timeout (§4 "Bound").
    """
    timeout = timedelta(microseconds=work.policy.activity.session_timeout_us)
    before = event_date - _DAY
    columns = ("customer_id", "session_id", "session_start", "session_end")
    sessions = work.lake.scan(SESSIONS.name, [before, event_date]).select(columns)
    own = pl.col("session_start").dt.date() == event_date
    midnight = pl.lit(epoch_us(event_date)).cast(pl.Datetime("us", "UTC"))
    # Of the day before only what ends close enough to matter.
    ordered = sessions.filter(own | (pl.col("session_end") + timeout > midnight)).sort("customer_id", "session_start")
    same = pl.col("customer_id") == pl.col("customer_id").shift(1)
    close = ordered.with_columns(
        since=pl.when(same).then(pl.col("session_start") - pl.col("session_end").shift(1)),
        day_before=pl.col("session_end").shift(1).dt.date() == before,
    ).filter(own, pl.col("since") < timeout)
    cut = work.lake.scan(SESSION_RUNS.name, [before]).filter(is_full(before, work.policy)).select("customer_id")
    close_ones = close.collect(engine="streaming")
    allowed = close_ones.filter("day_before").lazy().join(cut, on="customer_id", how="semi").collect()
    faults = close_ones.join(allowed, on="session_id", how="anti")
    return Finding(
        faults.height,
        {"sessions": work.lake.rows(SESSIONS.name, event_date), "cut at midnight": allowed.height},
        faults.select(*columns).head(work.policy.checks.sample_rows),
    )


def waits_for(work: Workplace, event_date: date, stage: Stage, *, beside: bool) -> list[date]:
    """The dates that must be refreshed before a stage's tables of a date can be judged.

    The date itself, if what it was built from changed since; and those `beside` it that are not up to date: until they
    are, the three do not fit together.
    """
    waiting = list(stage.stale(work, (event_date - _DAY, event_date + _DAY))) if beside else []
    own = work.lake.partition(stage.tables[0].name, event_date)
    if own and own.built_from and inputs_named(own.built_from) != stage.inputs(work, event_date):
        waiting.append(event_date)
    return sorted(waiting)
