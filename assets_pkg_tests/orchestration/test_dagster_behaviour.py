"""What the design leans on in Dagster itself; when an upgrade changes it, these fail before anything else does."""

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.test_utils import instance_for_test

from assets_pkg_tests.orchestration.pipeline import Result, evaluations, failed_steps, started_steps

DAYS = dg.DailyPartitionsDefinition("2025-12-01")
KEYS = ["2025-12-01", "2025-12-02", "2025-12-03"]
RANGE = {
    "dagster/asset_partition_range_start": KEYS[0],
    "dagster/asset_partition_range_end": KEYS[-1],
}


def run_range(defs: dg.Definitions, instance: dg.DagsterInstance) -> Result:
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, tags=RANGE, raise_on_error=False)


def whole_range(name: str, deps: Sequence[str] = ()) -> dg.AssetsDefinition:
    """An asset that does a range in one step, with a fact for each day."""

    @dg.asset(
        name=name,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=deps,
    )
    def each_day(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        for key in context.partition_keys:
            context.add_asset_metadata({"day": key}, asset_key=name, partition_key=key)
        return dg.MaterializeResult(asset_key=name)

    return each_day


def check_of(name: str, *, blocking_in_spec: bool, blocking_in_event: bool, bad: str) -> dg.AssetChecksDefinition:
    """A check that yields an event a day, and fails on one."""
    spec = dg.AssetCheckSpec("good", asset=name, partitions_def=DAYS, blocking=blocking_in_spec)

    @dg.multi_asset_check(specs=[spec])
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[AssetCheckEvaluation | dg.Output[None]]:
        for key in context.partition_keys:
            yield AssetCheckEvaluation(
                asset_key=dg.AssetKey(name),
                check_name="good",
                passed=key != bad,
                metadata={},
                blocking=blocking_in_event,
                partition=key,
            )
        yield dg.Output(None, output_name=spec.get_python_identifier())

    return checks


def test_a_resource_lives_as_long_as_the_run_under_the_in_process_executor() -> None:
    # The locks on a run's days are held by a resource.
    seen: list[str] = []

    @dg.resource
    def held(_: dg.InitResourceContext) -> Iterator[str]:
        seen.append("taken")
        yield "it"
        seen.append("freed")

    @dg.asset(required_resource_keys={"held"})
    def first() -> None:
        seen.append("first")

    @dg.asset(deps=[first], required_resource_keys={"held"})
    def second() -> None:
        seen.append("second")
        raise RuntimeError

    defs = dg.Definitions(assets=[first, second], resources={"held": held}, executor=dg.in_process_executor)
    job = defs.resolve_implicit_global_asset_job_def()
    assert not job.execute_in_process(raise_on_error=False).success
    assert seen == ["taken", "first", "second", "freed"]


def test_a_range_gives_a_materialization_a_day_with_the_days_own_metadata() -> None:
    with instance_for_test() as instance:
        assert run_range(dg.Definitions(assets=[whole_range("table")]), instance).success
        records = instance.fetch_materializations(dg.AssetKey("table"), limit=10).records
    facts = {}
    for record in records:
        assert record.asset_materialization is not None
        facts[record.partition_key] = record.asset_materialization.metadata["day"].value
    assert facts == {key: key for key in KEYS}


def test_an_evaluation_of_a_range_keeps_its_partition() -> None:
    checks = check_of("table", blocking_in_spec=False, blocking_in_event=False, bad=KEYS[1])
    with instance_for_test() as instance:
        result = run_range(dg.Definitions(assets=[whole_range("table")], asset_checks=[checks]), instance)
        key = dg.AssetCheckKey(dg.AssetKey("table"), "good")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    assert result.success
    assert {day: each.passed for (_, _, day), each in evaluations(result).items()} == {
        key: key != KEYS[1] for key in KEYS
    }
    assert {record.partition: record.status.value for record in history} == {
        KEYS[0]: "SUCCEEDED",
        KEYS[1]: "FAILED",
        KEYS[2]: "SUCCEEDED",
    }


@pytest.mark.parametrize("blocking_in_event", [True, False])
def test_blocking_in_the_event_is_what_stops_the_steps_that_follow(*, blocking_in_event: bool) -> None:
    checks = check_of("table", blocking_in_spec=True, blocking_in_event=blocking_in_event, bad=KEYS[2])
    assets = [whole_range("table"), whole_range("after", deps=["table"])]
    with instance_for_test() as instance:
        result = run_range(dg.Definitions(assets=assets, asset_checks=[checks]), instance)
    assert result.success is not blocking_in_event
    assert failed_steps(result) == (["checks"] if blocking_in_event else [])
    assert ("after" in started_steps(result)) is not blocking_in_event
