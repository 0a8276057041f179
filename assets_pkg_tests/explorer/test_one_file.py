"""The page over one file: what it shows is what the command writes."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from assets_pkg.explorer import charts
from assets_pkg.explorer.parts import file_of
from assets_pkg.explorer.uploads import Upload, Uploads
from assets_pkg.policy import load_policy
from assets_pkg.steps.event_file import sessions_of_file, tables_of_file
from assets_pkg.storage.whole_files import Format
from assets_pkg_tests.explorer.test_pages import PATIENCE, captions, frames, of_labels, shown, tiles
from assets_pkg_tests.orchestration.test_sessions_command import INPUT, SESSIONS, SKIPPED

START = datetime(2025, 12, 10, 8, tzinfo=UTC)


def file_page() -> None:
    from assets_pkg.explorer.site import over_file  # noqa: PLC0415 - Streamlit runs these lines alone

    over_file()


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path / "no lake"))
    return shown(AppTest.from_function(file_page, default_timeout=PATIENCE).run())


def upload(at: AppTest, content: str | bytes, name: str = "events.json") -> AppTest:
    data = content if isinstance(content, bytes) else content.encode()
    at.file_uploader[0].set_value((name, data, "application/json"))
    return shown(at.run())


def events_text(*events: tuple[str, datetime, str]) -> str:
    return "\n".join(
        json.dumps({"user_id": user, "event_time": time.isoformat(), "event_type": kind}) for user, time, kind in events
    )


def test_without_a_file_there_is_nothing_but_the_question(at: AppTest) -> None:
    assert not at.metric
    assert not at.dataframe


def test_the_contract_s_example_is_counted_as_the_command_counts_it(at: AppTest) -> None:
    upload(at, INPUT)
    assert tiles(at) == {"Events": "5", "Valid": "3", "Skipped": "1", "Duplicates": "1", "Users": "2", "Sessions": "2"}
    sessions, by_reason, skipped, *_ = frames(at)
    assert sessions["event_count"].to_list() == [2, 1]
    assert by_reason.rows() == [("invalid ISO-8601", 1)]
    assert skipped.row(0)[:2] == (4, "invalid ISO-8601")


def test_downloads_are_the_command_s_files_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "events.json"
    source.write_text(INPUT)
    folder = tmp_path / "tables"
    folder.mkdir()
    _, tables = tables_of_file(source, folder, load_policy(), by_gap=False)
    assert file_of(tables.sessions, Format.CSV).decode() == SESSIONS
    assert file_of(tables.skipped, Format.CSV).decode() == SKIPPED
    out = tmp_path / "sessions.parquet"
    sessions_of_file(source, out, None, load_policy(), by_gap=False, form=Format.PARQUET)
    assert pl.read_parquet(file_of(tables.sessions, Format.PARQUET)).equals(pl.read_parquet(out))


def test_events_are_those_that_count_and_the_original_is_all_that_came(at: AppTest) -> None:
    upload(at, INPUT)
    *_, events, original = frames(at)
    assert events.height == 3
    assert original["event"].to_list() == [1, 2, 3, 4, 5]
    assert original["skipped because"].to_list() == [None, None, None, "invalid ISO-8601", None]
    assert at.code[-1].value.strip() == INPUT.strip()
    assert "Lines 1 to 5 of 5; a very long one counts as several" in captions(at)


def test_a_pause_ends_a_session_when_it_is_asked_for(at: AppTest) -> None:
    upload(
        at,
        events_text(
            ("u", START, "a"), ("u", START + timedelta(minutes=20), "a"), ("u", START + timedelta(hours=2), "a")
        ),
    )
    assert tiles(at)["Sessions"] == "1"
    at.checkbox[0].check()
    shown(at.run())
    assert tiles(at)["Sessions"] == "2"
    of_labels(at.number_input)["Minutes of the pause"].set_value(20.0)
    shown(at.run())
    assert tiles(at)["Sessions"] == "3"


def test_events_of_one_user_alone(at: AppTest) -> None:
    upload(at, INPUT)
    of_labels(at.text_input)["User"].set_value("2")
    shown(at.run())
    *_, trend, events, _ = frames(at)
    assert set(events["user_id"]) == {"2"}
    assert trend["event_type"].to_list() == ["purchase"]


def test_the_trend_counts_each_type_in_each_five_minutes() -> None:
    times = [START + timedelta(minutes=minute) for minute in (0, 1, 4.99, 5, 11)]
    events = pl.LazyFrame({"event_time": times, "event_type": ["a", "b", "a", "a", "b"]})
    steps = [
        (START, "a", 2),
        (START, "b", 1),
        (START + timedelta(minutes=5), "a", 1),
        (START + timedelta(minutes=10), "b", 1),
    ]
    assert charts.trend(events).rows() == steps


def test_of_a_file_of_many_days_the_busiest_is_drawn_first_and_any_can_be(at: AppTest) -> None:
    day = timedelta(days=1)
    upload(
        at,
        events_text(("u", START, "a"), ("u", START + day, "a"), ("v", START + day, "b"), ("u", START + 2 * day, "a")),
    )
    dates = of_labels(at.selectbox)["Date (UTC)"]
    assert dates.value == (START + day).date()
    assert len(dates.options) == 3


def test_broken_lines_are_named_with_how_they_begin(at: AppTest) -> None:
    upload(at, INPUT + '{"user_id": <script>\n' + INPUT)
    assert tiles(at)["Skipped"] == "3"
    assert "Event 6, line 6 begins:" in [each.value for each in at.text]
    assert '{"user_id": <script>' in [each.value for each in at.code]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "nothing.json", "nothing.json is empty"),
        (b"\x1f\x8b\x08\x00packed", "events.json.gz", "events.json.gz is no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_as_its_owner_knows_it(
    at: AppTest, content: bytes, name: str, said: str
) -> None:
    upload(at, content, name)
    assert [each.value for each in at.error] == ["The file cannot be read."]
    (why,) = [each.value for each in at.code]
    assert said in why
    assert "tmp" not in why
    assert "--input" not in why
    assert not at.metric


def test_another_file_takes_the_place_of_the_first_and_its_copy_is_gone(temporary: Path, at: AppTest) -> None:
    upload(at, INPUT)
    (folder,) = temporary.glob("explorer-*")
    assert (folder / "file.json").read_text() == INPUT
    upload(at, SESSIONS.replace("session_start", "event_time").replace("session_end", "event_type"), "other.csv")
    assert tiles(at)["Events"] == "2"
    (other,) = temporary.glob("explorer-*")
    assert other != folder
    at.file_uploader[0].set_value(None)
    shown(at.run())
    assert not list(temporary.glob("explorer-*"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_full_disk_is_told_and_the_next_try_reads_it(
    temporary: Path, at: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", _no_room)
        upload(at, INPUT)
    assert [each.value for each in at.error] == ["The file cannot be read."]
    assert "cannot hold events.json: No space left on device" in at.code[0].value
    upload(at, INPUT)
    assert tiles(at)["Events"] == "5"
    assert len(list(temporary.glob("explorer-*"))) == 1


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_visit_that_ended_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"here", "gone"}
    monkeypatch.setattr("assets_pkg.explorer.uploads._is_going_on", lambda visit: visit in there)
    kept = Uploads()
    for visit in sorted(there):
        kept.keep(visit, Upload(visit, "events.json", None))
    there.remove("gone")
    kept.forget_ended(0)
    assert len(list(temporary.iterdir())) == 2, "a connection that is lost comes back"
    there.add("gone")
    kept.forget_ended(50)
    there.remove("gone")
    kept.forget_ended(70)
    kept.forget_ended(129)
    assert kept.of("gone") is not None
    kept.forget_ended(131)
    assert (kept.of("gone"), len(list(temporary.iterdir()))) == (None, 1)
    assert kept.of("here") is not None


def test_what_a_killed_server_left_is_removed_by_the_next(temporary: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    names = (f"explorer-{process.pid}-x", f"explorer-{os.getpid()}-x", "explorer-x")
    for name in names:
        (temporary / name).mkdir()
    Uploads()
    assert [(temporary / name).exists() for name in names] == [False, True, True]


def test_lines_that_are_too_long_for_a_page_are_several(tmp_path: Path) -> None:
    upload = Upload("id", "events.json", None, tmp_path)
    upload.path.write_text("short\n" + "x" * 5_000 + "\nend")
    assert upload.line_count() == 5
    assert [len(line) for line in upload.lines(1, 10)] == [6, 2_000, 2_000, 1_001, 3]
    assert upload.lines(5, 1) == ["end"]


def test_colours_can_be_told_from_a_light_and_from_a_dark_page() -> None:
    """WCAG 2.2, 1.4.11: parts of pictures have a contrast of at least 3 to what is beside them."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for page in ("#ffffff", "#151513"):
        for colour in charts.PALETTE:
            light, dark = sorted((luminance(page), luminance(colour)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, (page, colour)


def test_more_types_than_colours_are_drawn_as_others_in_few_bars() -> None:
    kinds = [f"type{number}" for number in range(3_000) for _ in range(2 if number < 7 else 1)]
    times = [START + timedelta(minutes=number % 60) for number in range(len(kinds))]
    steps = charts.trend(pl.LazyFrame({"event_time": times, "event_type": kinds}))
    drawn = charts.trend_chart(steps).to_dict()
    domain = drawn["encoding"]["color"]["scale"]["domain"]
    assert domain[-1] == charts.OTHERS
    assert set(domain[:-1]) == {f"type{number}" for number in range(7)}
    (bars,) = drawn["datasets"].values()
    assert len(bars) <= 12 * len(charts.PALETTE)
    assert sum(bar["events"] for bar in bars) == len(kinds)


def test_a_customer_s_days_are_drawn_however_many_events_they_have() -> None:
    times = [START + timedelta(seconds=second) for second in range(40_000)]
    events = pl.DataFrame({"event_time": times, "event_type": ["a", "b"] * 20_000})
    sessions = pl.DataFrame({"session_start": [START], "session_end": [times[-1]]})
    bars, ticks = charts.timeline(sessions, events).to_dict()["layer"]
    drawn = ticks["data"]["name"], bars["data"]["name"]
    data = charts.timeline(sessions, events).to_dict()["datasets"]
    assert 1_000 < len(data[drawn[0]]) <= 5_000
    assert {row["event_type"] for row in data[drawn[0]]} == {"a", "b"}
    assert [(row["from"], row["to"] > row["from"]) for row in data[drawn[1]]] == [(8, True)]


def test_a_session_over_midnight_is_drawn_on_both_dates() -> None:
    start = START.replace(hour=23)
    sessions = pl.DataFrame({"session_start": [start], "session_end": [start + timedelta(hours=3)]})
    events = pl.DataFrame({"event_time": [start], "event_type": ["a"]})
    drawing = charts.timeline(sessions, events).to_dict()
    bars = drawing["datasets"][drawing["layer"][0]["data"]["name"]]
    assert bars == [{"date": "2025-12-10", "from": 23, "to": 24}, {"date": "2025-12-11", "from": 0, "to": 2}]
