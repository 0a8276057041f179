"""The ledger of raw files: what was found, read, skipped, refused (contract §6), in SQLite or PostgreSQL.

A file is PROCESSING from before its rows are written until after they are committed, so a crash shows and is taken
up by the next run of its day. Whose day must be processed again, because another file brought or gave up its
content, is PENDING. Every change of status is one transaction, and writers take turns.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Engine,
    Integer,
    MetaData,
    NullPool,
    RowMapping,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from assets_pkg.contracts.feeds import CUSTOMERS
from assets_pkg.contracts.files import PENDING, PROCESSING, SKIPPED, SUCCESS, FileRecord

_METADATA: Final = MetaData()
FILE_LEDGER: Final = Table(
    "file_ledger",
    _METADATA,
    Column("feed", String(32), primary_key=True),
    Column("ingest_date", Date, primary_key=True),
    Column("path", String(1024), primary_key=True),
    Column("content_sha256", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("record_count", BigInteger),
    Column("error_message", Text),
    Column("attempts", Integer, nullable=False),
    Column("discovered_at", DateTime(timezone=True), nullable=False),
    Column("processed_at", DateTime(timezone=True)),
    Column("run_id", String(64)),
    Column("duplicate_of", String(1024)),
    Column("absent_columns", Text, nullable=False),
    Column("unknown_columns", Text, nullable=False),
    Column("read_policy", String(32), nullable=False),
    Column("stamp", String(128), nullable=False),
    Column("forget_requested_at", DateTime(timezone=True)),
)
# A file stops to be PENDING when its day's raw rows are right; the day is done when all that follows is.
PENDING_DAY: Final = Table(
    "pending_day",
    _METADATA,
    Column("ingest_date", Date, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False),
)
_C: Final = FILE_LEDGER.c
_VERSIONS: Final = "file_ledger_version"
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_BACKENDS: Final = ("sqlite", "postgresql")
_WRITERS: Final = 7_301_001  # PostgreSQL advisory lock under which writers take turns
_MIGRATORS: Final = 7_301_002
_LOCK_NOT_AVAILABLE: Final = "55P03"  # PostgreSQL's error code


class LedgerError(RuntimeError):
    """The ledger cannot be used; the message names its URL (without a password) and what to do."""


class Ledger:
    """The table `file_ledger` in a database, which is made, or brought up to date, on opening.

    `wait_seconds`: how long to wait for another process that is writing. Raises LedgerError, from every method.
    """

    def __init__(self, url: str, wait_seconds: float = 30) -> None:
        self._shown = "(no valid URL)"
        self._wait = wait_seconds
        try:
            parsed = make_url(url)
            self._shown = parsed.render_as_string(hide_password=True)
            self._engine = self._connected(parsed)
            self._writing = self._engine.execution_options(writes=True)
            self._migrate(parsed)
        except (SQLAlchemyError, CommandError, OSError, ImportError, ValueError) as error:
            raise LedgerError(self._explained(error, "cannot be opened")) from None

    # -- reading ----------------------------------------------------------------------------------------

    def records(self, feed: str, day: date) -> list[FileRecord]:
        """The day's files, ordered by path."""
        return [_record(row) for row in self.entries(feed=feed, day=day)]

    def entries(
        self, feed: str | None = None, day: date | None = None, status: str | None = None, path: str | None = None
    ) -> list[RowMapping]:
        """Whole rows of the table, ordered by day, feed and path."""
        wanted = {_C.feed: feed, _C.ingest_date: day, _C.status: status, _C.path: path}
        chosen = select(FILE_LEDGER).where(*(column == value for column, value in wanted.items() if value is not None))
        with self.reading() as connection:
            rows = connection.execute(chosen).mappings().all()
        # Sorted here: a database sorts text by its own collation.
        return sorted(rows, key=lambda row: (row["ingest_date"], row["feed"], row["path"]))

    def holders(self, feed: str, day: date, digests: Collection[str]) -> list[FileRecord]:
        """The SUCCESS files of other days with some SHA-256; for customers none of another day counts."""
        if feed == CUSTOMERS.name:
            return []
        with self.reading() as connection:
            rows = _with_digests(connection, feed, digests)
        return [_record(row) for row in rows if row["ingest_date"] != day and row["status"] == SUCCESS]

    def row_counts(self, feed: str) -> dict[date, int | None]:
        """How many raw rows the ledger thinks each day has; None for a day that is being read."""
        found: dict[date, int | None] = {}
        counted = select(_C.ingest_date, _C.status, func.coalesce(func.sum(_C.record_count), 0).label("rows"))
        with self.reading() as connection:
            for row in connection.execute(counted.where(_C.feed == feed).group_by(_C.ingest_date, _C.status)):
                before = found.get(row.ingest_date, 0)
                found[row.ingest_date] = None if row.status == PROCESSING or before is None else before + int(row.rows)
        return found

    def pending_days(self) -> dict[date, datetime]:
        """The days that must be processed again, in order, and since when: until `day_done`."""
        with self.reading() as connection:
            rows = connection.execute(select(PENDING_DAY)).all()
        return {row.ingest_date: row.since for row in sorted(rows, key=lambda row: row.ingest_date)}

    # -- writing ----------------------------------------------------------------------------------------

    def start(self, feed: str, day: date, records: Iterable[FileRecord], run: str) -> None:
        """Take files for reading, all at once: PROCESSING, until `finish`.

        Refused with LedgerError when another run took one of them since these records were read.
        """
        with self.transaction() as connection:
            for record in records:
                self._take(connection, feed, day, record, run)

    def adopt(self, feed: str, day: date, records: Iterable[FileRecord], run: str) -> None:
        """Enter files that the raw table holds and the ledger does not know."""
        with self.transaction() as connection:
            for record in records:
                if connection.scalar(select(_C.path).where(*_key(feed, day, record.path))) is None:
                    _enter(connection, feed, day, record, {**_told(record), "attempts": 1, "run_id": run})

    def finish(
        self, feed: str, day: date, records: Sequence[FileRecord], run: str, gone: Collection[str] = ()
    ) -> list[date]:
        """Record how reading ended and which entries are `gone`, all at once; settle who holds which content.

        Gives the other days that must be processed again: their files are PENDING, the days are `pending_days`.
        """
        with self.transaction() as connection:
            for record in records:
                changed = connection.execute(
                    update(FILE_LEDGER)
                    .where(*_key(feed, day, record.path), _C.status == PROCESSING, _C.run_id == run)
                    .values(**_told(record))
                )
                if changed.rowcount != 1:
                    raise _taken(record.path)
            for path in gone:
                connection.execute(delete(FILE_LEDGER).where(*_key(feed, day, path)))
            touched = {record.path for record in records} | set(gone)
            return self._settle(connection, feed, day, touched)

    def day_done(self, day: date) -> None:
        """All of a day was processed; unless its files must be judged again by now, it is no longer pending."""
        if day in self.pending_days():
            with self.transaction() as connection:
                still = select(_C.path).where(_C.ingest_date == day, _C.status == PENDING)
                if connection.execute(still).first() is None:
                    connection.execute(delete(PENDING_DAY).where(PENDING_DAY.c.ingest_date == day))

    def request_forgetting(self, path: str) -> None:
        """Mark a vanished file whose rows are to go at the next run of its day."""
        with self.transaction() as connection:
            connection.execute(update(FILE_LEDGER).where(_C.path == path).values(forget_requested_at=datetime.now(UTC)))

    def stamp(self, feed: str, day: date, stamps: Mapping[str, str]) -> None:
        """Keep how folder entries look now, of files whose bytes were found unchanged."""
        with self.transaction() as connection:
            for path, stamp in stamps.items():
                connection.execute(update(FILE_LEDGER).where(*_key(feed, day, path)).values(stamp=stamp))

    def keep(self, feed: str, day: date, paths: Iterable[str]) -> None:
        """Take back requests to forget files: they came back."""
        with self.transaction() as connection:
            for path in paths:
                connection.execute(update(FILE_LEDGER).where(*_key(feed, day, path)).values(forget_requested_at=None))

    def _take(self, connection: Connection, feed: str, day: date, record: FileRecord, run: str) -> None:
        attempts = connection.scalar(select(_C.attempts).where(*_key(feed, day, record.path)))
        if (attempts or 0) != record.attempts:
            raise _taken(record.path)
        values = {
            **_bytes_of(record),
            "status": PROCESSING,
            "attempts": record.attempts + 1,
            "run_id": run,
            "stamp": "",
        }
        if attempts is not None:
            connection.execute(update(FILE_LEDGER).where(*_key(feed, day, record.path)).values(**values))
            return
        _enter(connection, feed, day, record, values)

    def _settle(self, connection: Connection, feed: str, day: date, touched: Collection[str]) -> list[date]:
        """Let the SUCCESS file with the smallest path hold each content that `touched` files of `day` have or had.

        A later holder, and a skipped file whose content nobody before it holds any more, become PENDING. Gives
        their days.
        """
        mine = connection.execute(select(FILE_LEDGER).where(_C.feed == feed, _C.ingest_date == day)).mappings().all()
        digests = {row["content_sha256"] for row in mine if row["path"] in touched}
        # What a touched file held before is known from the files that were skipped for it. (One that was to give way
        # to it names nobody; but its day is pending already, and judges it by what is there then.)
        for some in _chunks(sorted(touched)):
            freed = select(_C.content_sha256).where(_C.feed == feed, _C.duplicate_of.in_(some))
            digests |= set(connection.scalars(freed))
        by_content: dict[str, list[RowMapping]] = {}
        for row in _with_digests(connection, feed, digests):
            content = _record(row).content
            if content is not None and (feed != CUSTOMERS.name or row["ingest_date"] == day):
                by_content.setdefault(content, []).append(row)
        again = set()
        for rows in by_content.values():
            first = min((row["path"] for row in rows if row["status"] == SUCCESS), default=None)
            for row in rows:
                if values := _settled(row, first):
                    key = _key(feed, row["ingest_date"], row["path"])
                    connection.execute(update(FILE_LEDGER).where(*key).values(**values))
                if values.get("status") == PENDING:
                    again.add(row["ingest_date"])
        for other in again:
            connection.execute(delete(PENDING_DAY).where(PENDING_DAY.c.ingest_date == other))
            connection.execute(insert(PENDING_DAY).values(ingest_date=other, since=datetime.now(UTC)))
        return sorted(again)

    # -- the database -----------------------------------------------------------------------------------

    def _connected(self, url: URL) -> Engine:
        backend = url.get_backend_name()
        if backend not in _BACKENDS:
            raise ValueError(f"{backend} is none of {', '.join(_BACKENDS)}")
        if backend == "postgresql":
            given = url.query.get("options", "")
            timeout = f"{given if isinstance(given, str) else ' '.join(given)} -c lock_timeout={int(self._wait * 1000)}"
            engine = create_engine(url, poolclass=NullPool, connect_args={"options": timeout, "connect_timeout": 10})
            event.listen(engine, "begin", _take_turns_in_postgresql)
            return engine
        if url.database in (None, "", ":memory:"):
            raise ValueError("a ledger in memory would forget everything")
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": self._wait, "isolation_level": None})
        event.listen(engine, "begin", _take_turns_in_sqlite)
        return engine

    def _migrate(self, url: URL) -> None:
        """Bring the tables to what this code knows; several processes may start at once."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["version_table"] = _VERSIONS
        newest = ScriptDirectory.from_config(config).get_current_head()
        if self._revision() == newest:
            return
        if url.get_backend_name() == "sqlite":
            # SQLite refuses, without waiting, to be put into WAL mode by two at once.
            with FileLock(f"{url.database}.lock", timeout=self._wait):
                with self._engine.connect() as connection:
                    connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
                self._upgrade(config)
        else:
            self._upgrade(config)

    def _revision(self) -> str | None:
        with self._engine.connect() as connection:
            return MigrationContext.configure(connection, opts={"version_table": _VERSIONS}).get_current_revision()

    def _upgrade(self, config: Config) -> None:
        with self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATORS})")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read its database. What goes wrong there is a LedgerError."""
        return self._told_of_faults(self._engine.connect, "cannot be read")

    def transaction(self) -> AbstractContextManager[Connection]:
        """A connection whose changes are kept together or not at all; writers take turns."""
        return self._told_of_faults(self._writing.begin, "cannot be written")

    @contextmanager
    def _told_of_faults(
        self, connected: Callable[[], AbstractContextManager[Connection]], what: str
    ) -> Iterator[Connection]:
        try:
            with connected() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(self._explained(error, what)) from None

    def _explained(self, error: Exception, what: str) -> str:
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
        reason = said[0] if said else type(error).__name__
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        if "database is locked" in reason or getattr(cause, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
            advice = f"Another process has kept it locked for {self._wait:g} s; nothing was changed, run the day again"
        elif "disk is full" in reason:
            advice = "Make room on its disk; nothing was changed, run the day again"
        elif "Can't locate revision" in reason:
            advice = "It was made by a newer version of this software; use that one"
        else:
            advice = "Check PIPELINE_LEDGER_URL, that the database runs, and that its driver is installed"
        return f"the file ledger at {self._shown} {what}: {reason}. {advice}"


def _taken(path: str) -> LedgerError:
    return LedgerError(f"another run took {path} while this one was at it; nothing is lost, run the day again")


def is_there(url: str) -> bool:
    """Whether there is a ledger to be opened; opening makes one. A server, or a wrong URL, is for opening to judge."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        return True
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


def _settled(row: RowMapping, first: str | None) -> dict[str, Any]:
    """What changes in the row of a content whose holder is `first`."""
    is_later = row["status"] == SUCCESS and row["path"] != first
    is_skipped = row["status"] == SKIPPED
    is_free = is_skipped and (first is None or first > row["path"])
    if is_later or is_free:
        return {"status": PENDING}
    return {"duplicate_of": first} if is_skipped and row["duplicate_of"] != first else {}


def _enter(connection: Connection, feed: str, day: date, record: FileRecord, values: Mapping[str, Any]) -> None:
    """Make a row for a file. What `values` leaves out has the defaults that its migration gave the columns."""
    row = {**_bytes_of(record), **values, "feed": feed, "ingest_date": day, "path": record.path}
    connection.execute(insert(FILE_LEDGER).values(**row, discovered_at=datetime.now(UTC)))


def _bytes_of(record: FileRecord) -> dict[str, Any]:
    return {"content_sha256": record.content_sha256, "bytes": record.bytes}


def _told(record: FileRecord) -> dict[str, Any]:
    """What reading a file has told, as the table holds it."""
    return {
        "status": record.status,
        "record_count": record.records if record.status == SUCCESS else None,
        "error_message": record.error,
        "processed_at": datetime.now(UTC),
        "duplicate_of": record.duplicate_of,
        "absent_columns": json.dumps(record.absent_columns),
        "unknown_columns": json.dumps(record.unknown_columns),
        "read_policy": record.read_policy,
        "stamp": record.stamp,
    }


def _record(row: RowMapping) -> FileRecord:
    return FileRecord(
        path=row["path"],
        content_sha256=row["content_sha256"],
        bytes=row["bytes"],
        status=row["status"],
        records=row["record_count"] or 0,
        error=row["error_message"],
        absent_columns=tuple(json.loads(row["absent_columns"])),
        unknown_columns=tuple(json.loads(row["unknown_columns"])),
        read_policy=row["read_policy"],
        duplicate_of=row["duplicate_of"],
        stamp=row["stamp"],
        attempts=row["attempts"],
        forget=row["forget_requested_at"] is not None,
    )


def _key(feed: str, day: date, path: str) -> tuple[ColumnElement[bool], ...]:
    return _C.feed == feed, _C.ingest_date == day, _C.path == path


def _with_digests(connection: Connection, feed: str, digests: Collection[str]) -> list[RowMapping]:
    """The feed's rows with some SHA-256."""
    found: list[RowMapping] = []
    for some in _chunks(sorted(set(digests) - {""})):
        chosen = select(FILE_LEDGER).where(_C.feed == feed, _C.content_sha256.in_(some))
        found.extend(connection.execute(chosen).mappings())
    return found


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Some values at a time: databases bound the number of parameters."""
    return (values[at : at + 500] for at in range(0, len(values), 500))


def _take_turns_in_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another wrote in between; so writers say so.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _take_turns_in_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("writes"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
