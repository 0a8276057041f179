"""One run at a time for an ingest date: a second process waits, then fails with a message that names both."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from assets_pkg.contracts.tables import EVENT_DATE
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.storage.locks import (
    DayIsBusyError,
    LocksUnreachableError,
    PostgresLocks,
    day_locks,
    days_locked,
    remove_unheld,
)
from assets_pkg_tests.workbench import ROOT, days_from

D1, D2, D3 = days_from(date(2025, 12, 10), 3)

# Holds the locks of some days until a line comes, or for ever.
HOLDER = """
import sys
from datetime import date
from pathlib import Path
from assets_pkg.storage.locks import day_locks, days_locked
url, folder, owner, *days = sys.argv[1:]
locks = day_locks(url, Path(folder), owner)
with days_locked(locks, map(date.fromisoformat, days), wait_seconds=5, say=print):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


class Place:
    """Where locks are kept: a folder, or a PostgreSQL server."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def days_locked(
        self,
        days: Iterable[date],
        owner: str,
        *,
        wait_seconds: float,
        say: Callable[[str], None],
        axis: str = INGEST_DATE,
    ) -> AbstractContextManager[Callable[[date], None]]:
        return days_locked(day_locks(self.url, self.folder, owner, axis), days, wait_seconds=wait_seconds, say=say)

    def note(self, day: date) -> Path:
        """Where a folder's locks say who holds an ingest date."""
        return self.folder / INGEST_DATE / f"{day}.holder"


@pytest.fixture
def place(ledger_url: str, tmp_path: Path) -> Place:
    """Every test is about both kinds of locks."""
    return Place(ledger_url, tmp_path / "locks")


def silent(_: str) -> None:
    """Nobody listens."""


@contextmanager
def held_by_another(place: Place, owner: str, *days: date) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the locks of `days` until the block ends, or it is told to let go."""
    command = [sys.executable, "-c", HOLDER, place.url, str(place.folder), owner, *map(str, days)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_days_that_nobody_holds_are_held_and_freed(place: Place) -> None:
    said: list[str] = []
    for owner in ("first", "second"):
        with place.days_locked([D2, D1, D2], owner, wait_seconds=0, say=said.append):
            pass
    assert said == []


def test_no_days_need_no_lock(place: Place) -> None:
    with place.days_locked([], "run", wait_seconds=0, say=silent):
        pass


def test_another_process_is_waited_for_then_the_message_names_both(place: Place) -> None:
    said: list[str] = []
    with held_by_another(place, "the-first-run", D1) as other:
        start = time.monotonic()
        with (
            pytest.raises(DayIsBusyError) as caught,
            place.days_locked([D1], "the-second-run", wait_seconds=0.5, say=said.append),
        ):
            pytest.fail("two runs have the same day")
        waited = time.monotonic() - start
        who = f"run the-first-run (process {other.pid}"
    assert waited >= 0.5
    assert len(said) == 1
    for each in (said[0], str(caught.value)):
        assert who in each
        assert "2025-12-10" in each
        assert "0.5 s" in each
    assert "Nothing was changed by this run" in str(caught.value)


def test_the_wait_ends_when_the_other_run_does(place: Place) -> None:
    said: list[str] = []
    with held_by_another(place, "other", D1) as other:
        assert other.stdin is not None
        release = threading.Timer(0.3, lambda: (other.stdin.write("\n"), other.stdin.flush()))  # type: ignore[union-attr]
        release.start()
        with place.days_locked([D1], "mine", wait_seconds=60, say=said.append):
            assert other.stdout is not None
            assert other.stdout.readline() == "released\n"
        release.join()
    assert len(said) == 1


def test_a_killed_process_holds_nothing(place: Place) -> None:
    with held_by_another(place, "other", D1) as other:
        other.kill()
        other.wait()
        said: list[str] = []
        with place.days_locked([D1], "mine", wait_seconds=0, say=said.append):
            pass
    assert said == []


def test_other_days_are_free(place: Place) -> None:
    with (
        held_by_another(place, "other", D1, D3),
        place.days_locked([D2], "mine", wait_seconds=0, say=silent),
    ):
        pass


def test_the_same_days_of_the_other_axis_are_free(place: Place) -> None:
    # The day on which files landed and the day on which things happened are two things, for all that they are one day.
    with (
        held_by_another(place, "other", D1),
        place.days_locked([D1], "mine", wait_seconds=0, say=silent, axis=EVENT_DATE),
    ):
        with (
            pytest.raises(DayIsBusyError, match="run other"),
            place.days_locked([D1], "third", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same ingest date")
        with (
            pytest.raises(DayIsBusyError, match="run mine"),
            place.days_locked([D1], "third", wait_seconds=0, say=silent, axis=EVENT_DATE),
        ):
            pytest.fail("two runs have the same event date")


def test_a_run_that_cannot_have_all_its_days_has_none(place: Place) -> None:
    with held_by_another(place, "other", D2):
        with (
            pytest.raises(DayIsBusyError, match="2025-12-11"),
            place.days_locked([D3, D2, D1], "mine", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same day")
        with place.days_locked([D1, D3], "again", wait_seconds=0, say=silent):
            pass


def test_what_is_freed_is_free_at_once(place: Place) -> None:
    """A server that is left to find that a connection was closed holds its locks for a while."""
    for _ in range(100):
        locks = day_locks(place.url, place.folder, "a-run")
        assert locks.take(D1, 0)
        locks.close()


def test_locks_of_a_server_that_went_away_are_taken_again(postgres_url: str, tmp_path: Path) -> None:
    place = Place(postgres_url, tmp_path)
    with place.days_locked([D1, D2], "first", wait_seconds=1, say=silent) as keep:
        keep(D1)
        cut_off(postgres_url)
        keep(D2)
        keep(D1)
        with (
            pytest.raises(DayIsBusyError, match=f"{D1} is still being processed by run first"),
            place.days_locked([D1], "second", wait_seconds=0, say=silent),
        ):
            pass


def test_a_day_that_another_run_took_meanwhile_is_lost(postgres_url: str, tmp_path: Path) -> None:
    place = Place(postgres_url, tmp_path)
    with place.days_locked([D1, D2], "first", wait_seconds=1, say=silent) as keep:
        cut_off(postgres_url)
        with place.days_locked([D2], "second", wait_seconds=1, say=silent):
            keep(D1)
            with pytest.raises(DayIsBusyError, match=f"{D2} was lost to run second .* run the day again when"):
                keep(D2)


def test_a_session_that_the_server_did_not_see_end_is_ended(postgres_url: str) -> None:
    """A network drops a silent connection, and tells one side."""
    locks = PostgresLocks(postgres_url, "first")
    assert locks.take(D1, 0)
    before, locks._connection = locks._connection, locks._connection.engine.connect()
    assert not locks.take(D1, 0), "its own session of before has it"
    assert locks.are_lost()
    assert locks.take(D1, 0)
    assert not locks.are_lost()
    with pytest.raises(OperationalError):
        before.execute(text("SELECT 1"))
    before.close()
    locks.close()


def test_a_server_that_is_gone_twice_in_a_row_is_found_again(postgres_url: str) -> None:
    locks = PostgresLocks(postgres_url, "first")
    assert locks.take(D1, 0)
    for _ in range(2):
        cut_off(postgres_url)
        with pytest.raises(OperationalError):
            locks.take(D1, 0)
        assert locks.are_lost()
    assert locks.take(D1, 0)
    locks.close()


def cut_off(url: str) -> None:
    """End all other connections to a database, as a restart of its server does."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    others += "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with engine.connect() as connection:
        ended = connection.execute(text(others)).scalars().all()
    engine.dispose()
    assert ended
    assert all(ended)


def test_locks_are_freed_when_a_run_fails(place: Place) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        place.days_locked([D1], "mine", wait_seconds=0, say=silent),
    ):
        raise ZeroDivisionError
    with place.days_locked([D1], "again", wait_seconds=0, say=silent):
        pass


@pytest.fixture
def folder_place(tmp_path: Path) -> Place:
    """Locks in a folder, which have notes of who holds them."""
    return Place("sqlite://", tmp_path / "locks")


@pytest.mark.parametrize("content", ["", '{"run": "oth', "no json"])
def test_a_holder_that_cannot_be_read_is_another_run(content: str, folder_place: Place) -> None:
    """The note is for people; a torn one must not stop the wait or its message."""
    with held_by_another(folder_place, "other", D1):
        folder_place.note(D1).write_text(content)
        with (
            pytest.raises(DayIsBusyError, match="another run"),
            folder_place.days_locked([D1], "mine", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same day")


def test_the_note_names_the_last_holder(folder_place: Place) -> None:
    with folder_place.days_locked([D1], "mine", wait_seconds=0, say=silent):
        assert json.loads(folder_place.note(D1).read_text())["run"] == "mine"


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:s3cret@127.0.0.1:1/x", "sqlite://"])
def test_locks_that_cannot_be_reached_are_told_without_a_password(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocksUnreachableError, match="PIPELINE_LEDGER_URL") as caught:
        day_locks(url, tmp_path / "file" / "locks", "mine")
    assert "s3cret" not in str(caught.value)


# -- what is left of locks ----------------------------------------------------------------------------


def age(place: Place, *days: date) -> None:
    """Let the locks have been taken three days ago."""
    for path in [place.note(day).with_suffix(suffix) for day in days for suffix in (".lock", ".holder")]:
        os.utime(path, (time.time() - 72 * 3600,) * 2)


def test_locks_that_nobody_held_of_late_leave_nothing(folder_place: Place) -> None:
    with folder_place.days_locked([D1, D2, D3], "mine", wait_seconds=0, say=silent):
        pass
    with held_by_another(folder_place, "other", D2):
        age(folder_place, D1, D2)
        os.utime(folder_place.note(D3).with_suffix(".lock"), (0, 0))  # the file is as old as the first who held it
        before = sorted(folder_place.folder.rglob("*"))
        assert remove_unheld(folder_place.folder, 24, dry_run=True) == 1
        assert sorted(folder_place.folder.rglob("*")) == before
        assert remove_unheld(folder_place.folder, 24) == 1
        left = {path.name for path in folder_place.folder.glob("*/*")}
        assert left == {f"{day}.{kind}" for day in (D2, D3) for kind in ("lock", "holder")}
        with (
            pytest.raises(DayIsBusyError, match="run other"),
            folder_place.days_locked([D2], "mine", wait_seconds=0, say=silent),
        ):
            pytest.fail("two runs have the same day")
    assert remove_unheld(folder_place.folder / "none", 24) == 0


def test_who_waited_for_a_lock_whose_file_is_removed_holds_the_one_that_others_see(
    folder_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken while its files are about to go: it must not be held on a file that has no name."""
    with folder_place.days_locked([D1], "before", wait_seconds=0, say=silent):
        pass
    age(folder_place, D1)
    taken, other = threading.Event(), []
    really = Path.unlink

    def unlink_while_another_waits(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".lock":
            waiter = threading.Thread(target=wait_for_it)
            waiter.start()
            other.append(waiter)
            time.sleep(0.2)
        really(path, missing_ok=missing_ok)

    def wait_for_it() -> None:
        with folder_place.days_locked([D1], "waiter", wait_seconds=10, say=silent):
            taken.set()
            with (
                pytest.raises(DayIsBusyError, match="run waiter"),
                folder_place.days_locked([D1], "third", wait_seconds=0, say=silent),
            ):
                pytest.fail("two runs have the same day")

    monkeypatch.setattr(Path, "unlink", unlink_while_another_waits)
    assert remove_unheld(folder_place.folder, 24) == 1
    other[0].join()
    assert taken.is_set()
