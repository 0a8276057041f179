"""One run at a time for an ingest date, and for an event date, so that no day is ever a mixture of two runs.

The locks live where the ledger lives: as locked files beside an embedded one, as advisory locks in a PostgreSQL that
several machines share. Either way the operating system or the server frees them when their owner dies.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol

from filelock import FileLock, Timeout
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from assets_pkg.contracts.tables import EVENT_DATE
from assets_pkg.policy.columns import INGEST_DATE

_POLL_SECONDS: Final = 0.2
# Not of days: who tells news holds the lock on NEWS_DAY of it.
NEWS: Final = "news"
NEWS_DAY: Final = date.min
# The classes of our advisory locks, one for each axis; the object is the day's ordinal.
_CLASSES: Final = {INGEST_DATE: 7_301, EVENT_DATE: 7_302, NEWS: 7_303}
_NOTE: Final = ".holder"
_NAME_BYTES: Final = 63  # what PostgreSQL keeps of an application's name


class DayIsBusyError(RuntimeError):
    """Another run works on the day and did not end in time; the message names both."""


class LocksUnreachableError(RuntimeError):
    """No lock can be taken at all; the message says what to do."""


class DayLocks(Protocol):
    """The locks of one owner; closing frees them all."""

    def take(self, day: date, wait_seconds: float) -> bool:
        """Whether the day is ours now."""

    def holder(self, day: date) -> str:
        """Who holds the day, in words."""

    def are_lost(self) -> bool:
        """Whether days that were taken may be somebody else's by now."""

    def close(self) -> None:
        """Free all days."""


class FolderLocks:
    """Locks as files in a folder, for processes of one machine."""

    def __init__(self, folder: Path, owner: str, axis: str = INGEST_DATE) -> None:
        self._folder = folder / axis
        self._owner = owner
        self._held = ExitStack()
        self._folder.mkdir(parents=True, exist_ok=True)

    def take(self, day: date, wait_seconds: float) -> bool:
        """Whether the day is ours now."""
        try:
            self._held.enter_context(FileLock(self._folder / f"{day.isoformat()}.lock").acquire(timeout=wait_seconds))
        except Timeout:
            return False
        self._note(day).write_text(json.dumps({"run": self._owner, "process": os.getpid()}), encoding="utf-8")
        return True

    def holder(self, day: date) -> str:
        """Who holds the day, in words."""
        try:
            who = json.loads(self._note(day).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "another run"
        return f"run {who['run']} (process {who['process']})"

    def are_lost(self) -> bool:
        """Never: they are the operating system's, and end with this process."""
        return False

    def close(self) -> None:
        """Free all days."""
        self._held.close()

    def _note(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}{_NOTE}"


def remove_unheld(folder: Path, keep_hours: float, *, dry_run: bool = False) -> int:
    """Remove the files of folder locks that nobody holds, nor has held for so long; how many locks that were.

    Each is held while its files go; who waits for it then sees that its file is no longer there, and makes it anew.
    """
    since, removed = time.time() - keep_hours * 3600, 0
    for path in folder.glob("*/*.lock"):
        note = path.with_suffix(_NOTE)
        with suppress(Timeout, FileNotFoundError), FileLock(path).acquire(timeout=0):
            if (note if note.exists() else path).stat().st_mtime >= since:
                continue
            removed += 1
            if not dry_run:
                note.unlink(missing_ok=True)
                path.unlink()
    return removed


class PostgresLocks:
    """Advisory locks of a PostgreSQL server, for processes of any machine. Held by a connection of their own."""

    def __init__(self, url: str, owner: str, axis: str = INGEST_DATE) -> None:
        self._class = _CLASSES[axis]
        name = f"run {owner} (process {os.getpid()} on {socket.gethostname()})"
        cut = {"application_name": name.encode()[:_NAME_BYTES].decode("utf-8", "ignore")}
        engine = create_engine(url, connect_args=cut, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._connection = engine.connect()

    def take(self, day: date, wait_seconds: float) -> bool:
        """Whether the day is ours now."""
        patience_ends = time.monotonic() + wait_seconds
        while not self._ask("SELECT pg_try_advisory_lock(:kind, :day)", day):
            if time.monotonic() >= patience_ends:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def holder(self, day: date) -> str:
        """Who holds the day, in words."""
        who = self._ask(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.classid = :kind AND l.objid = :day AND l.granted",
            day,
        )
        return str(who or "another run")

    def are_lost(self) -> bool:
        """Whether the connection broke, and the server freed them. The next `take` is over a new one."""
        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            self._connection.rollback()  # or no new one may be made
            return True
        return False

    def close(self) -> None:
        """Free all days."""
        # Said, as the server may take its time to see that a connection was closed.
        with suppress(SQLAlchemyError):
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
        self._connection.close()

    def _ask(self, question: str, day: date) -> Any:
        return self._connection.execute(text(question), {"kind": self._class, "day": day.toordinal()}).scalar()


def day_locks(ledger_url: str, folder: Path, owner: str, axis: str = INGEST_DATE) -> DayLocks:
    """The locks on ingest dates, or on event dates, that go with a ledger. Raises LocksUnreachableError."""
    try:
        if make_url(ledger_url).get_backend_name() == "postgresql":
            return PostgresLocks(ledger_url, owner, axis)
        return FolderLocks(folder, owner, axis)
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise LocksUnreachableError(
            f"the locks on days cannot be reached: {str(error).splitlines()[0]}. Check PIPELINE_LEDGER_URL and that "
            "its server runs, or that the data folder can be written"
        ) from None


@contextmanager
def days_locked(
    locks: DayLocks, days: Iterable[date], *, wait_seconds: float, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Hold every day's lock, waiting up to `wait_seconds` in all; gives what takes them again if they were lost.

    Days are taken in order, so two runs cannot wait for each other. Raises DayIsBusyError, and so does what is given.
    """
    patience_ends = time.monotonic() + wait_seconds
    wanted = sorted(set(days))

    def take() -> None:
        for day in wanted:
            if locks.take(day, 0):
                continue
            say(f"{day} is being processed by {locks.holder(day)}; waiting up to {wait_seconds:g} s for it to end")
            if not locks.take(day, max(0.0, patience_ends - time.monotonic())):
                raise DayIsBusyError(
                    f"{day} is still being processed by {locks.holder(day)} after {wait_seconds:g} s. "
                    "Nothing was changed by this run; start it again when the other has ended"
                )

    are_lost = False

    def keep() -> None:
        nonlocal are_lost
        are_lost = are_lost or locks.are_lost()  # also when the server did not answer the last time
        for day in wanted if are_lost else ():
            if not locks.take(day, 0):
                raise DayIsBusyError(
                    f"{day} was lost to {locks.holder(day)}, as the connection to the locks on days broke. What was "
                    "written until then stays; run the day again when the other has ended"
                )
        are_lost = False

    try:
        take()
        yield keep
    finally:
        locks.close()
