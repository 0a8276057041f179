"""The report's pictures as SVG, drawn by Vega-Lite: colours are the page's own, so one picture serves light and dark.

Nothing in them depends on the machine: sizes are given, so no text is measured, and days are names, so no time zone
counts. What a picture says in words is its text alternative.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any, Final

_SOFT, _LINE, _MARK, _BAD = (f"var(--{name})" for name in ("soft", "line", "mark", "bad"))
# For a picture that stands alone, on whatever ground: readable on white and on black.
_ALONE: Final = {_SOFT: "#7a828a", _LINE: "#8a929a55", _MARK: "#3b86d1", _BAD: "#d9534f"}
_CROSS: Final = "M-1,-1L1,1M-1,1L1,-1"
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 18, 26, 24  # around a plot, where its labels are
_WEEK: Final = 7
_COUNTS: Final = {"format": "~s", "tickMinStep": 1}  # of an axis
_CONFIG: Final = {
    "aria": False,  # the picture as a whole has its text alternative
    "background": "transparent",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _SOFT,
        "labelFontSize": 12,
        "labelOverlap": False,
        "domainColor": _SOFT,
        "gridColor": _LINE,
        "tickColor": _SOFT,
    },
    "title": {"color": _SOFT, "fontSize": 13, "fontWeight": "normal", "anchor": "start", "frame": "group", "offset": 8},
}


@dataclass(frozen=True)
class Trend:
    """A number of several days in a row; None for a day that has none."""

    name: str
    values: Sequence[float | None]
    is_rate: bool


def hours_chart(hours: Mapping[str, int], said: str) -> str:
    """The events of each hour; hours without any carry a cross. `said`: the text alternative."""
    where = {
        "x": {"field": "hour", "type": "ordinal", "title": None, "axis": {"labelAngle": 0, "tickSize": 3}},
        "y": _y(hours.values(), is_rate=False),
    }
    events = [{"hour": hour, "value": count} for hour, count in hours.items()]
    bar = {"mark": {"type": "bar", "color": _MARK}}
    cross = {
        "mark": {
            "type": "point",
            "shape": _CROSS,
            "size": 60,
            "yOffset": -9,
            "stroke": _BAD,
            "strokeWidth": 2.5,
            "opacity": 1,
        },
        "transform": [{"filter": {"field": "value", "equal": 0}}],
    }
    return _svg([_plot(events, where, bar, cross)], 460, 120, said)


def trends_chart(days: Sequence[date], trends: Iterable[Trend], said: str) -> str:
    """Numbers of the same days, one below the other: a line through the days that have it, the last day's point large.

    `said`: the text alternative.
    """
    names = [f"{day:%m-%d}" for day in days]
    weekly = names[::-_WEEK]  # the last day, and the same weekday before
    x = {"field": "day", "type": "ordinal", "title": None, "sort": None, "axis": {"labelAngle": 0, "values": weekly}}
    line = {"mark": {"type": "line", "color": _MARK, "strokeWidth": 2}}
    is_last = {"test": {"field": "day", "equal": names[-1]}, "value": 90}
    point = {
        "mark": {"type": "point", "color": _MARK, "filled": True, "opacity": 1},
        "encoding": {"size": {"condition": is_last, "value": 14}},
    }
    plots = []
    for trend in trends:
        known = [value for value in trend.values if value is not None]
        points = [{"day": name, "value": value} for name, value in zip(names, trend.values, strict=True)]
        where = {"x": x, "y": _y(known, is_rate=trend.is_rate)}
        plots.append({"title": trend.name, **_plot(points, where, line, point)})
    return _svg(plots, 360, 74, said)


def standing_alone(svg: str) -> str:
    """A picture for use outside the page, with colours of its own."""
    named = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return re.sub(r"var\(--\w+\)", lambda name: _ALONE[name[0]], named)


def _y(values: Iterable[float], *, is_rate: bool) -> dict[str, Any]:
    return {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [0, max(values, default=0) or 1], "nice": 3},
        "axis": {"tickCount": 3, "domain": False, "ticks": False, **({"format": ".1~%"} if is_rate else _COUNTS)},
    }


def _plot(values: Sequence[Mapping[str, Any]], where: Mapping[str, Any], *marks: Mapping[str, Any]) -> dict[str, Any]:
    """Marks over each other, of the same values in the same places."""
    return {"data": {"values": values}, "encoding": where, "layer": marks}


def _svg(plots: Sequence[Mapping[str, Any]], width: int, height: int, said: str) -> str:
    """Plots of that height, one below the other, as an SVG element of a page, with a text alternative."""
    import vl_convert  # noqa: PLC0415 - most processes draw nothing

    plot_width, between = width - _LEFT - _RIGHT, _TOP + _BOTTOM
    drawn = vl_convert.vegalite_to_svg(
        {
            "vconcat": [{**plot, "width": plot_width, "height": height} for plot in plots],
            "spacing": between,
            "bounds": "flush",
            "padding": {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM},
            "autosize": "none",
            "config": _CONFIG,
        }
    )
    whole = len(plots) * (height + between)
    opening = (
        f'<svg role="img" aria-label="{escape(said)}" width="{width}" height="{whole}" viewBox="0 0 {width} {whole}">'
    )
    return opening + drawn[drawn.index(">") + 1 :]
