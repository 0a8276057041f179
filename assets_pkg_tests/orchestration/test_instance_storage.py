"""Dagster's SQLite files by our storage and by Dagster's own: the same events, also from several processes at once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from assets_pkg.orchestration import instance_storage
from assets_pkg.orchestration.instance_storage import EventLogWithKeptConnections
from assets_pkg_tests.orchestration.pipeline import QUIET
from assets_pkg_tests.workbench import ROOT

KEY = dg.AssetKey("table")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"of": context.partition_key})


@contextmanager
def instance_in(home: Path, *, ours: bool = True) -> Iterator[dg.DagsterInstance]:
    """An instance of its own process over the same files; its dagster.yaml is written once, not while others read it."""
    config = {"base_dir": str(home / "storage")}
    custom = {"module": instance_storage.__name__, "class": "SqliteStorage", "config": config}
    place = home / ("ours" if ours else "theirs")
    if not place.exists():
        place.mkdir(parents=True)
        storage = {"custom": custom} if ours else {"sqlite": config}
        (place / "dagster.yaml").write_text(json.dumps({"storage": storage, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(place)) as instance:
        yield instance


def run(instance: dg.DagsterInstance, partition: str) -> str:
    result = dg.materialize([table], instance=instance, partition_key=partition, run_config=QUIET)
    assert result.success
    return result.run_id


def made(instance: dg.DagsterInstance) -> list[str | None]:
    return [each.partition_key for each in instance.fetch_materializations(KEY, limit=1000, ascending=True).records]


def test_dagsters_own_storage_reads_what_ours_wrote_and_the_other_way_round(tmp_path: Path) -> None:
    with instance_in(tmp_path) as ours:
        assert isinstance(ours.event_log_storage, EventLogWithKeptConnections)
        first = run(ours, "a")
        events = [each.message for each in ours.all_logs(first)]
    with instance_in(tmp_path, ours=False) as theirs:
        assert not isinstance(theirs.event_log_storage, EventLogWithKeptConnections)
        assert [each.message for each in theirs.all_logs(first)] == events
        run(theirs, "b")
    with instance_in(tmp_path) as ours:
        assert made(ours) == ["a", "b"]


def test_both_at_once_see_each_other(tmp_path: Path) -> None:
    with instance_in(tmp_path) as ours, instance_in(tmp_path, ours=False) as theirs:
        for number in range(3):
            run(ours, "a")
            run(theirs, "b")
            assert made(ours) == made(theirs) == ["a", "b"] * (number + 1)


def test_databases_of_more_runs_than_are_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_storage, "_MOST_ENGINES", 2)
    with instance_in(tmp_path) as instance:
        ids = [run(instance, "a") for _ in range(5)]
        counts = {len(instance.all_logs(each)) for each in [*ids, *reversed(ids)]}
        assert len(counts) == 1
        assert min(counts) > 5
        log = instance.event_log_storage
        assert isinstance(log, EventLogWithKeptConnections)
        assert len(log._engines) == 2


def test_wiped_events_are_gone_and_new_ones_are_kept(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        first = run(instance, "a")
        instance.event_log_storage.wipe()
        assert (made(instance), instance.all_logs(first)) == ([], [])
        run(instance, "b")
        assert made(instance) == ["b"]


_WRITER = """
import sys
from pathlib import Path
from assets_pkg_tests.orchestration.test_instance_storage import instance_in, run
with instance_in(Path(sys.argv[1])) as instance:
    for _ in range(5):
        run(instance, sys.argv[2])
"""


def test_several_processes_lose_no_event(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        run(instance, "a")
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), partition], cwd=ROOT)
            for partition in ("a", "b")
        ]
        for _ in range(5):
            run(instance, "a")
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
        assert sorted(map(str, made(instance))) == ["a"] * 11 + ["b"] * 5
