"""`sessions`: one file in, byte for byte what the contract shows, and a message for all that goes wrong."""

import os
import shutil
from pathlib import Path

import pytest

from assets_pkg_tests.orchestration.pipeline import command_line
from assets_pkg_tests.orchestration.test_cli import Told, fails, told_here

INPUT = """\
{"user_id": 1, "event_time": "2024-07-10T10:00:00Z", "event_type": "login"}
{"user_id": 1, "event_time": "2024-07-10T10:05:00Z", "event_type": "view"}
{"user_id": 1, "event_time": "2024-07-10T10:05:00Z", "event_type": "view"}
{"user_id": 2, "event_time": "invalid-timestamp", "event_type": "click"}
{"user_id": 2, "event_time": "2024-07-10T10:10:00Z", "event_type": "purchase"}
"""
SESSIONS = """\
user_id,session_start,session_end,event_count
1,2024-07-10T10:00:00Z,2024-07-10T10:05:00Z,2
2,2024-07-10T10:10:00Z,2024-07-10T10:10:00Z,1
"""
SKIPPED = """\
event,reason,user_id,event_time,event_type
4,invalid ISO-8601,2,invalid-timestamp,click
"""
LAYOUTS = {
    "lines": INPUT,
    "an array": f"[{INPUT.strip().replace(chr(10), ',')}]",
    "objects over several lines": INPUT.replace("{", "{\n  ").replace(", ", ",\n  ").replace("}", "\n}"),
}
USUAL = ("sessions", "--input", "events.json", "--out", "sessions.csv", "--skips_out", "skipped.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the contract's example, and nothing of a pipeline."""
    (tmp_path / "events.json").write_text(INPUT)
    return tmp_path


def rows_of(told: Told) -> dict[str, str]:
    """The summary that was printed."""
    cells = [line.strip("│ ").split("│") for line in told.stdout.splitlines() if line.startswith("│")]
    return {name.strip(): count.strip() for name, count in cells}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in folder.iterdir()}


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_the_contracts_example_byte_for_byte(folder: Path, text: str) -> None:
    (folder / "events.json").write_text(text)
    told = told_here(folder, *USUAL)
    assert told.returncode == 0, told.stderr
    assert contents(folder) == {"events.json": text, "sessions.csv": SESSIONS, "skipped.csv": SKIPPED}
    assert rows_of(told) == {
        "events in total": "5",
        "valid": "3",
        "duplicates": "1",
        "skipped": "1",
        "- invalid ISO-8601": "1",
        "users": "2",
        "sessions": "2",
    }
    assert told.stderr == ""


def test_in_a_process_of_its_own_and_again_over_what_is_there(folder: Path) -> None:
    for _ in range(2):
        told = command_line(*USUAL, folder=folder, home=folder)
        assert (told.returncode, told.stderr) == (0, "")
        assert contents(folder) == {"events.json": INPUT, "sessions.csv": SESSIONS, "skipped.csv": SKIPPED}


def test_a_pipe_is_read(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, INPUT.encode())
    os.close(writing)
    told = told_here(folder, "sessions", "--input", f"/dev/fd/{reading}", "--out", "sessions.csv")
    os.close(reading)
    assert (told.returncode, contents(folder)["sessions.csv"]) == (0, SESSIONS)
    assert "Give --skips_out" in told.stderr


def test_a_gap_splits(folder: Path) -> None:
    told = told_here(folder, *USUAL, "--gap", "5m")
    assert (told.returncode, rows_of(told)["sessions"]) == (0, "3")
    assert contents(folder)["sessions.csv"] == (
        "user_id,session_start,session_end,event_count\n"
        "1,2024-07-10T10:00:00Z,2024-07-10T10:00:00Z,1\n"
        "1,2024-07-10T10:05:00Z,2024-07-10T10:05:00Z,1\n"
        "2,2024-07-10T10:10:00Z,2024-07-10T10:10:00Z,1\n"
    )


@pytest.mark.parametrize(
    ("gap", "sessions"), [("301s", "2"), ("300s", "3"), ("1h30m", "2"), ("24h", "2"), ("0h4m60s", "3")]
)
def test_a_gap_is_written_in_hours_minutes_and_seconds(folder: Path, gap: str, sessions: str) -> None:
    assert rows_of(told_here(folder, *USUAL, "--gap", gap))["sessions"] == sessions


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_the_format_is_that_of_both_files(folder: Path, form: str) -> None:
    told = told_here(folder, "sessions", "--input", "events.json", "--out", "a", "--skips-out", "b", "--format", form)
    assert told.returncode == 0, told.stderr
    assert {(folder / name).read_bytes()[:4] for name in "ab"} == {{"json": b'[\n{"', "parquet": b"PAR1"}[form]}


def test_it_says_where_json_is_broken(folder: Path) -> None:
    (folder / "events.json").write_text(INPUT + '{"user_id": 3, "event_[bold]\n' + INPUT)
    told = told_here(folder, *USUAL)
    assert told.returncode == 0
    assert told.stderr == 'Skipped, invalid JSON: event 6, line 6: {"user_id": 3, "event_[bold]\n'
    assert rows_of(told)["- invalid JSON"] == "1"


def test_it_says_how_many_more_are_broken(folder: Path) -> None:
    (folder / "events.json").write_text("{oops}\n" * 1234)
    told = told_here(folder, *USUAL)
    assert told.returncode == 0
    assert "… and 1,224 more" in told.stderr
    assert "No event counts. Each needs user_id, event_time, event_type, by these names." in told.stderr


WRONG: dict[str, tuple[list[str], int, list[str]]] = {
    "no input": (["--out", "o.csv"], 2, ["Missing option '--input'"]),
    "no output": (["--input", "events.json"], 2, ["Missing option '--out'"]),
    "a missing file": (["--input", "no.json", "--out", "o.csv"], 1, ["There is no file no.json", "Check --input"]),
    "a folder": (["--input", ".", "--out", "o.csv"], 1, [". is a folder", "Give one file"]),
    "a file beneath a file": (["--input", "events.json/x", "--out", "o.csv"], 1, ["events.json/x cannot be opened"]),
    "the input as output": (["--input", "events.json", "--out", "./events.json"], 2, ["--input and --out are the same"]),
    "one output for both": (
        ["--input", "events.json", "--out", "o.csv", "--skips_out", "o.csv"], 2, ["--out and --skips_out are the same"]
    ),
    "a folder that is not there": (["--input", "events.json", "--out", "no/o.csv"], 1, ["There is no folder"]),
    "an output that is no file": (["--input", "events.json", "--out", "/dev/null"], 1, ["/dev/null is no ordinary file"]),
    "an unknown format": (["--input", "events.json", "--out", "o.csv", "--format", "xlsx"], 2, ["'xlsx' is not one of"]),
    "a gap without a unit": (["--input", "events.json", "--out", "o.csv", "--gap", "30"], 2, ["'30' is no length of time"]),
    "an empty gap": (["--input", "events.json", "--out", "o.csv", "--gap", ""], 2, ["'' is no length of time"]),
    "no gap at all": (["--input", "events.json", "--out", "o.csv", "--gap", "0m"], 2, ["cannot be a session timeout"]),
    "a gap of more than a day": (
        ["--input", "events.json", "--out", "o.csv", "--gap", "24h1s"], 2, ["less than or equal to 1440"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path, arguments: list[str], status: int, words: list[str]
) -> None:
    fails(told_here(folder, "sessions", *arguments), status, *words)
    assert contents(folder) == {"events.json": INPUT}


def test_a_hard_link_to_the_input_is_the_same_file(folder: Path) -> None:
    (folder / "linked.json").hardlink_to(folder / "events.json")
    fails(told_here(folder, "sessions", "--input", "events.json", "--out", "linked.json"), 2, "are the same file")


def test_an_unreadable_file_is_named_and_the_files_of_before_stay(folder: Path) -> None:
    told_here(folder, *USUAL)
    before = contents(folder)
    (folder / "events.json").write_bytes(b"user_id,event_time,event_type\n" + b"x" * (2**24 + 1))
    fails(told_here(folder, *USUAL), 1, "events.json cannot be read: a line is longer than 16 MiB")
    (folder / "events.json").write_bytes(b"\x1f\x8b\x08\x00packed")
    fails(told_here(folder, *USUAL), 1, "events.json is no text in UTF-8", "Unpack it")
    (folder / "events.json").write_bytes(b"")
    fails(told_here(folder, *USUAL), 1, "events.json is empty")
    assert {**contents(folder), "events.json": INPUT} == before


def test_the_policy_in_force_decides(folder: Path) -> None:
    policy = folder / "policy.yaml"
    policy.write_text("values: {first_year: 2025}")
    told = told_here(folder, *USUAL, PIPELINE_POLICY=str(policy))
    assert (told.returncode, rows_of(told)["- invalid ISO-8601"]) == (0, "5")
    shutil.copy(folder / "events.json", policy)
    fails(told_here(folder, *USUAL, PIPELINE_POLICY=str(policy)), 1, "policy file")
