"""One run at a time for an ingest date: a second process waits, then fails with a message that names both."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from assets_pkg.storage.locks import DayIsBusyError, days_locked
from assets_pkg_tests.workbench import ROOT, days_from

D1, D2, D3 = days_from(date(2025, 12, 10), 3)

# Holds the locks of some days until a line comes, or for ever.
HOLDER = """
import sys
from datetime import date
from pathlib import Path
from assets_pkg.storage.locks import days_locked
folder, owner, *days = sys.argv[1:]
with days_locked(Path(folder), map(date.fromisoformat, days), owner, wait_seconds=5, say=print):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


def silent(_: str) -> None:
    """Nobody listens."""


@contextmanager
def held_by_another(folder: Path, owner: str, *days: date) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the locks of `days` until the block ends, or it is told to let go."""
    command = [sys.executable, "-c", HOLDER, str(folder), owner, *map(str, days)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_days_that_nobody_holds_are_held_and_freed(tmp_path: Path) -> None:
    said: list[str] = []
    for owner in ("first", "second"):
        with days_locked(tmp_path / "locks", [D2, D1, D2], owner, wait_seconds=0, say=said.append):
            pass
    assert said == []


def test_no_days_need_no_lock(tmp_path: Path) -> None:
    with days_locked(tmp_path, [], "run", wait_seconds=0, say=silent):
        pass


def test_another_process_is_waited_for_then_the_message_names_both(tmp_path: Path) -> None:
    said: list[str] = []
    with held_by_another(tmp_path, "the-first-run", D1) as other:
        start = time.monotonic()
        with (
            pytest.raises(DayIsBusyError) as caught,
            days_locked(tmp_path, [D1], "the-second-run", wait_seconds=0.5, say=said.append),
        ):
            pytest.fail("two runs have the same day")
        waited = time.monotonic() - start
        who = f"run the-first-run (process {other.pid})"
    assert waited >= 0.5
    assert len(said) == 1
    for each in (said[0], str(caught.value)):
        assert who in each
        assert "2025-12-10" in each
        assert "0.5 s" in each
    assert "Nothing was changed by this run" in str(caught.value)


def test_the_wait_ends_when_the_other_run_does(tmp_path: Path) -> None:
    said: list[str] = []
    with held_by_another(tmp_path, "other", D1) as other:
        assert other.stdin is not None
        release = threading.Timer(0.3, lambda: (other.stdin.write("\n"), other.stdin.flush()))  # type: ignore[union-attr]
        release.start()
        with days_locked(tmp_path, [D1], "mine", wait_seconds=60, say=said.append):
            assert other.stdout is not None
            assert other.stdout.readline() == "released\n"
        release.join()
    assert len(said) == 1


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "other", D1) as other:
        other.kill()
        other.wait()
        said: list[str] = []
        with days_locked(tmp_path, [D1], "mine", wait_seconds=0, say=said.append):
            pass
    assert said == []


def test_other_days_are_free(tmp_path: Path) -> None:
    with (
        held_by_another(tmp_path, "other", D1, D3),
        days_locked(tmp_path, [D2], "mine", wait_seconds=0, say=silent),
    ):
        pass


def test_a_run_that_cannot_have_all_its_days_has_none(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "other", D2):
        with (
            pytest.raises(DayIsBusyError, match="2025-12-11"),
            days_locked(tmp_path, [D3, D2, D1], "mine", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same day")
        with days_locked(tmp_path, [D1, D3], "again", wait_seconds=0, say=silent):
            pass


def test_locks_are_freed_when_a_run_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        days_locked(tmp_path, [D1], "mine", wait_seconds=0, say=silent),
    ):
        raise ZeroDivisionError
    with days_locked(tmp_path, [D1], "again", wait_seconds=0, say=silent):
        pass


@pytest.mark.parametrize("content", ["", '{"run": "oth', "no json"])
def test_a_holder_that_cannot_be_read_is_another_run(content: str, tmp_path: Path) -> None:
    """The note is for people; a torn one must not stop the wait or its message."""
    with held_by_another(tmp_path, "other", D1):
        (tmp_path / f"{D1}.holder").write_text(content)
        with (
            pytest.raises(DayIsBusyError, match="another run"),
            days_locked(tmp_path, [D1], "mine", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same day")


def test_the_note_names_the_last_holder(tmp_path: Path) -> None:
    with days_locked(tmp_path, [D1], "mine", wait_seconds=0, say=silent):
        assert json.loads((tmp_path / f"{D1}.holder").read_text())["run"] == "mine"
