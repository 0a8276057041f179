"""Asset checks by event date: every event is accounted for, sessions are what they should be, alert rules.

Those that say "the pipeline itself is wrong" block what follows.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import dagster as dg

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import (
    ACTIVITY_ALERTS,
    ACTIVITY_METRICS,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSION_RUNS,
    SESSIONS,
    USER_DAILY,
)
from assets_pkg.orchestration.assets import Graph
from assets_pkg.orchestration.metadata import frame
from assets_pkg.orchestration.verdicts import Check, Verdict, multi_check, verdict_of
from assets_pkg.steps.activity import GATHER, JOIN, Stage, judge_event_date
from assets_pkg.steps.activity_checks import (
    Finding,
    each_in_one_session,
    events_accounted,
    sessions_add_up,
    sessions_apart,
    sessions_bounded,
    waits_for,
)
from assets_pkg.steps.landed import is_processed
from assets_pkg.steps.provenance import built_from, inputs_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import ACTIVITY_SPECS
from assets_pkg.transforms.windows import BESIDE, landing

_Find = Callable[[Workplace, date], Finding]


def build_activity_checks(graph: Graph) -> list[dg.AssetChecksDefinition]:
    """All checks by event date."""
    return [
        multi_check("events_by_date_checks", [_events_accounted(graph)]),
        multi_check("sessions_checks", _session_checks(graph)),
        multi_check("activity_alert_checks", _alert_checks(graph)),
    ]


def _events_accounted(graph: Graph) -> Check:
    return Check(
        dg.AssetCheckSpec(
            "events_accounted",
            asset=EVENTS_BY_DATE.name,
            description="Every clean event that landed in the window is there once, or its id landed before.",
            additional_deps=[EVENTS.clean_table],
            blocking=True,
            partitions_def=graph.event_dates,
        ),
        _judge(events_accounted, EVENTS_BY_DATE.name, GATHER),
        _events_state,
    )


def _session_checks(graph: Graph) -> list[Check]:
    def check(find: _Find, asset: str, description: str, *, beside: bool = False) -> Check:
        spec = dg.AssetCheckSpec(
            find.__name__,
            asset=asset,
            description=description,
            additional_deps=[
                table.name for table in (EVENTS_BY_DATE, SESSION_RUNS, SESSIONS, USER_DAILY) if table.name != asset
            ],
            blocking=True,
            partitions_def=graph.event_dates,
        )
        return Check(spec, _judge(find, asset, JOIN, beside=beside), _sessions_state, beside=beside)

    return [
        check(
            each_in_one_session,
            SESSION_EVENTS.name,
            "Every event of the date stands in exactly one session, and sessions have no others.",
            beside=True,
        ),
        check(
            sessions_add_up,
            SESSIONS.name,
            "Event counts of sessions, and of customers, add up to events_by_date, over both midnights.",
            beside=True,
        ),
        check(
            sessions_bounded,
            SESSIONS.name,
            "Sessions start on the date, have no gap of the timeout, and end by the cut.",
            beside=True,
        ),
        check(
            sessions_apart,
            SESSIONS.name,
            "No two sessions of a customer are closer than the timeout, unless cut at midnight.",
            beside=True,
        ),
    ]


def _judge(find: _Find, asset: str, stage: Stage, *, beside: bool = False) -> Callable[[Workplace, date], Verdict]:
    def judge(work: Workplace, event_date: date) -> Verdict:
        if waiting := waits_for(work, event_date, stage, beside=beside):
            days = " and ".join(map(str, waiting))
            sentence = f"Not judged: {stage.tables[0].name} of {days} are not up to date yet, and are refreshed next."
            return Verdict(passed=True, sentence=sentence, facts={"waits for": days}, final=False)
        found = find(work, event_date)
        sentence = "All is accounted for."
        if found.wrong:
            sentence = (
                f"{found.wrong:,} are wrong: {asset} of {event_date} does not fit the tables it is made from. "
                f"Materialize {event_date} again; if it stays, the code is wrong, report it."
            )
        return Verdict(not found.wrong, sentence, {**found.facts, "first rows": frame(found.first)})

    return judge


def _events_state(work: Workplace, event_date: date) -> str:
    sources = {EVENTS.clean_table: landing(work.policy).of(event_date), EVENTS_BY_DATE.name: [event_date]}
    return built_from(inputs_of(work, ("activity", "checks"), sources))


def _sessions_state(work: Workplace, event_date: date) -> str:
    own, three = [event_date], BESIDE.of(event_date)
    sources = {EVENTS_BY_DATE.name: own, SESSION_EVENTS.name: own, SESSION_RUNS.name: three, SESSIONS.name: three}
    sources[USER_DAILY.name] = own
    return built_from(inputs_of(work, ("activity", "checks"), sources))


def _alert_checks(graph: Graph) -> list[Check]:
    return [
        Check(
            dg.AssetCheckSpec(
                rule,
                asset=asset,
                description=f"Alert rule: {spec.meaning}.",
                additional_deps=[ACTIVITY_METRICS.name, ACTIVITY_ALERTS.name],
                partitions_def=graph.event_dates,
            ),
            _judge_rule(rule, dataset),
            follows=ACTIVITY_ALERTS.name,
        )
        for rule, spec in ACTIVITY_SPECS.items()
        if getattr(graph.policy.alerts, rule).enabled
        for dataset, asset in spec.tables.items()
    ]


def _judge_rule(rule: str, dataset: str) -> Callable[[Workplace, date], Verdict]:
    def judge(work: Workplace, event_date: date) -> Verdict:
        for judgement in judge_event_date(work, event_date):
            if (judgement.spec.rule, judgement.dataset) == (rule, dataset):
                verdict = verdict_of(work, judgement, event_date)
                if verdict.passed or is_processed(work, event_date):
                    return verdict
                sentence = (
                    f"Not judged: {judgement.message}, but the date's own files have not come yet: only early or late "
                    "events have."
                )
                return replace(verdict, passed=True, sentence=sentence)
        return Verdict(passed=True, sentence="The date has no activity.", facts={})

    return judge
