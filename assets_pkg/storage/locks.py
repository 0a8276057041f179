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
# A connection that is silent for a whole step is not to be dropped on its way, nor taken for alive when it was.
_KEPT_ALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_NAME_BYTES: Final = 63  # what PostgreSQL keeps of an application's name

_OWN: Final = "SELECT pg_backend_pid()"
# The server may not have seen yet that a connection is gone, and hold its days. Ours is known by its name.
_END_OWN: Final = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE pid = :session AND application_name = current_setting('application_name')"
)


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
        engine = create_engine(url, connect_args=cut | _KEPT_ALIVE, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._connection = engine.connect()
        self._session = self._scalar(_OWN)

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
        for _ in range(2):  # the first time tells that the connection is gone, the second makes a new one
            with suppress(SQLAlchemyError):
                session = self._scalar(_OWN)
                if session == self._session:
                    return False
                self._scalar(_END_OWN, session=self._session)
                self._session = session
                return True
        return True  # the server does not answer: whether it is there again is for `take` to say

    def close(self) -> None:
        """Free all days."""
        # Said, as the server may take its time to see that a connection was closed.
        with suppress(SQLAlchemyError):
            self._scalar("SELECT pg_advisory_unlock_all()")
        self._connection.close()

    def _ask(self, question: str, day: date) -> Any:
        return self._scalar(question, kind=self._class, day=day.toordinal())

    def _scalar(self, question: str, **given: Any) -> Any:
        try:
            return self._connection.execute(text(question), given).scalar()
        except SQLAlchemyError:
            self._connection.rollback()  # or no new connection may be made
            raise


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
) -> Iterator[Callable[[date], None]]:
    """Hold every day's lock, waiting up to `wait_seconds` in all; gives what takes a day's again if it was lost.

    Days are taken in order, so two runs cannot wait for each other. Raises DayIsBusyError, and so does what is given.
    """
    patience_ends = time.monotonic() + wait_seconds
    wanted = sorted(set(days))
    lost: set[date] = set()

    def keep(day: date) -> None:
        if locks.are_lost():
            lost.update(wanted)
        if day in lost and not locks.take(day, 0):
            raise DayIsBusyError(
                f"{day} was lost to {locks.holder(day)}, as the connection to the locks on days broke. What was "
                "written until then stays; run the day again when the other has ended"
            )
        lost.discard(day)

    try:
        for day in wanted:
            if locks.take(day, 0):
                continue
            say(f"{day} is being processed by {locks.holder(day)}; waiting up to {wait_seconds:g} s for it to end")
            if not locks.take(day, max(0.0, patience_ends - time.monotonic())):
                raise DayIsBusyError(
                    f"{day} is still being processed by {locks.holder(day)} after {wait_seconds:g} s. "
                    "Nothing was changed by this run; start it again when the other has ended"
                )
        yield keep
    finally:
        locks.close()
