"""The explorer's charts (Vega-Altair). Each is a function of a small table, which is shown beside it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil, floor
from typing import Any, Final

import altair as alt
import polars as pl

from assets_pkg.contracts.event_file import EVENT_TIME, EVENT_TYPE

# Each has a contrast of 3 and more to a white and to a dark page (WCAG 2.2, 1.4.11); neighbours differ in lightness
# or along blue and orange, which colour-blind people tell apart.
PALETTE: Final = ("#2f7fd1", "#c8661b", "#8a63c9", "#3f8f4f", "#d0508a", "#8f7a1c", "#20889a", "#7a828a")
OTHERS: Final = "(others)"
STEP: Final = timedelta(minutes=5)
_DAY: Final = timedelta(days=1)
_HEIGHT: Final = 260
_MOST_TICKS: Final = 5_000
_COARSER: Final = (1, 5, 15, 60)  # minutes
_MOST_HOURS: Final = 8  # on an axis
_HOUR: Final = "datum.value < 10 ? '0' + datum.value + ':00' : datum.value + ':00'"


def bars_by_date(rows: pl.DataFrame, date_column: str, value: str, kind: str | None = None) -> alt.Chart:
    """A bar for each date; stacked by `kind` if there is one, in the order in which its names first come.

    Needs the date, a count, and the kind.
    """
    data = rows.with_columns(pl.col(date_column).cast(pl.String))
    return _drawn(
        alt.Chart(data, height=_HEIGHT).mark_bar(),
        x=_dates(date_column),
        y=_counts("y", value),
        **(_by_kind(kind, rows[kind].unique(maintain_order=True)) if kind else {"color": alt.value(PALETTE[0])}),
    )


def bars_by_name(rows: pl.DataFrame, name: str, value: str) -> alt.Chart:
    """A bar for each name, from left to right, in the order of the rows."""
    return _drawn(
        alt.Chart(rows, height=alt.Step(22)).mark_bar(),
        x=_counts("x", value),
        y=alt.Y(f"{name}:N", title=None, sort=None, axis=alt.Axis(labelLimit=320)),
        color=alt.value(PALETTE[0]),
    )


def lines_by_date(rows: pl.DataFrame, date_column: str, value: str, kind: str) -> alt.Chart:
    """A line with a point on each date, for each kind; their shapes differ too. Needs the date, a number, the kind."""
    kinds = rows[kind].unique(maintain_order=True)
    data = rows.with_columns(pl.col(date_column).cast(pl.String))
    return _drawn(
        alt.Chart(data, height=_HEIGHT).mark_line(point=alt.OverlayMarkDef(size=60)),
        x=_dates(date_column),
        y=alt.Y(f"{value}:Q", title=None),
        shape=alt.Shape(f"{kind}:N", sort=list(kinds), legend=None),
        **_by_kind(kind, kinds),
    )


def timeline(sessions: pl.DataFrame, events: pl.DataFrame) -> alt.LayerChart:
    """One customer's days: a row for each date, bars for sessions, a tick for each event.

    Needs session_start and session_end; event_time and event_type. Times are UTC.
    """
    pieces = pl.concat([_on_date(sessions, 0), _on_date(sessions, 1)]).filter(pl.col("from") <= pl.col("to"))
    ticks = _thinned(_with_few_types(events.select(EVENT_TIME, EVENT_TYPE), pl.len())).select(
        pl.col(EVENT_TIME).dt.date().cast(pl.String).alias("date"),
        _hours(pl.col(EVENT_TIME), pl.col(EVENT_TIME).dt.truncate("1d")).alias("at"),
        EVENT_TYPE,
    )
    hours = pl.concat([pieces["from"], pieces["to"], ticks["at"]])
    clock = _clock(hours.min(), hours.max())
    bars = _drawn(
        alt.Chart(pieces).mark_bar(height=18, opacity=0.35, color=PALETTE[-1], stroke=PALETTE[-1]),
        x=clock("from"),
        x2="to:Q",
        y=alt.Y("date:O", title=None),
    )
    marks = _drawn(
        alt.Chart(ticks).mark_tick(thickness=2, height=18),
        x=clock("at"),
        y=alt.Y("date:O", title=None),
        **_by_kind(EVENT_TYPE, ticks[EVENT_TYPE].unique(maintain_order=True)),
    )
    return alt.LayerChart(layer=[bars, marks], height=alt.Step(30))


def trend(events: pl.LazyFrame) -> pl.DataFrame:
    """How many events of each type in each 5 minutes: event_time (when they begin), event_type, events.

    Needs event_time and event_type. Steps without an event are left out.
    """
    counted = events.group_by(pl.col(EVENT_TIME).dt.truncate(STEP), EVENT_TYPE).agg(pl.len().alias("events"))
    return counted.sort(EVENT_TIME, EVENT_TYPE).collect(engine="streaming")


def trend_chart(steps: pl.DataFrame) -> alt.Chart:
    """The table of `trend` as bars, stacked by event type."""
    data = _with_few_types(steps, pl.sum("events")).group_by(EVENT_TIME, EVENT_TYPE).agg(pl.sum("events"))
    kinds = data.group_by(EVENT_TYPE).agg(pl.sum("events")).sort("events", descending=True)[EVENT_TYPE]
    begin = pl.col(EVENT_TIME).dt.replace_time_zone(None)  # or it would be drawn in the browser's own zone
    return _drawn(
        alt.Chart(data.with_columns(begin, until=begin + STEP), height=_HEIGHT).mark_bar(),
        x=alt.X(f"{EVENT_TIME}:T", title="UTC", axis=alt.Axis(format="%H:%M")),
        x2="until:T",
        y=alt.Y("events:Q", title="events", axis=alt.Axis(tickMinStep=1)),
        **_by_kind(EVENT_TYPE, kinds),
    )


# -- parts ----------------------------------------------------------------------------------------------


def _drawn(chart: alt.Chart, **where: Any) -> alt.Chart:
    drawn: alt.Chart = chart.encode(**where)
    return drawn


def _dates(column: str) -> alt.X:
    return alt.X(f"{column}:O", title=None, axis=alt.Axis(labelAngle=-45))


def _counts(side: str, column: str) -> alt.X | alt.Y:
    place: type[alt.X | alt.Y] = alt.X if side == "x" else alt.Y
    return place(f"{column}:Q", title=column, axis=alt.Axis(format="~s", tickMinStep=1))


def _clock(first: Any, last: Any) -> Callable[[str], alt.X]:
    """The whole hours of a day that hold some, which may be null."""
    begin = floor(first or 0)
    end = max(ceil(last or 0), begin + 1)
    axis = alt.Axis(values=list(range(begin, end + 1, -(-(end - begin) // _MOST_HOURS))), labelExpr=_HOUR)
    return lambda column: alt.X(f"{column}:Q", title="UTC", scale=alt.Scale(domain=[begin, end]), axis=axis)


def _thinned(events: pl.DataFrame) -> pl.DataFrame:
    """No more events than can be told apart: of a type in the same minutes, one."""
    for minutes in _COARSER:
        if events.height <= _MOST_TICKS:
            break
        events = events.with_columns(pl.col(EVENT_TIME).dt.truncate(f"{minutes}m")).unique(maintain_order=True)
    return events.tail(_MOST_TICKS)


def _on_date(sessions: pl.DataFrame, later: int) -> pl.DataFrame:
    """The part of each session that is on the date it starts on, or so many days later."""
    midnight = pl.col("session_start").dt.truncate("1d") + later * _DAY
    start, end = (_hours(pl.col(f"session_{which}"), midnight) for which in ("start", "end"))
    return sessions.select(
        midnight.dt.date().cast(pl.String).alias("date"),
        start.clip(0, 24).alias("from"),
        end.clip(upper_bound=24).alias("to"),
    )


def _hours(time: pl.Expr, midnight: pl.Expr) -> pl.Expr:
    return (time - midnight).dt.total_microseconds() / timedelta(hours=1).total_seconds() / 1e6


def _with_few_types(rows: pl.DataFrame, events: pl.Expr) -> pl.DataFrame:
    """No more event types than there are colours; the rarest are one. `events`: how many there are of a type."""
    counts = (
        rows.group_by(EVENT_TYPE).agg(events.alias("of_type")).sort("of_type", EVENT_TYPE, descending=[True, False])
    )
    if counts.height <= len(PALETTE):
        return rows
    kept = counts[EVENT_TYPE].head(len(PALETTE) - 1).implode()
    return rows.with_columns(pl.when(pl.col(EVENT_TYPE).is_in(kept)).then(EVENT_TYPE).otherwise(pl.lit(OTHERS)))


def _by_kind(kind: str, names: Sequence[str] | pl.Series) -> dict[str, alt.Color]:
    """Colours by name, with a legend that says which is which."""
    domain = sorted(names, key=lambda name: name == OTHERS)
    scale = alt.Scale(domain=domain, range=[PALETTE[place % len(PALETTE)] for place in range(len(domain))])
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=110) if len(names) > 1 else None
    return {"color": alt.Color(f"{kind}:N", scale=scale, sort=None, legend=legend)}
