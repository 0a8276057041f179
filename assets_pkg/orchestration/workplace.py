"""The resource every step asks for: the workplace, with the run's days locked for as long as the run lives."""

import sys
from collections.abc import Iterator
from typing import Final

import dagster as dg

from assets_pkg.orchestration.partitions import days_of_run
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.locks import days_locked

WORKPLACE: Final = "workplace"


def workplace_resource(settings: Settings, policy: Policy) -> dg.ResourceDefinition:
    """With the in-process executor a resource lives as long as its run, and so does the lock on the run's days."""

    def open_workplace(context: dg.InitResourceContext) -> Iterator[Workplace]:
        run = context.run
        log = context.log
        work = Workplace(settings, policy, run.run_id if run else "")

        def say(message: str) -> None:
            if log:
                log.warning(message)
            sys.stderr.write(message + "\n")  # the command line silences the log, and nobody should wait in the dark

        with days_locked(
            settings.lock_dir,
            days_of_run(dict(run.tags)) if run else [],
            work.run,
            wait_seconds=settings.lock_wait_seconds,
            say=say,
        ):
            yield work

    return dg.ResourceDefinition(open_workplace, description="Raw files, lake, ledger, reports and policy")


def workplace_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Workplace:
    """The step's workplace."""
    work: Workplace = getattr(context.resources, WORKPLACE)
    return work
