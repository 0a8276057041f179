"""What may be gone in a while is tried again, what will not is not."""

import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.orchestration import assets, bad_days
from assets_pkg.steps.raw import land_raw
from assets_pkg.steps.reports import raise_alerts
from assets_pkg.storage.ledger import Ledger, LedgerError
from assets_pkg.storage.locks import PostgresLocks
from assets_pkg.storage.transient import is_transient
from assets_pkg_tests.orchestration.pipeline import (
    HOURS,
    Pipeline,
    Result,
    good_day,
    instance_in_memory,
    pipeline_in,
    put_files,
)
from assets_pkg_tests.workbench import Workbench, days_from

DAYS = days_from(date(2025, 12, 10), 3)
BAD = DAYS[1]
RAW = {feed.raw for feed in FEEDS.values()}


def retried(result: Result) -> list[str]:
    """The steps that were tried again, as often as they were."""
    return [each.step_key or "" for each in result.all_events if each.event_type_value == "STEP_UP_FOR_RETRY"]


@contextmanager
def closed(url: str, outages: list[date]) -> Iterator[None]:
    """A database that for almost two seconds takes no connections, and lost those it had. It is the last of the outages."""
    outages.clear()
    name = make_url(url).database
    engine = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")

    def tell(*statements: str) -> None:
        with engine.connect() as admin:
            for statement in statements:
                admin.execute(text(statement))

    tell(
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    again = threading.Timer(1.8, tell, [f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"])
    again.start()
    try:
        yield
    finally:
        again.join()
        engine.dispose()


def before_raw(monkeypatch: pytest.MonkeyPatch, disturb: Callable[[date], Any]) -> None:
    """Do something before each day's raw files are read."""

    def land(work: Any, feed: Any, day: date) -> Any:
        disturb(day)
        return land_raw(work, feed, day)

    monkeypatch.setattr(assets, "land_raw", land)


def test_a_database_that_is_gone_for_a_moment_is_waited_for(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipeline_in(tmp_path / "undisturbed") as pipeline:
        for day in DAYS:
            put_files(pipeline.bench, day, good_day(day))
        assert pipeline.run(DAYS[0], DAYS[-1]).success
        expected = pipeline.versions()
    outages, are_held = [BAD], []

    def judged(work: Any, day: date) -> Any:
        others = PostgresLocks(postgres_url, "another")
        are_held.append(not others.take(day, 0))
        others.close()
        return raise_alerts(work, day)

    before_raw(monkeypatch, lambda day: day in outages and outage.enter_context(closed(postgres_url, outages)))
    monkeypatch.setattr(assets, "raise_alerts", judged)
    with instance_in_memory() as instance, ExitStack() as outage:
        pipeline = Pipeline(Workbench(tmp_path / "disturbed", ledger_url=postgres_url), instance)
        for day in DAYS:
            put_files(pipeline.bench, day, good_day(day))
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert result.success
        assert set(retried(result)) == RAW, "while one waits, the others come and wait too"
        assert pipeline.versions() == expected
        assert are_held == [True] * len(DAYS), "locks that went with the connection are taken again"


def test_what_stays_away_takes_its_day_out_after_some_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def disturb(day: date) -> None:
        if day == BAD:
            tries.append(day)
            raise OSError(errno.ESTALE, "Stale file handle")  # a share whose server does not answer

    before_raw(monkeypatch, disturb)
    monkeypatch.setattr(bad_days, "_WAIT_SECONDS", (0, 0))
    with pipeline_in(tmp_path) as pipeline:
        for day in DAYS:
            put_files(pipeline.bench, day, good_day(day))
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert not result.success
        assert Counter(retried(result)) == dict.fromkeys(RAW, 2)
        assert len(tries) == 3 + 2 + 2, "the first step to give up takes the day out for all"
        run = pipeline.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags[bad_days.FAILED_DAYS] == str(BAD)
        assert {day for table, day in pipeline.versions() if table == "alerts"} == {DAYS[0], DAYS[2]}


@pytest.mark.parametrize("landed", [True, False], ids=["a file that was read before", "a new file"])
def test_a_share_that_loses_a_raw_file_for_a_moment_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    monkeypatch.setattr(bad_days, "_WAIT_SECONDS", (0, 0, 0))
    opened, real = list[Path](), Path.open

    def flaky(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "events_raw.csv":
            opened.append(path)
            if len(opened) == 1:
                raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *arguments, **named)

    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, BAD, good_day(BAD))
        if landed:
            assert pipeline.run(BAD).success
            put_files(pipeline.bench, BAD, good_day(BAD))  # the folder entry is another
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", flaky)
            result = pipeline.run(BAD)
        assert result.success
        assert retried(result) == ["raw_events"]
        (file,) = pipeline.bench.files(FEEDS["events"], BAD)
        assert (file.status, file.records) == ("SUCCESS", HOURS)
        assert len(pipeline.bench.rows("events_clean", BAD)) == HOURS


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EISDIR])
def test_what_will_be_no_better_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def disturb(_day: date) -> None:
        raise OSError(number, "as the disk says")

    before_raw(monkeypatch, disturb)
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, BAD, good_day(BAD))
        result = pipeline.run(BAD, None, ["raw_customers"])
        assert (result.success, retried(result)) == (False, [])


def test_a_ledger_that_others_keep_locked_was_waited_for_already(tmp_path: Path, postgres_url: str) -> None:
    ledger = Ledger(postgres_url, wait_seconds=0.1)
    engine = create_engine(postgres_url)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE file_ledger IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(LedgerError, match="kept it locked") as refused:
            ledger.pending_days() or ledger.request_forgetting("a")
    assert not is_transient(refused.value)
    engine.dispose()
