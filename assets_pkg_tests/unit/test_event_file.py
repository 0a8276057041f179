"""One file of events: what counts, what is skipped and why, what is written, in every layout and format."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets_pkg.contracts.event_file import SESSIONS_FILE, SKIPPED_FILE
from assets_pkg.policy import Policy, load_policy
from assets_pkg.steps import event_file
from assets_pkg.steps.event_file import FileSummary, sessions_of_file
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg.storage.whole_files import Format, UnwritableFileError
from assets_pkg.transforms import sessions as ordering
from assets_pkg_tests.workbench import at

NOON = "2024-07-10T12:00:00Z"
Fields = tuple[Any, Any, Any]


@dataclass
class Told:
    """What a file became: the rows of both outputs as their CSV texts, and the summary."""

    sessions: list[tuple[str, ...]]
    skipped: list[tuple[str, ...]]
    summary: FileSummary


def told(folder: Path, content: str | bytes, gap: float | None = None, name: str = "events.json") -> Told:
    """What becomes of a file; `gap` in minutes."""
    source = folder / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    policy = load_policy(overlay={} if gap is None else {"activity": {"session_timeout_minutes": gap}})
    out, skips = folder / "sessions.csv", folder / "skipped.csv"
    summary = sessions_of_file(source, out, skips, policy, by_gap=gap is not None, form=Format.CSV)
    sessions, skipped = (list(map(tuple, csv.reader(io.StringIO(path.read_bytes().decode())))) for path in (out, skips))
    assert sessions.pop(0) == tuple(SESSIONS_FILE)
    assert skipped.pop(0) == tuple(SKIPPED_FILE)
    assert summary.total == summary.valid + summary.duplicates + summary.skipped.total()
    assert summary.valid == sum(int(row[3]) for row in sessions)
    return Told(sessions, skipped, summary)


def event(user: Any = "u", time: Any = NOON, kind: Any = "click", **others: Any) -> str:
    return json.dumps({"user_id": user, "event_time": time, "event_type": kind, **others})


def lines(*events: str) -> str:
    return "\n".join(events) + "\n"


# -- values -----------------------------------------------------------------------------------------

USERS: dict[str, tuple[str, str]] = {
    "a number": ("1", "1"),
    "a text": ('"1"', "1"),
    "a fraction as it stands": ("1.50", "1.50"),
    "a huge integer": ("9" * 5000, "9" * 5000),
    "an exponent as it stands": ("1e400", "1e400"),
    "NaN as a text": ("NaN", "NaN"),
    "a switch": ("true", "true"),
    "an object as it stands": ('{"b": 1,  "a": [ ]}', '{"b": 1,  "a": [ ]}'),
    "escapes": (r'"\u00e4\ud83d\ude00\/"', "ä😀/"),
    "a lone surrogate": (r'"a\ud800"', "a\ufffd"),
    "blanks around it": ('"\u00a0 u\t"'.replace("\t", "\\t"), "u"),
    "a null token of the feeds": ('"None"', "None"),
    "a comma and a quote": (r'"a,\"b"', 'a,"b'),
    "a line break": (r'"a\nb"', "a\nb"),
}


@pytest.mark.parametrize(("source", "user"), USERS.values(), ids=USERS)
def test_a_user_is_known_by_the_text_of_its_id(tmp_path: Path, source: str, user: str) -> None:
    found = told(tmp_path, f'{{"event_type": "x", "user_id": {source}, "event_time": "{NOON}"}}')
    assert [row[0] for row in found.sessions] == [user]


def test_a_number_and_its_text_are_the_same_user_and_1_and_1_point_0_are_not(tmp_path: Path) -> None:
    found = told(tmp_path, lines(event(1, kind="a"), event("1", kind="b"), event(1.0), event("01")))
    assert {row[0]: row[3] for row in found.sessions} == {"1": "2", "01": "1", "1.0": "1"}


def test_keys_may_come_in_any_order_among_others_and_the_last_of_equal_ones_counts(tmp_path: Path) -> None:
    twice = f'{{"event_type": "x", "n": {{"user_id": 9}}, "user_id": 1, "event_time": "{NOON}", "user_id": 2, "": []}}'
    found = told(tmp_path, lines(event(3, url="/", deep=[{"user_id": 1}]), twice))
    assert [row[0] for row in found.sessions] == ["2", "3"]


def test_keys_are_compared_as_they_are(tmp_path: Path) -> None:
    found = told(tmp_path, lines('{"User_ID": 1, " user_id": 2}', event(3)))
    assert found.skipped == [("1", "missing field: user_id", "", "", "")]


def test_keys_that_come_late_are_read(tmp_path: Path) -> None:
    found = told(tmp_path, lines(*['{"user_id": 1}'] * 30_000, event(2)))
    assert found.sessions == [("2", NOON, NOON, "1")]
    assert found.summary.skipped == {"missing field: event_time": 30_000}


MISSING: dict[str, tuple[str, str]] = {
    "absent": ('{"event_time": "x"}', "user_id"),
    "null": ('{"user_id": null}', "user_id"),
    "empty": (event(""), "user_id"),
    "blank": (event(" \u2003"), "user_id"),
    "the time": ('{"user_id": 1, "event_type": "x"}', "event_time"),
    "the type": (event(time="no time", kind=None), "event_type"),
    "all": ("{}", "user_id"),
}


@pytest.mark.parametrize(("source", "field"), MISSING.values(), ids=MISSING)
def test_the_first_field_without_a_value_is_named(tmp_path: Path, source: str, field: str) -> None:
    found = told(tmp_path, lines(event(), source))
    assert [row[:2] for row in found.skipped] == [("2", f"missing field: {field}")]


def test_a_skipped_event_keeps_its_texts_as_they_came(tmp_path: Path) -> None:
    found = told(tmp_path, lines(event(" 1 ", "soon, maybe", {"a": 1}), event("", None, " ")))
    assert found.skipped == [
        ("1", "invalid ISO-8601", " 1 ", "soon, maybe", '{"a": 1}'),
        ("2", "missing field: user_id", "", "", " "),
    ]


# -- times ------------------------------------------------------------------------------------------

TIMES = {
    "2024-07-10T12:00:00Z": NOON,
    " 2024-07-10T12:00:00Z ": NOON,
    "2024-07-10 14:00+02:00": NOON,
    "2024-07-10T12:00": NOON,
    "20240710T120000Z": NOON,
    "2024-07-10": "2024-07-10T00:00:00Z",
    "20240710": "2024-07-10T00:00:00Z",
    "2024-07-10T12:00:00.500Z": "2024-07-10T12:00:00.5Z",
    "2024-07-10T12:00:00,000001Z": "2024-07-10T12:00:00.000001Z",
    "2024-07-10T12:00:00.000Z": NOON,
    "2100-12-31T23:59:59.999999999Z": "2100-12-31T23:59:59.999999Z",
}
NO_TIMES = [
    "1720612800",
    "07/10/2024",
    "2024/07/10",
    "10 Jul 2024",
    "2024-02-30",
    "2024-07-10T24:00:00Z",
    "2024-07-10T12:00:00 UTC",
    "2024-W28-3",
    "1969-12-31T23:59:59Z",
    "NaN",
]


@pytest.mark.parametrize(("text", "written"), TIMES.items())
def test_a_time_is_written_in_utc_with_a_fraction_only_if_there_is_one(tmp_path: Path, text: str, written: str) -> None:
    assert told(tmp_path, event(time=text)).sessions == [("u", written, written, "1")]


@pytest.mark.parametrize("text", NO_TIMES)
def test_only_iso_8601_is_a_time(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, event(time=text)).skipped == [("1", "invalid ISO-8601", "u", text, "click")]


def test_a_date_as_a_number_is_a_basic_date_and_seconds_are_none(tmp_path: Path) -> None:
    found = told(tmp_path, lines(event(time=20240710), event(time=1720612800)))
    assert (found.sessions[0][1], found.skipped[0][3]) == ("2024-07-10T00:00:00Z", "1720612800")


# -- copies and sessions ----------------------------------------------------------------------------


def test_copies_are_equal_by_user_instant_and_type(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        lines(event(), event(time="2024-07-10T14:00+02:00"), event(n=1), event("v"), event(kind="Click"), event(time="2024-07-10")),
    )  # fmt: skip
    assert (found.summary.duplicates, found.summary.valid) == (2, 4)
    assert found.sessions == [("u", "2024-07-10T00:00:00Z", NOON, "3"), ("v", NOON, NOON, "1")]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_users_that_are_numbers_come_first_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(ordering, "_AT_ONCE", at_once)
    users = ["b", "10", "9", "-1", "007", "a", "7", "0", "1.5", "é", "10000000000000000000000", "B", "٣"]
    found = told(tmp_path, lines(*map(event, users)))
    expected = ["0", "007", "7", "9", "10", "10000000000000000000000", "-1", "1.5", "B", "a", "b", "é", "٣"]
    assert [row[0] for row in found.sessions] == expected


def at_times(*times: str) -> str:
    return lines(*(event(time=f"2024-07-{time}Z") for time in times))


def spans(found: Told) -> list[tuple[str, str, str]]:
    return [(start[8:-1], end[8:-1], count) for _, start, end, count in found.sessions]


def test_without_a_gap_a_user_has_one_row(tmp_path: Path) -> None:
    assert spans(told(tmp_path, at_times("30T00:00:00", "01T00:00:00"))) == [("01T00:00:00", "30T00:00:00", "2")]


def test_a_pause_of_the_gap_ends_a_session_and_a_microsecond_less_does_not(tmp_path: Path) -> None:
    found = told(tmp_path, at_times("10T10:29:59.999999", "10T10:00:00", "10T11:00:00", "10T11:30:00"), gap=30)
    assert spans(found) == [
        ("10T10:00:00", "10T10:29:59.999999", "2"),
        ("10T11:00:00", "10T11:00:00", "1"),
        ("10T11:30:00", "10T11:30:00", "1"),
    ]
    assert (found.summary.users, found.summary.sessions) == (1, 3)


def test_a_session_goes_on_over_midnight(tmp_path: Path) -> None:
    found = told(tmp_path, at_times("11T00:10:00", "10T23:50:00", "12T10:00:00"), gap=30)
    assert spans(found) == [("10T23:50:00", "11T00:10:00", "2"), ("12T10:00:00", "12T10:00:00", "1")]


def test_a_user_without_a_pause_in_a_whole_day_is_cut_at_the_midnight_after_it(tmp_path: Path) -> None:
    hours = [f"{day:02}T{hour:02}:00:00" for day in (10, 11, 12) for hour in range(24)][:-12]
    found = told(tmp_path, at_times("09T23:30:00", *hours), gap=61)
    assert spans(found) == [("09T23:30:00", "10T23:00:00", "25"), ("11T00:00:00", "11T23:00:00", "24"), ("12T00:00:00", "12T11:00:00", "12")]  # fmt: skip


# -- what cannot be read ----------------------------------------------------------------------------

FIRST, LAST = event("first"), event("last")
BROKEN = {
    "lines": f'{FIRST}\n{{"user_id": 1, "event_\n{LAST}\n',
    "an array": f'[{FIRST},\n{{"user_id": 1, "event_\n,{LAST}]',
    "an array on one line": f'[{FIRST}, {{"user_id": 1, "event_, {{}}, {LAST}]',
    "objects over several lines": "\n".join(
        [json.dumps(json.loads(FIRST), indent=2), '{\n  "user_id": 1,\n  "event_\n}', json.dumps(json.loads(LAST), indent=2)]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "line"), [*zip(BROKEN, (2, 2, 1, 6), strict=True)])
def test_broken_json_in_the_middle_is_one_skipped_event_and_the_next_counts(
    tmp_path: Path, layout: str, line: int
) -> None:
    found = told(tmp_path, BROKEN[layout])
    assert [row[0] for row in found.sessions] == ["first", "last"]
    assert found.skipped == [("2", "invalid JSON", "", "", "")]
    assert [(each.event, each.line) for each in found.summary.broken] == [(2, line)]
    assert found.summary.broken[0].text.startswith("{")


def test_what_is_no_object_is_one_skipped_event(tmp_path: Path) -> None:
    found = told(tmp_path, f'[1, {FIRST}, "x", [{LAST}], null]')
    assert found.skipped == [(str(number), "invalid JSON", "", "", "") for number in (1, 3, 4, 5)]
    assert [row[0] for row in found.sessions] == ["first"]


def test_positions_and_lines_are_right_far_into_a_file(tmp_path: Path) -> None:
    events = [event(number, url="x" * 100) for number in range(60_000)]
    for number in (100, 30_000, 59_999):
        events[number - 1] = '{"cut'
    events[49_999] = event(time="never")
    found = told(tmp_path, lines(*events))
    assert [row[:2] for row in found.skipped] == [
        ("100", "invalid JSON"), ("30000", "invalid JSON"), ("50000", "invalid ISO-8601"), ("59999", "invalid JSON")
    ]  # fmt: skip
    assert [(each.event, each.line) for each in found.summary.broken] == [(n, n) for n in (100, 30_000, 59_999)]


def test_of_many_broken_pieces_the_first_are_told_and_all_are_counted(tmp_path: Path) -> None:
    found = told(tmp_path, "{oops}\n" * 25)
    assert [each.event for each in found.summary.broken] == list(range(1, event_file.BROKEN_TOLD + 1))
    assert found.summary.skipped == {"invalid JSON": 25}


# -- CSV --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events.csv", "events.txt"])
def test_csv_is_known_by_its_header(tmp_path: Path, name: str) -> None:
    content = f'\ufeffEVENT_TYPE, User_ID ,"event_time",n\r\nclick,1,{NOON},\r\nclick,"a,b",{NOON},x\r\n'
    found = told(tmp_path, content, name=name)
    assert found.sessions == [("1", NOON, NOON, "1"), ("a,b", NOON, NOON, "1")]


def test_what_is_odd_in_csv_is_skipped_with_its_position(tmp_path: Path) -> None:
    content = f"user_id,event_time,event_type\n1,{NOON}\n,{NOON},x\n2,soon,x\n\n3,{NOON},x\n"
    found = told(tmp_path, content, name="events.csv")
    assert found.skipped == [
        ("1", "invalid CSV", "", "", ""),
        ("2", "missing field: user_id", "", NOON, "x"),
        ("3", "invalid ISO-8601", "2", "soon", "x"),
    ]
    assert [(each.event, each.line, each.text) for each in found.summary.broken] == [(1, None, f"1,{NOON}")]


def test_csv_without_a_field_has_no_value_for_it(tmp_path: Path) -> None:
    found = told(tmp_path, f"user_id,event_time\n1,{NOON}\n", name="events.csv")
    assert found.summary.skipped == {"missing field: event_type": 1}


@pytest.mark.parametrize("content", ["[]", "[ ]\n", "user_id,event_time,event_type\n"])
def test_a_file_may_hold_no_event(tmp_path: Path, content: str) -> None:
    found = told(tmp_path, content)
    assert (found.sessions, found.skipped, found.summary.total) == ([], [], 0)


# -- files that cannot be read, or written ----------------------------------------------------------

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "blank": (b"\xef\xbb\xbf\n \n", "is empty"),
    "gzip": (b"\x1f\x8b\x08\x08abcdefghijkl", "Unpack it"),
    "zip": (b"PK\x03\x04abcdefghijkl", "Unpack it"),
    "zeros": (b'{"a": 1}\n' + bytes(9), "no text in UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "convert it (iconv)"),
    "noise": (bytes(range(255, 127, -1)), "no text in UTF-8"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_refused_and_nothing_is_written(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UnreadableFileError, match=r"events\.json") as refused:
        told(tmp_path, content)
    assert said in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["events.json"]


def test_a_fault_leaves_the_files_of_before(tmp_path: Path) -> None:
    told(tmp_path, event("before"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".csv"}
    with pytest.raises(UnreadableFileError, match="longer than 16 MiB"):
        told(tmp_path, b"user_id,event_time,event_type\n" + b"x" * (2**24 + 1), name="events.json")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".json"} == before


@pytest.mark.parametrize("target", ["missing/out.csv", ".", "/dev/null"])
def test_where_no_file_can_be_written_is_said(tmp_path: Path, policy: Policy, target: str) -> None:
    (tmp_path / "events.json").write_text(event())
    with pytest.raises(UnwritableFileError, match="ive another path"):
        sessions_of_file(tmp_path / "events.json", tmp_path / target, None, policy, by_gap=False, form=Format.CSV)
    assert [path.name for path in tmp_path.iterdir()] == ["events.json"]


def test_a_link_stays_and_the_file_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "sessions.csv").symlink_to("real.csv")
    told(tmp_path, event())
    assert (tmp_path / "sessions.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("user_id,")


# -- formats ----------------------------------------------------------------------------------------


def in_format(folder: Path, policy: Policy, form: Format, events: Sequence[str]) -> tuple[Path, Path]:
    out, skips = folder / f"out.{form}", folder / f"skips.{form}"
    (folder / "events.json").write_text(lines(*events))
    sessions_of_file(folder / "events.json", out, skips, policy, by_gap=False, form=form)
    assert {path.name for path in folder.iterdir()} == {"events.json", out.name, skips.name}
    return out, skips


def test_parquet_has_types(tmp_path: Path, policy: Policy) -> None:
    out, skips = in_format(
        tmp_path, policy, Format.PARQUET, [event(2), event(1, "2024-07-10T12:00:00.5Z"), event(3, "", ""), "oops"]
    )
    assert pl.read_parquet(out).schema == SESSIONS_FILE
    assert pl.read_parquet(out).rows() == [
        ("1", at("2024-07-10T12:00:00.5"), at("2024-07-10T12:00:00.5"), 1),
        ("2", at(NOON), at(NOON), 1),
    ]
    assert pl.read_parquet(skips).schema == SKIPPED_FILE
    assert pl.read_parquet(skips).rows() == [(3, "missing field: event_time", "3", "", ""), (4, "invalid JSON", None, None, None)]  # fmt: skip


def test_json_is_an_array(tmp_path: Path, policy: Policy) -> None:
    out, skips = in_format(tmp_path, policy, Format.JSON, [event(1), event('a"\nb', NOON), event(3, "", ""), "oops"])
    assert json.loads(out.read_text()) == [
        {"user_id": user, "session_start": NOON, "session_end": NOON, "event_count": 1} for user in ("1", 'a"\nb')
    ]
    assert json.loads(skips.read_text()) == [
        {"event": 3, "reason": "missing field: event_time", "user_id": "3", "event_time": "", "event_type": ""},
        {"event": 4, "reason": "invalid JSON", "user_id": None, "event_time": None, "event_type": None},
    ]


@pytest.mark.parametrize("form", Format)
def test_a_table_without_rows_is_a_file(tmp_path: Path, policy: Policy, form: Format) -> None:
    out, skips = in_format(tmp_path, policy, form, ["[]"])
    read = {Format.CSV: pl.read_csv, Format.JSON: pl.read_json, Format.PARQUET: pl.read_parquet}[form]
    rows = [json.loads(path.read_text()) if form == Format.JSON else read(path).rows() for path in (out, skips)]
    assert rows == [[], []]


@pytest.mark.parametrize("form", Format)
def test_many_rows_are_written_in_pieces(
    tmp_path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    monkeypatch.setattr(ordering, "_AT_ONCE", 7)
    monkeypatch.setattr("assets_pkg.storage.whole_files._PART", 1)
    monkeypatch.setattr(event_file, "_AT_ONCE", 1)
    events = [event(number, NOON if number % 3 else "never", url="x" * 500) for number in range(5000)]
    out, skips = in_format(tmp_path, policy, form, events)
    read = {Format.CSV: pl.read_csv, Format.JSON: pl.read_json, Format.PARQUET: pl.read_parquet}[form]
    assert read(out)["user_id"].cast(pl.Int64).to_list() == [number for number in range(5000) if number % 3]
    assert read(skips)["event"].to_list() == list(range(1, 5001, 3))
