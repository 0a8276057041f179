"""The ledger of raw files: what was found, read, refused (contract §6). SQLite by default, any SQLAlchemy URL.

A file is PROCESSING from before its rows are written until after they are committed, so a crash shows.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from assets_pkg.contracts.files import PROCESSING, SUCCESS, FileRecord

_META: Final = MetaData()
FILE_LEDGER: Final = Table(
    "file_ledger",
    _META,
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
)


class LedgerError(RuntimeError):
    """The ledger cannot be reached; the message names its URL (without a password) and what to do."""


class Ledger:
    """The table `file_ledger` in a database. The table is made on first use."""

    def __init__(self, url: str) -> None:
        shown = "(no valid URL)"
        try:
            parsed = make_url(url)
            shown = parsed.render_as_string(hide_password=True)
            is_sqlite = parsed.get_backend_name() == "sqlite"
            if is_sqlite and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(parsed)
            if is_sqlite:
                event.listen(self._engine, "connect", _prepare_sqlite)
            with self._engine.begin() as connection:
                # Not create_all: it looks first, and of two processes that look at once one would fail.
                connection.execute(CreateTable(FILE_LEDGER, if_not_exists=True))
        except (SQLAlchemyError, OSError, ImportError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise LedgerError(
                f"the file ledger at {shown} cannot be opened: {str(reason).strip()}. Check PIPELINE_LEDGER_URL, that "
                "the database runs, and that its driver is installed"
            ) from None

    def records(self, feed: str, day: date) -> list[FileRecord]:
        """The day's files, ordered by path."""
        of_day = select(FILE_LEDGER).where(FILE_LEDGER.c.feed == feed, FILE_LEDGER.c.ingest_date == day)
        with self._engine.connect() as connection:
            rows = connection.execute(of_day.order_by(FILE_LEDGER.c.path)).mappings().all()
        return [
            FileRecord(
                path=row["path"],
                content_sha256=row["content_sha256"],
                bytes=row["bytes"],
                status=row["status"],
                records=row["record_count"] or 0,
                error=row["error_message"],
                absent_columns=tuple(json.loads(row["absent_columns"])),
                unknown_columns=tuple(json.loads(row["unknown_columns"])),
                read_policy=row["read_policy"],
            )
            for row in rows
        ]

    def start(self, feed: str, day: date, records: Iterable[FileRecord], run: str) -> None:
        """Mark files as being read, all at once; from now until `finish` a crash leaves PROCESSING."""
        with self._engine.begin() as connection:
            for record in records:
                self._start_one(connection, feed, day, record, run)

    def finish(self, feed: str, day: date, records: Sequence[FileRecord], run: str) -> None:
        """Record how reading ended, all at once."""
        with self._engine.begin() as connection:
            for record in records:
                connection.execute(
                    update(FILE_LEDGER)
                    .where(*_key(feed, day, record.path))
                    .values(
                        status=record.status,
                        record_count=record.records if record.status == SUCCESS else None,
                        error_message=record.error,
                        processed_at=datetime.now(UTC),
                        run_id=run,
                        absent_columns=json.dumps(record.absent_columns),
                        unknown_columns=json.dumps(record.unknown_columns),
                        read_policy=record.read_policy,
                    )
                )

    def forget(self, feed: str, day: date, paths: Iterable[str]) -> None:
        """Remove entries of files that never gave a row and are gone."""
        with self._engine.begin() as connection:
            for path in paths:
                connection.execute(delete(FILE_LEDGER).where(*_key(feed, day, path)))

    def _start_one(self, connection: Connection, feed: str, day: date, record: FileRecord, run: str) -> None:
        attempts = connection.scalar(select(FILE_LEDGER.c.attempts).where(*_key(feed, day, record.path)))
        values = {
            "content_sha256": record.content_sha256,
            "bytes": record.bytes,
            "status": PROCESSING,
            "attempts": (attempts or 0) + 1,
            "run_id": run,
        }
        if attempts is not None:
            connection.execute(update(FILE_LEDGER).where(*_key(feed, day, record.path)).values(**values))
            return
        connection.execute(
            insert(FILE_LEDGER).values(
                feed=feed,
                ingest_date=day,
                path=record.path,
                discovered_at=datetime.now(UTC),
                absent_columns="[]",
                unknown_columns="[]",
                read_policy="",
                **values,
            )
        )


def _key(feed: str, day: date, path: str) -> tuple[ColumnElement[bool], ...]:
    columns = FILE_LEDGER.c
    return columns.feed == feed, columns.ingest_date == day, columns.path == path


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()
