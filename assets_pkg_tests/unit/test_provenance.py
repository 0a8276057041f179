"""A step's partitions stay while they are what it would make again: unchanged, untouched, by the same code."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS
from assets_pkg.contracts.tables import TABLES
from assets_pkg.steps import provenance
from assets_pkg.steps.activity import GATHER, JOIN, JUDGE, MEASURE, STAGES, Stage, refresh
from assets_pkg.steps.clean import clean
from assets_pkg.steps.known import know_customers
from assets_pkg.steps.provenance import built_from, inputs_of, is_built_from, is_current
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import Lake, PartitionWriter
from assets_pkg_tests.activities import ActivityBench, Event
from assets_pkg_tests.workbench import DAY, Workbench, customers_csv, days_from

NEXT = days_from(DAY, 2)[1]


# -- digests --------------------------------------------------------------------------------------------------


def digest(bench: Workbench, *more: str, sections: tuple[str, ...] = ("activity",)) -> str:
    """What is read of the customers of two days."""
    return inputs_of(bench.work, sections, {CUSTOMERS.raw: [DAY, NEXT]}, *more)


def test_inputs_are_the_partitions_the_policy_and_what_more_is_said(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"))
    bench.land(CUSTOMERS)
    found = [digest(bench)]
    found.append(digest(bench, "more"))
    found.append(digest(bench, sections=("activity", "values")))
    found.append(digest(bench.under({"activity": {"late_window_days": 1}})))
    bench.put("customers_raw.csv", customers_csv("c1", "c2"))
    bench.land(CUSTOMERS)
    found.append(digest(bench))
    bench.land(CUSTOMERS, NEXT)  # no row, but a partition, which is something else than none
    found.append(digest(bench))
    assert len(set(found)) == len(found)


def test_inputs_stay_when_what_is_not_read_changes(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"))
    bench.land(CUSTOMERS)
    before = digest(bench)
    assert digest(bench.under({"values": {"max_amount": 5}})) == before
    bench.land(EVENTS)
    bench.land(CUSTOMERS, days_from(DAY, 3)[2])
    assert digest(bench) == before


def test_what_is_built_from_the_same_by_other_code_is_not_current(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.work.lake.replace(CUSTOMERS.profile, DAY, built_from=built_from("inputs")):
        pass
    assert is_built_from(bench.work, CUSTOMERS.profile, DAY, "inputs")
    assert not is_built_from(bench.work, CUSTOMERS.profile, DAY, "input")
    assert is_current(bench.work, [CUSTOMERS.profile], DAY, "inputs")
    assert not is_current(bench.work, [CUSTOMERS.profile, CUSTOMERS.raw], DAY, "inputs"), "of none there is none"
    assert not is_current(replace(bench.work, verify=True), [CUSTOMERS.profile], DAY, "inputs")
    monkeypatch.setattr(provenance, "code_digest", lambda: "newer")
    assert is_built_from(bench.work, CUSTOMERS.profile, DAY, "inputs"), "by whatever version of the code"
    assert not is_current(bench.work, [CUSTOMERS.profile], DAY, "inputs")


def test_the_digest_of_the_code_changes_with_any_file_that_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "files", lambda _: tmp_path)
    deciding = {"policy/default.yaml", "policy/model.py", "contracts/a.py", "transforms/a.py", "storage/b/c.py", "steps/a.py"}  # fmt: skip
    other = {"orchestration/a.py", "cli/a.py", "steps/notes.md", "steps/__pycache__/a.pyc"}
    for name in deciding | other:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")

    def changes(name: str) -> bool:
        before = provenance.code_digest.__wrapped__()
        (tmp_path / name).write_text(f"after {name}")
        return bool(provenance.code_digest.__wrapped__() != before)

    assert {name for name in deciding | other if changes(name)} == deciding


# -- steps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A step and the tables it writes, all in one go."""

    tables: tuple[str, ...]
    do: Callable[[Workplace, date], Any]


STEPS = {
    "clean": Step((EVENTS.clean_table, EVENTS.quarantine, EVENTS.profile), lambda work, day: clean(work, EVENTS, day)),
    "known": Step(("customers_known",), know_customers),
    **{
        name: Step(tuple(table.name for table in stage.tables), stage.build)
        for name, stage in {"gather": GATHER, "join": JOIN, "measure": MEASURE, "judge": JUDGE}.items()
    },
}
EACH_STEP = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


@pytest.fixture
def built(tmp_path: Path) -> ActivityBench:
    """A day of which every partition was built."""
    bench = ActivityBench(tmp_path)
    bench.put("customers_raw.csv", customers_csv("c1"))
    bench.clean_feeds(DAY, (CUSTOMERS,))
    bench.bring(DAY, Event("a", f"{DAY}T10:00:00Z"), Event("b", f"{DAY}T10:10:00Z"), Event("c", "soon"))
    return bench


def lies(bench: Workbench) -> dict[str, list[str]]:
    """The data files of each table that the log names."""
    lake = bench.work.lake
    return {name: [file.location for file in lake.files(name, DAY)] for name in TABLES}


def rewritten(bench: Workbench, before: dict[str, list[str]]) -> set[str]:
    """The tables whose partition has other files than before."""
    return {name for name, files in lies(bench).items() if files != before[name]}


@EACH_STEP
def test_a_step_that_would_read_the_same_writes_nothing(built: ActivityBench, step: Step) -> None:
    before, commits = lies(built), built.commits()
    step.do(built.work, DAY)
    assert rewritten(built, before) == set()
    assert built.commits() == commits


@EACH_STEP
def test_a_step_is_done_anew_by_other_code(built: ActivityBench, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    before, versions = lies(built), {name: built.work.lake.version(name, DAY) for name in step.tables}
    monkeypatch.setattr(provenance, "code_digest", lambda: "newer")
    step.do(built.work, DAY)
    assert rewritten(built, before) == set(step.tables)
    partitions = {name: built.work.lake.partitions(name)[DAY] for name in step.tables}
    assert {each.built_from.partition(".")[2] for each in partitions.values()} == {"newer"}
    assert {name: each.version for name, each in partitions.items() if name != "restatements"} == {
        name: version for name, version in versions.items() if name != "restatements"
    }, "rows are as they were"


def test_other_code_alone_makes_no_event_date_stale(built: ActivityBench, monkeypatch: pytest.MonkeyPatch) -> None:
    # An upgrade must not restate all of history by itself: what is run again is made anew.
    monkeypatch.setattr(provenance, "code_digest", lambda: "newer")
    assert [stage.all_stale(built.work) for stage in STAGES] == [{}] * len(STAGES)


@EACH_STEP
def test_a_step_that_takes_nothing_on_trust_is_done_anew(
    built: ActivityBench, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rows are the same again, so only the writing shows it.
    made: list[str] = []
    real = Lake.replace

    def noted(lake: Lake, table: str, *arguments: Any, **named: Any) -> AbstractContextManager[PartitionWriter]:
        made.append(table)
        return real(lake, table, *arguments, **named)

    monkeypatch.setattr(Lake, "replace", noted)
    step.do(built.work, DAY)
    assert made == ([] if step is not STEPS["judge"] else ["activity_alerts"])  # a few rows are not worth a look first
    made.clear()
    step.do(replace(built.work, verify=True), DAY)
    assert sorted(made) == sorted(step.tables)


TAMPERED = {name: step for name, step in STEPS.items() if name != "measure"}  # which tells of what was restated


@pytest.mark.parametrize("step", TAMPERED.values(), ids=TAMPERED)
def test_a_partition_that_somebody_else_wrote_is_made_anew(built: ActivityBench, step: Step) -> None:
    lake = built.work.lake
    for table in step.tables:
        right = lake.partitions(table)[DAY]
        with lake.replace(table, DAY) as writer:
            writer.write(pl.DataFrame(schema=TABLES[table].schema))
        step.do(built.work, DAY)
        assert lake.partitions(table)[DAY] == right, table


REPLACE_TRUSTS_THE_LOG = (
    "Lake.replace discards what was built when the log says the same version and built_from, also when the data file "
    "is not there or broken: nothing heals the partition"
)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def _spoil(file: Path) -> None:
    """Other bytes, as many as before."""
    file.write_bytes(b"x" * file.stat().st_size)


@pytest.mark.parametrize("harm", [Path.unlink, _cut], ids=["deleted", "truncated"])
@EACH_STEP
def test_a_partition_whose_file_is_not_whole_is_made_anew(
    built: ActivityBench, step: Step, harm: Callable[[Path], None]
) -> None:
    lake = built.work.lake
    rows = {table: lake.scan(table, [DAY]).collect() for table in step.tables}
    harm(Path(lake.files(step.tables[0], DAY)[0].location))
    step.do(built.work, DAY)
    for table in step.tables:
        assert lake.is_whole(table, DAY)
        assert lake.scan(table, [DAY]).collect().equals(rows[table])


@pytest.mark.parametrize("step", [STEPS["clean"], STEPS["join"]], ids=["clean", "join"])
def test_a_partition_of_spoilt_bytes_is_made_anew_when_nothing_is_taken_on_trust(
    built: ActivityBench, step: Step
) -> None:
    lake = built.work.lake
    rows = lake.scan(step.tables[0], [DAY]).collect()
    _spoil(Path(lake.files(step.tables[0], DAY)[0].location))
    step.do(replace(built.work, verify=True), DAY)
    assert lake.scan(step.tables[0], [DAY]).collect().equals(rows)


def test_a_refresh_that_takes_nothing_on_trust_builds_what_its_days_touch(built: ActivityBench) -> None:
    assert refresh(built.work, [DAY]) == []
    assert refresh(replace(built.work, verify=True), [DAY]) == [DAY]


@pytest.mark.parametrize("stage", STAGES, ids=[stage.tables[0].name for stage in STAGES])
def test_a_lost_file_makes_its_date_stale(built: ActivityBench, stage: Stage) -> None:
    Path(built.work.lake.files(stage.tables[0].name, DAY)[0].location).unlink()
    assert list(stage.stale(built.work, [DAY])) == [DAY]
