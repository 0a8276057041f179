"""Asset checks, judged for every partition on its own, also in runs over a range of days.

Blocking checks (conservation, schema) mean "the pipeline itself is wrong" and stop what follows. Rejected rows
and alerts are for people to look at and stop nothing.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationTargetMaterializationData,
)

from assets_pkg.contracts.feeds import FEEDS, Feed
from assets_pkg.contracts.tables import ALERTS
from assets_pkg.orchestration.metadata import frame, records
from assets_pkg.orchestration.partitions import days_of
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_of
from assets_pkg.policy import Policy
from assets_pkg.steps.checks import conservation, rejected_rows, schema_failures
from assets_pkg.steps.reports import judge_day
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import SPECS, Judgement

CONSERVATION, SCHEMA, ROW_RULES = "conservation", "schema", "row_rules"
_Evaluations = Iterator[AssetCheckEvaluation | dg.Output[None]]


@dataclass(frozen=True)
class Verdict:
    """What a check found on one day: one sentence on what to look at and do, and the numbers."""

    passed: bool
    sentence: str
    facts: Mapping[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def build_checks(days: dg.PartitionsDefinition[str], policy: Policy) -> list[dg.AssetChecksDefinition]:
    """All checks."""
    with warnings.catch_warnings():
        # Partitioned checks are in preview; tests pin down what we lean on.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _all_checks(days, policy)


def _all_checks(days: dg.PartitionsDefinition[str], policy: Policy) -> list[dg.AssetChecksDefinition]:
    return [*(_feed_checks(feed, days) for feed in FEEDS.values()), _alert_checks(days, policy)]


def _feed_checks(feed: Feed, days: dg.PartitionsDefinition[str]) -> dg.AssetChecksDefinition:
    judges: list[tuple[dg.AssetCheckSpec, Callable[[Workplace, Feed, date], Verdict]]] = [
        (
            dg.AssetCheckSpec(
                CONSERVATION,
                asset=feed.clean_table,
                description=f"Every raw {feed.name} row is in one place: total = clean + quarantine + full-row copies.",
                additional_deps=[feed.raw, feed.quarantine, feed.profile],
                blocking=True,
                partitions_def=days,
            ),
            _judge_conservation,
        ),
        (
            dg.AssetCheckSpec(
                SCHEMA,
                asset=feed.clean_table,
                description=f"Every value of {feed.clean_table} keeps the row rules (pandera, on the data).",
                blocking=True,
                partitions_def=days,
            ),
            _judge_schema,
        ),
        (
            dg.AssetCheckSpec(
                ROW_RULES,
                asset=feed.quarantine,
                description=f"Which rules rejected {feed.name} rows, how many, and the first of them.",
                partitions_def=days,
            ),
            _judge_row_rules,
        ),
    ]

    @dg.multi_asset_check(
        name=f"{feed.name}_checks",
        specs=[spec for spec, _ in judges],
        required_resource_keys={WORKPLACE},
        can_subset=True,
    )
    def feed_checks(context: dg.AssetCheckExecutionContext) -> _Evaluations:
        work = workplace_of(context)
        log = _EventLog(context)
        for spec, judge in judges:
            if spec.key in context.op_execution_context.selected_asset_check_keys:
                for day in days_of(context):
                    yield log.evaluation(spec, day, judge(work, feed, day))
                yield _done(spec)

    return feed_checks


def _judge_conservation(work: Workplace, feed: Feed, day: date) -> Verdict:
    rows = conservation(work, feed, day)
    facts = {
        "raw rows": rows.total,
        "clean rows": rows.clean,
        "quarantined rows": rows.quarantine,
        "full-row duplicates": rows.full_row_duplicates,
        "lost rows": rows.lost,
    }
    sentence = "Every raw row is accounted for."
    if rows.lost:
        sentence = (
            f"{abs(rows.lost):,} rows {'are lost' if rows.lost > 0 else 'appeared from nowhere'}: the tables do not "
            f"belong to one run. Materialize {feed.name} of {day} again; if it stays, the code is wrong, report it."
        )
    return Verdict(rows.lost == 0, sentence, facts)


def _judge_schema(work: Workplace, feed: Feed, day: date) -> Verdict:
    failures = schema_failures(work, feed, day)
    broken = [{"check": check, "values": count} for check, count in failures.counts.most_common()]
    facts = {
        "broken checks": records(broken, ["check", "values"]),
        "first rows": records(failures.rows, ["source_file", "source_row", "column", "check", "value"]),
    }
    sentence = "Every value keeps the rules."
    if broken:
        sentence = (
            f"{feed.clean_table} holds values that the rules forbid ({broken[0]['check']}): it was written under "
            f"another policy or by other code. Materialize {feed.name} of {day} again; if it stays, report it."
        )
    return Verdict(not broken, sentence, facts)


def _judge_row_rules(work: Workplace, feed: Feed, day: date) -> Verdict:
    rows = rejected_rows(work, feed, day)
    most = work.policy.checks.row_rules_max_rate
    facts = {
        "rows": rows.total,
        "rejected rows": rows.rejected,
        "rejected rate": rows.rate,
        "allowed rate": most,
        "reasons": records(rows.reasons, ["reason", "rows", "rate", "meaning"]),
        "rejected rows (first)": frame(rows.first),
    }
    sentence = (
        "No row was rejected." if not rows.rejected else f"{rows.rejected:,} rows rejected; within what is allowed."
    )
    if rows.rate > most:
        top = rows.reasons[0]
        sentence = (
            f"{rows.rejected:,} of {rows.total:,} rows rejected, most for {top['reason']} ({top['meaning']}). Look at "
            f"the first rows below; mend the source, or the policy if the rule is wrong, and run {day} again."
        )
    return Verdict(rows.rate <= most, sentence, facts, dg.AssetCheckSeverity.WARN)


def _alert_checks(days: dg.PartitionsDefinition[str], policy: Policy) -> dg.AssetChecksDefinition:
    specs = {
        (rule, dataset): dg.AssetCheckSpec(
            rule,
            asset=table,
            description=f"Alert rule: {spec.meaning}.",
            additional_deps=[ALERTS.name],
            partitions_def=days,
        )
        for rule, spec in SPECS.items()
        if getattr(policy.alerts, rule).enabled
        for dataset, table in spec.tables.items()
    }

    @dg.multi_asset_check(
        name="alert_checks", specs=list(specs.values()), required_resource_keys={WORKPLACE}, can_subset=True
    )
    def alert_checks(context: dg.AssetCheckExecutionContext) -> _Evaluations:
        made = context.run.asset_selection
        if made and dg.AssetKey(ALERTS.name) not in made:
            return  # the run stops before the metrics that alerts are judged by
        work = workplace_of(context)
        log = _EventLog(context)
        selected = context.op_execution_context.selected_asset_check_keys
        for day in days_of(context):
            for judgement in judge_day(work, day):
                spec = specs[judgement.spec.rule, judgement.dataset]
                if spec.key in selected:
                    yield log.evaluation(spec, day, _verdict(judgement))
        for spec in specs.values():
            if spec.key in selected:
                yield _done(spec)

    return alert_checks


def _verdict(judgement: Judgement) -> Verdict:
    sentence = f"{judgement.message}. {judgement.spec.advice}" if judgement.fired else f"{judgement.message}."
    severity = dg.AssetCheckSeverity.ERROR if judgement.severity == "high" else dg.AssetCheckSeverity.WARN
    facts = {name: _fact(value) for name, value in judgement.details.items()}
    return Verdict(not judgement.fired, sentence, {**facts, "severity": judgement.severity}, severity)


def _fact(value: Any) -> Any:
    if isinstance(value, dict):
        return dg.MetadataValue.json(value)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else value


class _EventLog:
    """Turns verdicts into events of their day's partition: a plain AssetCheckResult would lose the day in a range."""

    def __init__(self, context: dg.AssetCheckExecutionContext) -> None:
        self._instance = context.instance
        self._judged: dict[tuple[dg.AssetKey, date], AssetCheckEvaluationTargetMaterializationData | None] = {}

    def evaluation(self, spec: dg.AssetCheckSpec, day: date, verdict: Verdict) -> AssetCheckEvaluation:
        """The event. `blocking` in the event, not in the spec alone, is what stops the steps that follow."""
        return AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=verdict.passed,
            severity=verdict.severity,
            description=verdict.sentence,
            metadata=dict(verdict.facts),
            blocking=spec.blocking,
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


def _done(spec: dg.AssetCheckSpec) -> dg.Output[None]:
    return dg.Output(None, output_name=spec.get_python_identifier())
