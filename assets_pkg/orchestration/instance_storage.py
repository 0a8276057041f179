"""Dagster's own SQLite storage, with its connections kept.

For every statement on events Dagster makes a database engine, which asks the database about itself, compiles the
statement anew and, as it closes the last connection, writes the log of changes back. That is most of the time of a run
over small days. The files are the very same: either storage may be used on them at any time, also at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, StaticPool

_MOST_ENGINES: Final = 16  # each run has a database of its own, beside the one of all


class EventLogWithKeptConnections(SqliteEventLogStorage):
    """Events of runs. One connection to each of the databases used last; one thread at a time has it."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[tuple[int, str], Engine] = {}  # those used last come last
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            key = os.getpid(), shard  # a process that was forked must not use its parent's
            engine = self._engines.pop(key, None) or self._new(shard)
            self._engines[key] = engine
            while len(self._engines) > _MOST_ENGINES:
                self._engines.pop(next(iter(self._engines))).dispose()
            with engine.connect() as connection, connection.begin():
                yield connection

    def _new(self, shard: str) -> Engine:
        timeout = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
        engine = create_engine(self.conn_string_for_shard(shard), poolclass=StaticPool, connect_args=timeout)
        self._initdb(engine)
        return engine

    def wipe(self) -> None:
        """Delete all events, and their databases."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().wipe()


class SqliteStorage(DagsterSqliteStorage):
    """Runs, events, schedules and sensors in SQLite files below `base_dir`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLogWithKeptConnections(self._event_log_storage._base_dir)  # noqa: SLF001

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """As `dagster.yaml` tells."""
        return cls.from_local(inst_data=inst_data, **config_value)
