"""What each notifier was told, in the ledger's database: a problem is one row until it is told to be over, and after.

A row is made before anything is sent and says so once it was: who dies in between leaves what is to be told.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection

from assets_pkg.storage.ledger import Ledger
from assets_pkg.transforms.notices import News, Notice, Problem

_METADATA: Final = MetaData()
NOTICES: Final = Table(
    "notices",
    _METADATA,
    Column("notifier", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("axis", String(16), nullable=False),
    Column("day", Date, nullable=False),
    Column("message", Text, nullable=False),
    Column("told_at", DateTime(timezone=True)),
    Column("recovered_at", DateTime(timezone=True)),
)
FAILURES: Final = Table(
    "notifier_failures",
    _METADATA,
    Column("notifier", String(255), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("try_again_at", Float, nullable=False),
)
_C: Final = NOTICES.c
_FIRST_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 3600.0


class Notices:
    """The tables `notices` and `notifier_failures`. Raises LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def open(self) -> dict[str, list[Notice]]:
        """By notifier: what has not been told to be over."""
        found: dict[str, list[Notice]] = {}
        with self._ledger.reading() as connection:
            for row in connection.execute(select(NOTICES).where(_C.recovered_at.is_(None)).order_by(_C.key)):
                problem = Problem(row.key, row.kind, row.severity, row.axis, row.day, row.message)
                found.setdefault(row.notifier, []).append(Notice(problem, row.told_at is not None))
        return found

    def enter(self, notifier: str, news: News) -> None:
        """Keep what is to be told, until it is `told`; forget what was withdrawn."""
        with self._ledger.transaction() as connection:
            _forget(connection, notifier, [*news.withdrawn, *news.new])
            if news.new:
                connection.execute(insert(NOTICES), [_row(notifier, each) for each in news.new])

    def told(self, notifier: str, news: News) -> None:
        """What was entered was told; the notifier works."""
        now = datetime.now(UTC)
        with self._ledger.transaction() as connection:
            _mark(connection, notifier, news.new, told_at=now)
            _mark(connection, notifier, news.recovered, recovered_at=now)
            connection.execute(delete(FAILURES).where(FAILURES.c.notifier == notifier))

    def failures(self) -> dict[str, float]:
        """By notifier that did not take its last message: when to try again, in seconds of the epoch."""
        with self._ledger.reading() as connection:
            return {row.notifier: row.try_again_at for row in connection.execute(select(FAILURES))}

    def failed(self, notifier: str) -> float:
        """A notifier did not take a message: when to try again. Pauses double, from a minute to an hour."""
        is_it = FAILURES.c.notifier == notifier
        with self._ledger.transaction() as connection:
            before: int = connection.scalar(select(FAILURES.c.failures).where(is_it)) or 0
            again = datetime.now(UTC).timestamp() + min(_FIRST_PAUSE * 2.0**before, _LONGEST_PAUSE)
            connection.execute(delete(FAILURES).where(is_it))
            connection.execute(insert(FAILURES).values(notifier=notifier, failures=before + 1, try_again_at=again))
        return again


def _row(notifier: str, problem: Problem) -> dict[str, Any]:
    return {
        "notifier": notifier,
        "key": problem.key,
        "kind": problem.kind,
        "severity": problem.severity,
        "axis": problem.axis,
        "day": problem.day,
        "message": problem.text,
    }


def _forget(connection: Connection, notifier: str, problems: Sequence[Problem]) -> None:
    for each in problems:
        connection.execute(delete(NOTICES).where(_C.notifier == notifier, _C.key == each.key))


def _mark(connection: Connection, notifier: str, problems: Iterable[Problem], **when: datetime) -> None:
    for each in problems:
        connection.execute(update(NOTICES).where(_C.notifier == notifier, _C.key == each.key).values(**when))
