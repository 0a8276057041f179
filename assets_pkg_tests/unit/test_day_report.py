"""The day report for people: what it says, that data stay text, that it needs nothing else, that it is always the same."""

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import FAILED, SUCCESS, FileRecord
from assets_pkg.contracts.tables import ALERTS, DAILY_METRICS
from assets_pkg.policy import Policy
from assets_pkg.report.charts import Trend, hours_chart, standing_alone, trends_chart
from assets_pkg.report.page import DayFacts, day_page
from assets_pkg.steps.reports import measure, raise_alerts, write_page, write_report
from assets_pkg.transforms.metrics import HOURS, Profile
from assets_pkg.transforms.split import REASON
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, customers_csv, days_from, feed_csv

BEFORE: Final = [DAY - timedelta(days=shift) for shift in (4, 3, 2, 1)]
VOID: Final = {"meta", "link", "br", "img", "input"}
SCRIPT: Final = "<script>alert(1)</script>"
SECTIONS: Final = ["alerts", "feeds", "hours", "reasons", "trends", "rejected", "files"]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: "list[Element | str]" = field(default_factory=list)

    def all(self, tag: str) -> "list[Element]":
        """Every element of that tag within, in order."""
        inner = [child for child in self.children if isinstance(child, Element)]
        return [each for child in inner for each in ([child] if child.tag == tag else []) + child.all(tag)]

    def every(self) -> "list[Element]":
        inner = [child for child in self.children if isinstance(child, Element)]
        return [self, *(each for child in inner for each in child.every())]

    @property
    def text(self) -> str:
        return " ".join("".join(child if isinstance(child, str) else child.text for child in self.children).split())

    def rows(self) -> list[list[str]]:
        """The cells of all table rows within, head left out."""
        found = [
            [cell.text for cell in row.children if isinstance(cell, Element)]
            for body in self.all("tbody")
            for row in body.all("tr")
        ]
        return [row for row in found if row]


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert [each.tag for each in self._open] == [""], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def section(self, name: str) -> Element:
        (found,) = [each for each in self.root.all("section") if each.attributes["id"] == name]
        return found


def page_of(bench: Workbench, day: date = DAY) -> Page:
    return Page(write_page(bench.work, day).read_text(encoding="utf-8"))


def events_in(day: date, hours: Iterable[int]) -> list[dict[str, str]]:
    return [
        {"event_id": f"{day} {number}", "event_time": f"{day}T{hour:02d}:30:00Z"} for number, hour in enumerate(hours)
    ]


def put_day(bench: Workbench, day: date, hours: Iterable[int], *more: dict[str, str]) -> None:
    bench.put("customers_raw.csv", customers_csv("c1", "c2"), day)
    bench.put_feed("events", *events_in(day, hours), *more, day=day)
    bench.put_feed("orders", {"order_id": f"o{day}", "order_time": f"{day}T05:00:00Z"}, day=day)


MESS: Final[list[dict[str, str]]] = [
    {"event_id": "m1", "event_time": "yesterday"},
    {"event_id": "m2", "event_time": "yesterday", "customer_id": ""},
    {"event_id": "m3", "customer_id": "nobody"},
    {"event_id": "m4", "platform": "toaster"},
    {"event_id": "m4", "platform": "toaster"},
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Four plain days of 20, 22, 24 and 26 events, and a messy one."""
    bench = Workbench(tmp_path_factory.mktemp("days"))
    for number, day in enumerate(BEFORE):
        put_day(bench, day, [*range(20), *range(2 * number)])
        bench.run_day(day)
    put_day(bench, DAY, [4, *range(8, 24)], *MESS)
    bench.put("events_raw_2.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-1])
    bench.put("orders_raw_again.csv", (bench.settings.raw_dir / f"ingest_date={DAY}" / "orders_raw.csv").read_bytes())
    bench.put("orders_raw_other.csv", "order_id,customer_id,order_time,amount,status,colour\no7,c1,x,1,paid,red\n")
    bench.run_day()
    return bench


@pytest.fixture(scope="module")
def page(bench: Workbench) -> Page:
    return page_of(bench)


def told(html: str) -> Element:
    """The one SVG of a text, as an element."""
    (svg,) = Page(html).root.all("svg")
    return svg


def facts_of(policy: Policy, day: date = DAY) -> DayFacts:
    """A day of which nothing is known."""
    nothing = {name: pl.DataFrame(schema={"kind": pl.String, "name": pl.String, "rows": pl.Int64}) for name in FEEDS}
    rejected = pl.DataFrame(
        schema={"source_file": pl.String, "source_row": pl.Int64, "reject_reason": pl.String, "row": pl.String}
    )
    return DayFacts(
        day=day,
        policy=policy,
        metrics=pl.DataFrame(schema=DAILY_METRICS.full_schema),
        alerts=pl.DataFrame(schema=ALERTS.schema),
        profiles={name: Profile(frame) for name, frame in nothing.items()},
        files={name: [] for name in FEEDS},
        rejected=dict.fromkeys(FEEDS, rejected),
    )


# -- what it says ---------------------------------------------------------------------------------------------


def test_the_page_is_about_its_day_and_has_its_parts_in_order(page: Page) -> None:
    assert page.root.all("title")[0].text == page.root.all("h1")[0].text == "Day report 2025-12-10"
    assert "Wednesday, 2025-12-10 (UTC)" in page.root.all("header")[0].text
    assert [each.attributes["id"] for each in page.root.all("section")] == SECTIONS


def test_alerts_come_with_what_to_do_the_most_severe_first(page: Page) -> None:
    alerts = page.section("alerts").all("article")
    assert page.section("alerts").all("p")[0].text == "1 high, 3 medium."
    assert [each.all("p")[0].text for each in alerts] == [
        "high failed_file",
        "medium hourly_coverage",
        "medium quarantine_rate",
        "medium schema_drift",
    ]
    assert alerts[1].all("strong")[0].text == "events: 7 hours without a clean event (4 are allowed)"
    assert "What to do: Compare the missing hours with the source's outages" in alerts[1].text
    assert alerts[1].rows() == [["max missing hours", "4"], ["missing hours", "00, 01, 02, 03, 05, 06, 07"]]
    assert "orders_raw_other.csv: missing: currency; unknown: colour" in alerts[3].text


def test_a_day_without_alerts_says_so(bench: Workbench) -> None:
    alerts = page_of(bench, BEFORE[-1]).section("alerts")
    assert alerts.text == "Alerts No alerts: no rule found anything unusual about this day."


def test_the_glance_has_the_days_numbers_beside_the_median_of_the_days_before(page: Page) -> None:
    events = page.section("feeds").all("div")[2]
    assert events.all("h3")[0].text == "events"
    assert events.rows() == [
        ["rows", "22", "23"],
        ["clean", "18", "23"],
        ["in quarantine", "3", "0"],
        ["quarantine rate", "13.6%", "0.0%"],
        ["exact copies, dropped", "1", "0"],
        ["same id as another, in quarantine", "0", "0"],
    ]
    assert [each.text for each in page.section("feeds").all("p")[1:]] == [
        "Files: 1 SUCCESS",
        "Files: 1 SUCCESS, 1 FAILED",
        "Files: 2 SUCCESS, 1 SKIPPED",
    ]


def test_a_median_of_too_few_days_is_not_told(bench: Workbench) -> None:
    glance = page_of(bench, BEFORE[2]).section("feeds").all("div")[2].rows()
    assert glance[0] == ["rows", "24", "-"]
    assert page_of(bench, BEFORE[3]).section("feeds").all("div")[2].rows()[0] == ["rows", "26", "22"]


def test_hours_without_an_event_are_marked_by_a_sign_and_named_in_words(page: Page) -> None:
    hours = page.section("hours")
    (svg,) = hours.all("svg")
    assert svg.attributes["aria-label"] == (
        "18 clean events happened on the day, most in hour 04 (2). 7 hours without any: 00, 01, 02, 03, 05, 06, 07."
    )
    assert svg.attributes["role"] == "img"
    crosses = [each for each in svg.all("path") if each.attributes.get("stroke") == "var(--bad)"]
    assert len(crosses) == 7
    bars = [each for each in svg.all("path") if each.attributes.get("fill") == "var(--mark)"]
    assert len(bars) == len(HOURS)
    assert hours.rows()[:5] == [["00", "none"], ["01", "none"], ["02", "none"], ["03", "none"], ["04", "2"]]


def test_reasons_and_warnings_come_with_counts_shares_and_what_they_mean(page: Page) -> None:
    reasons = page.section("reasons")
    assert [each.text for each in reasons.all("h3")] == [
        "customers: 0 of 2 rows rejected",
        "events: 3 of 22 rows rejected",
        "orders: 1 of 2 rows rejected",
    ]
    of_events, of_warnings, of_orders = (table.rows() for table in reasons.all("table"))
    assert of_events == [
        ["invalid_event_time", "2", "9.1%", "event_time is in none of the accepted forms, or no such instant exists"],
        ["missing_customer_id", "1", "4.5%", "the row names no customer"],
        ["orphan_customer_id", "1", "4.5%", "no customers file up to this day names the customer"],
    ]
    assert of_warnings == [["unknown_platform", "1", "4.5%", "platform is no known name or alias; it became unknown"]]
    assert of_orders == [["missing_column:currency", "1", "50.0%", "the file has no column currency"]]


def test_trends_tell_the_weeks_up_to_the_day_in_a_picture_in_words_and_as_a_table(page: Page) -> None:
    trends = page.section("trends")
    customers, events, orders = trends.all("svg")
    assert events.attributes["aria-label"] == (
        "events: rows from 20 to 26 on 5 days, 22 on the last; quarantine rate from 0.0% to 13.6% on 5 days, 13.6% on "
        "the last; active customers from 1 to 1 on 5 days, 1 on the last."
    )
    assert "active customers" not in customers.attributes["aria-label"]
    assert "active customers" in orders.attributes["aria-label"]
    assert trends.all("table")[1].rows() == [
        ["2025-12-10", "22", "13.6%", "1"],
        ["2025-12-09", "26", "0.0%", "1"],
        ["2025-12-08", "24", "0.0%", "1"],
        ["2025-12-07", "22", "0.0%", "1"],
        ["2025-12-06", "20", "0.0%", "1"],
    ]


def test_a_first_day_has_no_trends_and_no_medians(bench: Workbench) -> None:
    page = page_of(bench, BEFORE[0])
    assert page.section("trends").all("svg") == []
    assert page.section("trends").text.count("No day before this one has numbers yet.") == len(FEEDS)
    assert {row[2] for row in page.section("feeds").rows()} == {"-"}


def test_a_trend_is_broken_where_a_day_has_no_number_and_ends_28_days_before(bench: Workbench, policy: Policy) -> None:
    def metrics(days: list[date]) -> pl.DataFrame:
        rows = [(day, "events", "total", None, 5.0) for day in days]
        return pl.DataFrame(rows, schema=DAILY_METRICS.full_schema, orient="row")

    days = days_from(DAY - timedelta(days=28), 29)
    facts = facts_of(policy)
    whole = Page(day_page(replace(facts, metrics=metrics(days)))).section("trends")
    assert [row[0] for row in whole.rows()] == [str(day) for day in reversed(days[1:])]
    gap = Page(day_page(replace(facts, metrics=metrics([*days[:10], *days[12:]])))).section("trends")
    pieces = [
        [each.attributes["d"].count("M") for each in trends.all("path") if "L" in each.attributes["d"]]
        for trends in (whole, gap)
    ]
    assert pieces == [[1], [2]]


def test_the_first_rejected_rows_are_shown_with_the_command_that_explains_them(page: Page) -> None:
    of_events, of_orders = page.section("rejected").all("details")
    assert "customers: no row was rejected." in page.section("rejected").text
    assert of_events.all("summary")[0].text == "events: the first 3 of 3"
    second = of_events.all("article")[1]
    assert second.all("p")[0].text == (
        "ingest_date=2025-12-10/events_raw.csv, row 19: missing_customer_id, invalid_event_time"
    )
    assert '"event_id": "m2", "event_time": "yesterday"' in second.all("pre")[0].text
    assert "in lake/events_quarantine of the data folder" in of_events.text
    assert of_orders.all("pre")[-1].text == (
        "python -m assets_pkg explain --file ingest_date=2025-12-10/orders_raw_other.csv --row 1"
    )


def test_a_reason_leads_to_the_first_row_that_is_shown_with_it(page: Page) -> None:
    rows = {each.attributes["id"]: each.text for each in page.section("rejected").all("article")}
    led = {link.text: link.attributes["href"].removeprefix("#") for link in page.section("reasons").all("a")}
    assert led == {
        "invalid_event_time": "events-0",
        "missing_customer_id": "events-1",
        "orphan_customer_id": "events-2",
        "missing_column:currency": "orders-0",
    }
    for reason, row in led.items():
        assert reason in rows[row]


def test_files_are_listed_with_what_became_of_them_those_that_failed_first(page: Page) -> None:
    folder = "ingest_date=2025-12-10"
    assert page.section("files").rows() == [
        [
            f"{folder}/events_raw_2.csv.gz",
            FAILED,
            "0",
            "the gzip file ends too early; the transfer was cut off, ask for it again",
        ],
        [f"{folder}/customers_raw.csv", SUCCESS, "2", ""],
        [f"{folder}/events_raw.csv", SUCCESS, "22", ""],
        [f"{folder}/orders_raw.csv", SUCCESS, "1", ""],
        [f"{folder}/orders_raw_again.csv", "SKIPPED", "0", f"same content as {folder}/orders_raw.csv"],
        [f"{folder}/orders_raw_other.csv", SUCCESS, "1", "lacks currency; unknown columns: colour"],
    ]


def test_a_day_without_any_file_is_told_as_such(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    bench.run_day()
    page = page_of(bench)
    assert page.section("alerts").all("p")[0].text == "3 high, 1 medium."
    assert page.section("feeds").text.count("Files: none") == len(FEEDS)
    assert page.section("hours").all("svg")[0].attributes["aria-label"] == "No hour of the day has a clean event."
    assert "No file came." in page.section("files").text


def test_a_day_stays_pending_until_its_page_is_written(tmp_path: Path) -> None:
    bench, day = Workbench(tmp_path), DAY + timedelta(days=1)
    for each in (day, DAY):  # the same content under a smaller path: the later day must be judged again
        bench.put("events_raw.csv", feed_csv("events", {}), each)
        bench.clean_feeds(each)
    bench.clean_feeds(day)
    write_report(bench.work, day)
    measure(bench.work, day)
    raise_alerts(bench.work, day)
    assert list(bench.work.ledger.pending_days()) == [day]
    write_page(bench.work, day)
    assert bench.work.ledger.pending_days() == {}


# -- data stay text -------------------------------------------------------------------------------------------


def test_what_comes_from_data_stays_text(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    name = "events_raw_\"><img src=x onerror=alert(1)>&'.csv"
    rows = feed_csv("events", {"customer_id": SCRIPT, "platform": SCRIPT})
    source = bench.put(name, rows.replace("url", SCRIPT, 1))
    bench.put("orders_raw_</td></table><svg onload=alert(1)>.json", "{")
    bench.run_day()
    page = page_of(bench)
    assert page.root.all("script") == page.root.all("img") == []
    first = page.section("rejected").all("details")[0]
    assert f'"customer_id": "{SCRIPT}"' in first.all("pre")[0].text
    assert first.all("p")[0].text.startswith(source)
    assert first.all("pre")[-1].text == (
        "python -m assets_pkg explain --file "
        "'ingest_date=2025-12-10/events_raw_\"><img src=x onerror=alert(1)>&'\"'\"'.csv' --row 1"
    )
    notes = {row[0]: row[3] for row in page.section("files").rows()}
    assert notes[source] == f"unknown columns: {SCRIPT}"
    assert source in page.section("alerts").text


def test_whatever_the_tables_hold_stays_text(policy: Policy) -> None:
    hostile = f"</style></pre></svg>{SCRIPT}\"'&amp;"
    facts = facts_of(policy)
    alert = {
        "rule": hostile,
        "severity": f'high" onclick="{SCRIPT}',
        "dataset": hostile,
        "message": hostile,
        "details": f'{{"<b>{hostile[:18]}": ["<i>x</i>"]}}',
    }
    counts = pl.DataFrame({"kind": [REASON], "name": [hostile], "rows": [1]})
    rejected = pl.DataFrame(
        {"source_file": [hostile], "source_row": [1], "reject_reason": [f"{hostile}|x"], "row": [hostile]}
    )
    file = FileRecord(hostile, "", 0, hostile, error=hostile, unknown_columns=(hostile,))
    page = Page(
        day_page(
            replace(
                facts,
                alerts=pl.DataFrame([alert], schema=ALERTS.schema),
                profiles={**facts.profiles, "events": Profile(counts)},
                files={**facts.files, "events": [file]},
                rejected={**facts.rejected, "events": rejected},
            )
        )
    )
    plain = Page(day_page(facts))
    tags = {each.tag for each in page.root.every()}
    assert tags - {each.tag for each in plain.root.every()} <= {
        "article", "span", "strong", "details", "summary", "table", "tbody", "thead", "tr", "th", "td", "pre", "code",
    }  # fmt: skip
    assert not any(name.startswith("on") for each in page.root.every() for name in each.attributes)
    assert page.section("alerts").all("strong")[0].text == hostile
    assert hostile in page.section("reasons").rows()[0]
    assert page.section("rejected").all("pre")[0].text == hostile
    assert page.section("files").rows()[0][:2] == [hostile, hostile]


def test_texts_of_pictures_stay_text_inside_and_in_their_alternative() -> None:
    hostile = f'"></text></svg>{SCRIPT}<b>&lt;'
    hours = told(hours_chart(dict.fromkeys(HOURS, 1), hostile))
    assert hours.attributes["aria-label"] == hostile
    trends = told(trends_chart(days_from(DAY, 2), [Trend(hostile, [1, 2], is_rate=False)], "of days"))
    assert hostile in [each.text for each in trends.all("text")]
    assert {each.tag for each in [*hours.every(), *trends.every()]} <= {"svg", "g", "path", "line", "text", "rect"}


def test_a_text_of_megabytes_is_cut(policy: Policy) -> None:
    facts = facts_of(policy)
    rejected = pl.DataFrame(
        {"source_file": ["f.csv"], "source_row": [1], "reject_reason": ["malformed_row"], "row": ["x" * 3_000_000]}
    )
    html = day_page(replace(facts, rejected={**facts.rejected, "events": rejected}))
    assert f"<pre>{'x' * 1000} … (2,999,000 characters more)</pre>" in html


def test_of_very_many_files_some_are_listed_and_every_failed_one(policy: Policy) -> None:
    facts = facts_of(policy)
    files = [FileRecord(f"{number:04d}.csv", "", 0, SUCCESS) for number in range(600)]
    files[599] = replace(files[599], status=FAILED, error="broken")
    page = Page(day_page(replace(facts, files={**facts.files, "events": files})))
    listed = page.section("files").rows()
    assert len(listed) == 500
    assert listed[:2] == [["0599.csv", FAILED, "0", "broken"], ["0000.csv", SUCCESS, "0", ""]]
    assert "and 100 files more: python -m assets_pkg ledger --date 2025-12-10" in page.section("files").text


# -- it needs nothing else, and is always the same ------------------------------------------------------------


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    everything = page.root.every()
    tags = {each.tag for each in everything}
    assert not tags & {"script", "iframe", "object", "embed", "img", "image", "use", "base", "form", "foreignobject"}
    links = {
        value for each in everything for name, value in each.attributes.items() if name in {"href", "src", "xlink:href"}
    }
    inside = {link for link in links if link.startswith("#")}
    assert links - inside == {"data:,", "validation_report.json", "alerts.json"}
    assert inside <= {f"#{each.attributes['id']}" for each in everything if "id" in each.attributes}
    assert not any(name.startswith("on") for each in everything for name in each.attributes)
    (style,) = page.root.all("style")
    assert not re.search(r"url\(|@import|://", style.text)
    policy = next(each for each in page.root.all("meta") if "http-equiv" in each.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_every_colour_of_a_picture_is_one_of_the_pages_own_in_light_and_in_dark(page: Page) -> None:
    (style,) = page.root.all("style")
    light, dark = style.text.split("prefers-color-scheme: dark")
    used = {
        value
        for svg in page.root.all("svg")
        for each in svg.every()
        for name, value in each.attributes.items()
        if name in {"fill", "stroke"} and value not in {"none", "transparent"}
    }
    assert used == {"var(--soft)", "var(--line)", "var(--mark)", "var(--bad)"}
    for colour in used:
        name = colour.removeprefix("var(").removesuffix(")")
        assert f"{name}: #" in light
        assert f"{name}: #" in dark


def test_elements_have_no_ids_but_those_of_the_parts_and_of_rejected_rows(page: Page) -> None:
    ids = [each.attributes["id"] for each in page.root.every() if "id" in each.attributes]
    rows = ["events-0", "events-1", "events-2", "orders-0"]
    assert ids == [*SECTIONS[:-1], *rows, SECTIONS[-1]]


def test_a_picture_that_stands_alone_is_an_image_with_colours_of_its_own() -> None:
    svg = standing_alone(hours_chart({hour: int(hour) for hour in HOURS}, "said"))
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in svg


PROGRAM: Final = """
import sys
from datetime import date
from pathlib import Path
from assets_pkg.steps.reports import write_page
assert not {"vl_convert", "jinja2"} & set(sys.modules), "loaded before they are needed"
from assets_pkg_tests.workbench import Workbench
sys.stdout.write(str(write_page(Workbench(Path(sys.argv[1]), run="another").work, date.fromisoformat(sys.argv[2]))))
"""


def test_the_same_tables_give_the_same_bytes_wherever_and_whenever(bench: Workbench, page: Page) -> None:
    path = write_page(bench.work, DAY)
    again = path.read_bytes()
    assert again == page.html.encode()
    path.unlink()
    environment = {**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    command = [sys.executable, "-c", PROGRAM, str(bench.folder), str(DAY)]
    written = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert written.returncode == 0, written.stderr
    assert Path(written.stdout).read_bytes() == again
    assert bench.folder.as_posix().encode() not in again
