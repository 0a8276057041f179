"""What a check found, told to Dagster for every partition on its own, also in runs over a range of days."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from assets_pkg.orchestration.metadata import frame
from assets_pkg.orchestration.partitions import days_of_run
from assets_pkg.orchestration.workplace import WORKPLACE, bad_days_of, only_stale, workplace_of
from assets_pkg.steps.evidence import evidence
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import Judgement

_STATE = "state of the tables judged"
_MOST_FAILURES = 1_000
Evaluations = Iterator[AssetCheckEvaluation | dg.Output[None]]


@dataclass(frozen=True)
class Verdict:
    """What a check found on one day: one sentence on what to look at and do, and the numbers.

    `final`: the same tables would give the same verdict.
    """

    passed: bool
    sentence: str
    facts: Mapping[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    final: bool = True


@dataclass(frozen=True)
class Check:
    """A check and how it is judged, a day at a time.

    `state`: for a check that reads much, a digest of all that its verdict depends on; it is judged once for each.
    In a run over what is stale, days are judged that the run made; of `follows`, where that is another asset than the
    check's; and the days `beside` them.
    """

    spec: dg.AssetCheckSpec
    judge: Callable[[Workplace, date], Verdict]
    state: Callable[[Workplace, date], str] | None = None
    follows: str | None = None
    beside: bool = False


def multi_check(name: str, checks: Sequence[Check]) -> dg.AssetChecksDefinition:
    """One step for some checks. In a run over what is stale, only days that it made are judged."""

    @dg.multi_asset_check(
        name=name,
        specs=[check.spec for check in checks],
        required_resource_keys={WORKPLACE},
        can_subset=True,
    )
    def judge_all(context: dg.AssetCheckExecutionContext) -> Evaluations:
        work, log = workplace_of(context), EventLog(context)
        for check in checks:
            if check.spec.key in context.op_execution_context.selected_asset_check_keys:
                days = log.days(work, check.spec.asset_key.to_user_string())
                for day in log.due(check, work, days) if only_stale(context) else days:
                    yield from log.said(check.spec, day, partial(log.judged, check, work, day))
                yield done(check.spec)
        log.tell()

    return judge_all


def verdict_of(work: Workplace, judgement: Judgement, day: date) -> Verdict:
    """What an alert rule says of a day, as a check: for people to look at, however severe; it stops nothing.

    If it fired, with what the numbers come from.
    """
    sentence = f"{judgement.message}. {judgement.spec.advice}" if judgement.fired else f"{judgement.message}."
    # What is told of each file stands in the table of files.
    facts = {name: _fact(value) for name, value in judgement.details.items() if not isinstance(value, dict)}
    facts["severity of the alert"] = judgement.severity
    if judgement.fired:
        facts |= {what: frame(rows) for what, rows in evidence(work, judgement, day).items()}
    return Verdict(not judgement.fired, sentence, facts, dg.AssetCheckSeverity.WARN)


def _fact(value: Any) -> Any:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else value


class EventLog:
    """Turns verdicts into events of their day's partition: a plain AssetCheckResult would lose the day in a range."""

    def __init__(self, context: dg.AssetCheckExecutionContext) -> None:
        self._context = context
        self._instance = context.instance
        self._run = context.run.run_id
        self.run_days = days_of_run(dict(context.run.tags))
        self._bad_days = bad_days_of(context)
        self._judged: dict[tuple[dg.AssetKey, date], AssetCheckEvaluationTargetMaterializationData | None] = {}

    def days(self, work: Workplace, table: str) -> list[date]:
        """Those of the step's days that did not go wrong before.

        In a run of no days, as *Execute all* in the web UI starts it, the newest of the table.
        """
        if self.run_days:
            return self._bad_days.left(self._context)
        return sorted(work.lake.partitions(table))[-1:]

    def said(self, spec: dg.AssetCheckSpec, day: date, judge: Callable[[], Verdict]) -> Evaluations:
        """What a check says of a day, if it can."""
        if not self.run_days:
            yield from self.evaluated(spec, day, judge())
            return
        with self._bad_days.attempt(self._context, day):
            yield from self.evaluated(spec, day, judge())

    def evaluated(self, spec: dg.AssetCheckSpec, day: date, verdict: Verdict) -> Evaluations:
        """A verdict as an event.

        `blocking` in the event, not in the spec alone, is what stops the steps that follow; for all days. So in a run
        over many it is not there, and a day that the check blocks is taken out of the run.
        """
        is_alone = len(self.run_days) <= 1
        yield self._evaluation(spec, day, verdict, blocking=spec.blocking and is_alone)
        if spec.blocking and not verdict.passed and not is_alone:
            self._bad_days.add(self._context, day, f"check {spec.name}: {verdict.sentence}")

    def tell(self) -> None:
        """The step has ended."""
        self._bad_days.tell(self._context)

    def judged(self, check: Check, work: Workplace, day: date) -> Verdict:
        """The check's verdict: what it said of the same state of its tables, or a new one."""
        state = check.state(work, day) if check.state else None
        verdict = self._said_of(check.spec, day, state) if state and not work.verify else None
        if verdict is None:
            verdict = check.judge(work, day)
            if state and verdict.final:
                verdict = replace(verdict, facts={**verdict.facts, _STATE: state})
        return verdict

    def due(self, check: Check, work: Workplace, days: Sequence[date]) -> list[date]:
        """Of a run over what is stale: the days that it made, and those that nobody has found sound as they are.

        The check failed of them, or its run died before it.
        """
        made = set(self.made_here(check, days))
        return [day for day in days if day in made or self._is_open(check, work, day)]

    def _is_open(self, check: Check, work: Workplace, day: date) -> bool:
        if check.state is None or work.lake.version(check.spec.asset_key.to_user_string(), day) is None:
            return False
        said = self._said(check.spec, day)
        return said is None or not said.passed or not _is_of(said, check.state(work, day))

    def made_here(self, check: Check, days: Sequence[date]) -> list[date]:
        """Those of the days that the check follows in this run, and that have the check's asset at all."""
        asset = dg.AssetKey(check.follows) if check.follows else check.spec.asset_key
        made = {day for day in days if (last := self._materialization(asset, day)) and last.run_id == self._run}
        around = {day + timedelta(days=shift) for day in made for shift in (-1, 0, 1)} if check.beside else made
        return [day for day in days if day in around and self._materialization(check.spec.asset_key, day)]

    def has_said(self, spec: dg.AssetCheckSpec, day: date, verdict: Verdict) -> bool:
        """Whether the check said the same when it last spoke of the day. One that never did has passed in silence."""
        said = self._said(spec, day)
        if said is None:
            return verdict.passed
        return (said.passed, said.description) == (verdict.passed, verdict.sentence)

    def _said_of(self, spec: dg.AssetCheckSpec, day: date, state: str) -> Verdict | None:
        said = self._said(spec, day)
        if said is None or not _is_of(said, state):
            return None
        return Verdict(said.passed, said.description or "", said.metadata, said.severity)

    def _said(self, spec: dg.AssetCheckSpec, day: date) -> AssetCheckEvaluation | None:
        return _last(self._instance, spec.key, day)

    def _evaluation(
        self, spec: dg.AssetCheckSpec, day: date, verdict: Verdict, *, blocking: bool
    ) -> AssetCheckEvaluation:
        return AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=verdict.passed,
            severity=verdict.severity,
            description=verdict.sentence,
            metadata=dict(verdict.facts),
            blocking=blocking,
            partition=day.isoformat(),
            target_materialization_data=self._materialization(spec.asset_key, day),
        )

    def _materialization(self, asset: dg.AssetKey, day: date) -> AssetCheckEvaluationTargetMaterializationData | None:
        """The partition's latest materialization: without it the UI does not count the check for the partition."""
        if (asset, day) not in self._judged:
            of_day = dg.AssetRecordsFilter(asset, asset_partitions=[day.isoformat()])
            found = self._instance.fetch_materializations(of_day, limit=1).records
            self._judged[asset, day] = (
                AssetCheckEvaluationTargetMaterializationData(
                    storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp
                )
                if found
                else None
            )
        return self._judged[asset, day]


def failing_days(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> list[date]:
    """The days that a check failed last, in order; among its last 1,000 failures."""
    failures = instance.event_log_storage.get_asset_check_execution_history(
        check, limit=_MOST_FAILURES, status={AssetCheckExecutionRecordStatus.FAILED}
    )
    days = {date.fromisoformat(each.partition) for each in failures if each.partition}
    return [day for day in sorted(days) if (said := _last(instance, check, day)) and not said.passed]


def _last(instance: dg.DagsterInstance, check: dg.AssetCheckKey, day: date) -> AssetCheckEvaluation | None:
    """What a check said of a day when it last came to an end."""
    ended = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    before = instance.event_log_storage.get_asset_check_execution_history(
        check, limit=1, status=ended, partition_filter=PartitionKeyFilter(key=day.isoformat())
    )
    event = before[0].event.dagster_event if before and before[0].event else None
    if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    said: AssetCheckEvaluation = event.asset_check_evaluation_data
    return said


def _is_of(said: AssetCheckEvaluation, state: str) -> bool:
    return said.metadata.get(_STATE) == dg.MetadataValue.text(state)


def done(spec: dg.AssetCheckSpec) -> dg.Output[None]:
    """What a step yields for a check whose evaluations were told, each for its day."""
    return dg.Output(None, output_name=spec.get_python_identifier())
