"""Event dates refresh by themselves: whatever the tables' logs say is out of date is requested.

The condition looks at the lake and not at events: an update that came while a run was going on, whose event was lost,
or that nobody told Dagster of (a restored backup, a killed process) is seen like any other, on the next tick.
"""

import json
from datetime import date, timedelta
from typing import Any, Final

import dagster as dg
from dagster import AutomationCondition as Condition
from dagster import AutomationContext, AutomationResult
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._record import copy

from assets_pkg.contracts.tables import ACTIVITY_TABLES
from assets_pkg.orchestration.partitions import partition_tags, runs_of
from assets_pkg.orchestration.workplace import ONLY_STALE
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.activity import Stage
from assets_pkg.steps.provenance import digest_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.windows import changed_by

REFRESH: Final = "refresh_event_dates"
_TRY_AGAIN: Final = timedelta(hours=1)
_TICK_SECONDS: Final = 15


class Stale(Condition[dg.AssetKey]):
    """True for event dates whose partition is not built from what lies in the lake now.

    The same state is requested once; if its run fails, again after an hour, or when anything changes: what the date is
    to be built from, or what is there (a run may have built it from what was there for a moment).
    """

    def __init__(self, stage: Stage, settings: Settings, policy: Policy) -> None:
        self._stage = stage
        self._settings = settings
        self._policy = policy

    @property
    def description(self) -> str:
        """What the UI says of it."""
        return "Not built from what lies in the lake now"

    @property
    def name(self) -> str:
        """What the UI calls it."""
        return "stale_in_lake"

    def evaluate(self, context: AutomationContext[dg.AssetKey]) -> AutomationResult[dg.AssetKey]:
        """The candidates that are stale. Those that stood in the way of a request are seen again on the next tick."""
        work = Workplace(self._settings, self._policy, frozen=True)
        stale = {day.isoformat(): self._state(work, day, to) for day, to in self._stage.all_stale(work).items()}
        asked: dict[str, tuple[str, float]] = json.loads(context.cursor or "{}")
        now = context.evaluation_time.timestamp()
        too_early = {
            day
            for day, (state, at) in asked.items()
            if stale.get(day) == state and now - at < _TRY_AGAIN.total_seconds()
        }
        days = context.partitions_def
        wanted = {day for day in stale.keys() - too_early if days is not None and days.has_partition_key(day)}
        requested = context.candidate_subset.compute_intersection_with_partition_keys(wanted)
        keys = requested.expensively_compute_partition_keys()
        asked = {day: asked[day] for day in too_early} | {day: (stale[day], now) for day in keys}
        return AutomationResult(context, requested, cursor=json.dumps(asked, sort_keys=True))

    def _state(self, work: Workplace, day: date, inputs: str) -> str:
        """A digest of what a date is to be built from, and of what its partitions are now."""
        there = [work.lake.partition(table.name, day) for table in self._stage.tables]
        return digest_of([f"{inputs} {there}"])


def stale_by(stage: Stage, settings: Settings, policy: Policy) -> Condition[dg.AssetKey]:
    """What makes a stage's assets refresh: they are stale, and nobody is at work on them or on what they are made from.

    `Stale` stands last: what it finds is what is requested.
    """
    return (~Condition.in_progress() & ~Condition.any_deps_in_progress() & Stale(stage, settings, policy)).with_label(
        "stale and nobody at work on it"
    )


class RefreshSensor(dg.AutomationConditionSensorDefinition):
    """What the conditions request on a tick, as runs of all stages over stretches of dates.

    Left to Dagster, each stage would be a backfill, which takes a minute to begin and to be seen as ended. Such a run
    brings every date up to date that the requested ones can change, and leaves alone what is.
    """

    def __init__(self, name: str, policy: Policy, **arguments: Any) -> None:
        """`arguments`: those of the sensor that Dagster makes."""
        super().__init__(name, **arguments)
        self._policy = policy

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """The conditions' own verdicts and cursor; only the runs are others."""
        told = super().evaluate_tick(context)
        asked = {each for request in told.run_requests or () for each in _dates(request)}
        if not asked or context.repository_def is None or not told.run_requests:
            return told
        tables = [dg.AssetKey(name) for name in ACTIVITY_TABLES]
        days = context.repository_def.asset_graph.get(tables[0]).partitions_def
        runs = runs_of(
            each for each in changed_by(self._policy, asked) if days is None or days.has_partition_key(str(each))
        )
        own = {**dg.DagsterRun.tags_for_sensor(self), ONLY_STALE: "true"}
        requests = [
            dg.RunRequest(
                job_name=told.run_requests[0].job_name,
                asset_selection=tables,
                partition_key=run.key,
                tags={**own, **run.tags, **(partition_tags(run.key) if run.key else {})},
            )
            for run in runs
        ]
        return copy(told, run_requests=requests)


def _dates(request: dg.RunRequest) -> set[date]:
    """The dates that a request of the conditions is about: several are asked for as a backfill."""
    subset = request.asset_graph_subset
    keys = {each.partition_key for each in subset.iterate_asset_partitions()} if subset else {request.partition_key}
    return {date.fromisoformat(key) for key in keys if key}


def build_refresh_sensor(assets: dg.AssetSelection, policy: Policy) -> dg.AutomationConditionSensorDefinition:
    """Asks the conditions, in the code server, where the lake can be looked at."""
    return RefreshSensor(
        REFRESH,
        policy,
        target=assets,
        use_user_code_server=True,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=_TICK_SECONDS,
        description="Refreshes the event dates that new or changed clean events touch, and no others.",
    )
