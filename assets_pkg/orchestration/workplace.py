"""The resource every step asks for: the workplace, with the run's days locked for as long as the run lives."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from assets_pkg.contracts.tables import ACTIVITY_TABLES, EVENT_DATE
from assets_pkg.orchestration.bad_days import BadDays, StepContext
from assets_pkg.orchestration.partitions import days_of_run
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.locks import day_locks, days_locked

WORKPLACE: Final = "workplace"
DAILY_JOB: Final = "daily_pipeline"
ACTIVITY_JOB: Final = "activity"
# Tags of runs, set to true.
VERIFY: Final = "pipeline/verify"  # nothing is taken on trust: every raw file is hashed, every partition built anew
ONLY_STALE: Final = "pipeline/only_stale"  # of a range of event dates, those that are not up to date


@dataclass(frozen=True)
class Desk:
    """What the steps of a run share."""

    work: Workplace
    bad_days: BadDays


def workplace_resource(settings: Settings, policy: Policy) -> dg.ResourceDefinition:
    """With the in-process executor a resource lives as long as its run, and so does the lock on the run's days."""

    def open_workplace(context: dg.InitResourceContext) -> Iterator[Desk]:
        run = context.run
        log = context.log
        work = Workplace(settings, policy, run.run_id if run else "", verify=run is not None and is_set(run, VERIFY))

        def say(message: str) -> None:
            if log:
                log.warning(message)
            sys.stderr.write(message + "\n")  # the command line silences the log, and nobody should wait in the dark

        days = days_of_run(dict(run.tags)) if run else []
        locks = day_locks(settings.ledger, settings.lock_dir, work.run, axis_of(run) if run else INGEST_DATE)
        with days_locked(locks, days, wait_seconds=settings.lock_wait_seconds, say=say) as keep:
            yield Desk(work, BadDays(keep))

    return dg.ResourceDefinition(open_workplace, description="Raw files, lake, ledger, reports and policy")


def is_set(run: dg.DagsterRun, tag: str) -> bool:
    """Whether a tag of ours is set to true."""
    return run.tags.get(tag) == "true"


def only_stale(context: StepContext) -> bool:
    """Whether the run is to leave alone what is up to date."""
    return is_set(context.run, ONLY_STALE)


def days_at_work(instance: dg.DagsterInstance) -> set[date]:
    """The ingest dates of all runs that wait or go on."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return {day for run in runs if axis_of(run) == INGEST_DATE for day in days_of_run(dict(run.tags))}


def axis_of(run: dg.DagsterRun) -> str:
    """Which days a run is about: those on which files landed, or those on which things happened."""
    named = {key.to_user_string() for key in run.asset_selection or ()}
    named |= {check.asset_key.to_user_string() for check in run.asset_check_selection or ()}
    by_event_date = run.job_name == ACTIVITY_JOB or (named and named <= ACTIVITY_TABLES.keys())
    return EVENT_DATE if by_event_date else INGEST_DATE


def workplace_of(context: StepContext) -> Workplace:
    """The step's workplace."""
    return _desk(context).work


def bad_days_of(context: StepContext) -> BadDays:
    """The days that went wrong in the step's run."""
    return _desk(context).bad_days


def _desk(context: StepContext) -> Desk:
    desk: Desk = getattr(context.resources, WORKPLACE)
    return desk
