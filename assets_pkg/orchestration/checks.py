"""Asset checks by ingest date.

Blocking checks (conservation, schema) mean "the pipeline itself is wrong" and stop what follows. Rejected rows
and alerts are for people to look at and stop nothing.
"""

from datetime import date
from functools import partial

import dagster as dg

from assets_pkg.contracts.feeds import FEEDS, Feed
from assets_pkg.contracts.tables import ALERTS, CUSTOMERS_KNOWN
from assets_pkg.orchestration.assets import Graph
from assets_pkg.orchestration.metadata import frame, records
from assets_pkg.orchestration.partitions import run_command
from assets_pkg.orchestration.verdicts import Check, Evaluations, EventLog, Verdict, done, multi_check, verdict_of
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_of
from assets_pkg.policy import Policy
from assets_pkg.steps.checks import (
    conservation,
    healable_orphans,
    healable_said,
    rejected_rows,
    schema_failures,
    undecided_days,
)
from assets_pkg.steps.clean import CLEAN_POLICY
from assets_pkg.steps.provenance import built_from, inputs_of
from assets_pkg.steps.reports import judge_day
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import SPECS

CONSERVATION, SCHEMA, ROW_RULES, HEALABLE = "conservation", "schema", "row_rules", "healable_orphans"


def build_checks(graph: Graph) -> list[dg.AssetChecksDefinition]:
    """All checks by ingest date."""
    return [
        *(_feed_checks(feed, graph) for feed in FEEDS.values()),
        _alert_checks(graph.ingest_dates, graph.policy),
        *(_orphan_checks(feed, graph) for feed in FEEDS.values() if feed.policy(graph.policy).check_orphans),
    ]


def _feed_checks(feed: Feed, graph: Graph) -> dg.AssetChecksDefinition:
    days = graph.ingest_dates

    def schema_state(work: Workplace, day: date) -> str:
        return built_from(inputs_of(work, (*CLEAN_POLICY, "checks"), {feed.clean_table: [day]}))

    checks = [
        Check(
            dg.AssetCheckSpec(
                CONSERVATION,
                asset=feed.clean_table,
                description=f"Every raw {feed.name} row is in one place: total = clean + quarantine + full-row copies.",
                additional_deps=[feed.raw, feed.quarantine, feed.profile],
                blocking=True,
                partitions_def=days,
            ),
            lambda work, day: _judge_conservation(work, feed, day),
        ),
        Check(
            dg.AssetCheckSpec(
                SCHEMA,
                asset=feed.clean_table,
                description=f"Every value of {feed.clean_table} keeps the row rules (pandera, on the data).",
                blocking=True,
                partitions_def=days,
            ),
            lambda work, day: _judge_schema(work, feed, day),
            schema_state,
        ),
        Check(
            dg.AssetCheckSpec(
                ROW_RULES,
                asset=feed.quarantine,
                description=f"Which rules rejected {feed.name} rows, how many, and the first of them.",
                partitions_def=days,
            ),
            lambda work, day: _judge_row_rules(work, feed, day),
        ),
    ]
    return multi_check(f"{feed.name}_checks", checks)


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


def _orphan_checks(feed: Feed, graph: Graph) -> dg.AssetChecksDefinition:
    """Of the run's days, and of others that may be healed now, by customers that the run brought."""
    spec = dg.AssetCheckSpec(
        HEALABLE,
        asset=feed.quarantine,
        description=f"No {feed.name} are orphans, or are none, by customers files that came or changed since.",
        additional_deps=[CUSTOMERS_KNOWN.name],
        partitions_def=graph.ingest_dates,
    )

    @dg.multi_asset_check(
        name=f"{feed.name}_orphan_checks", specs=[spec], required_resource_keys={WORKPLACE}, can_subset=True
    )
    def orphan_checks(context: dg.AssetCheckExecutionContext) -> Evaluations:
        work, log = workplace_of(context), EventLog(context)
        days = log.days(work, feed.quarantine)
        for day in days:
            yield from log.said(spec, day, partial(_judge_orphans, work, feed, day))
        for day in sorted({*undecided_days(work, feed)} - {*days, *log.run_days}):
            verdict = _judge_orphans(work, feed, day)
            if not log.has_said(spec, day, verdict):
                yield from log.evaluated(spec, day, verdict)
        yield done(spec)
        log.tell()

    return orphan_checks


def _judge_orphans(work: Workplace, feed: Feed, day: date) -> Verdict:
    found = healable_orphans(work, feed, day)
    facts = {
        "orphans": found.orphans,
        "orphans whose customer is known by now": found.healable,
        "clean rows whose customer is known no more": found.orphaned,
        "command": run_command(day, day),
        "rows (first)": frame(found.first),
    }
    sentence = "No row's customer has become known since, or unknown."
    if not found.is_decided:
        sentence = (
            f"{healable_said(feed, day, found)}: customers files came or changed since. Run {day} again (materialize "
            "it, or give the command below) to heal them."
        )
    return Verdict(found.is_decided, sentence, facts, dg.AssetCheckSeverity.WARN)


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
    def alert_checks(context: dg.AssetCheckExecutionContext) -> Evaluations:
        made = context.run.asset_selection
        work, log = workplace_of(context), EventLog(context)
        if made and dg.AssetKey(ALERTS.name) not in made:
            log.tell()
            return  # the run stops before the metrics that alerts are judged by
        selected = context.op_execution_context.selected_asset_check_keys
        for day in log.days(work, ALERTS.name):
            for judgement in judge_day(work, day):
                spec = specs[judgement.spec.rule, judgement.dataset]
                if spec.key in selected:
                    yield from log.said(spec, day, partial(verdict_of, work, judgement, day))
        for spec in specs.values():
            if spec.key in selected:
                yield done(spec)
        log.tell()

    return alert_checks
