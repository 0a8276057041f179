"""The resource every step asks for: the workplace, with the run's days locked for as long as the run lives."""

import sys
from collections.abc import Iterator
from typing import Final

import dagster as dg

from assets_pkg.orchestration.partitions import days_of_run
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.locks import day_locks, days_locked

WORKPLACE: Final = "workplace"
VERIFY: Final = "pipeline/verify"  # a run with this tag set to true hashes every raw file, touched or not


def workplace_resource(settings: Settings, policy: Policy) -> dg.ResourceDefinition:
    """With the in-process executor a resource lives as long as its run, and so does the lock on the run's days."""

    def open_workplace(context: dg.InitResourceContext) -> Iterator[Workplace]:
        run = context.run
        log = context.log
        verify = run is not None and run.tags.get(VERIFY) == "true"
        work = Workplace(settings, policy, run.run_id if run else "", verify=verify)

        def say(message: str) -> None:
            if log:
                log.warning(message)
            sys.stderr.write(message + "\n")  # the command line silences the log, and nobody should wait in the dark

        days = days_of_run(dict(run.tags)) if run else []
        locks = day_locks(settings.ledger, settings.lock_dir, work.run)
        with days_locked(locks, days, wait_seconds=settings.lock_wait_seconds, say=say):
            yield work

    return dg.ResourceDefinition(open_workplace, description="Raw files, lake, ledger, reports and policy")


def workplace_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Workplace:
    """The step's workplace."""
    work: Workplace = getattr(context.resources, WORKPLACE)
    return work
