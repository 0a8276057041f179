"""Days of a run that went wrong, while the others go on.

A run over many days works step by step, each step over all of them. What fails for one day, or is found wrong by a
blocking check, takes that day out of the steps that follow. The run ends as failed and names the days; those that went
well are done. A run over a single day fails where it fails.

What may be gone in a while, as a server that does not answer, is waited for: the step is tried again, and passes over
what it did. Nothing else is: data, code or a full disk will be no better.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Final

import dagster as dg

from assets_pkg.orchestration.partitions import days_of
from assets_pkg.storage.transient import is_transient

# Before a step is tried again: the first, the second, the third time.
_WAIT_SECONDS: Final = (2, 15, 60)
FAILED_DAYS: Final = "pipeline/failed_days"  # tag of a run whose other days are done
StepContext = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


class DaysFailedError(RuntimeError):
    """Some days of a run failed; the message says which, and why."""


class BadDays:
    """The days of one run that went wrong, and why. `keep`: takes a day's lock again if it was lost."""

    def __init__(self, keep: Callable[[date], None]) -> None:
        self._keep = keep
        self._why: dict[date, str] = {}
        self._told: set[date] = set()

    def left(self, context: StepContext) -> list[date]:
        """Those of the step's days that are still to be worked on."""
        return [day for day in days_of(context) if day not in self._why]

    @contextmanager
    def attempt(self, context: StepContext, day: date) -> Iterator[None]:
        """Work on a day; what is raised takes it out of the run, unless it is the last one left.

        Raises RetryRequested for what may be gone in a while, as often as there are waits.
        """
        try:
            self._keep(day)
            yield
        except Exception as error:
            tried = context.op_execution_context.retry_number
            if is_transient(error) and tried < len(_WAIT_SECONDS):
                raise dg.RetryRequested(len(_WAIT_SECONDS), _WAIT_SECONDS[tried]) from error
            if len(self.left(context)) == 1:
                self._told |= self._why.keys()
                raise
            self.add(context, day, str(error) or type(error).__name__)

    def add(self, context: StepContext, day: date, why: str) -> None:
        """Take a day out of the run."""
        self._why[day] = f"{_step(context)}: {why}"
        context.log.error(f"{day} failed, the run's other days go on. {self._why[day]}")

    def tell(self, context: StepContext) -> None:
        """Raise DaysFailedError for days that went wrong, if no other step of the run waits for this one.

        The first such step to end tells; a later one only of days that went wrong since.
        """
        untold = self._why.keys() - self._told
        if untold and _is_last(context):
            self._told |= untold
            context.instance.add_run_tags(context.run.run_id, {FAILED_DAYS: ",".join(map(str, sorted(self._why)))})
            days = "; ".join(f"{day} in {self._why[day]}" for day in sorted(untold))
            others = len(self.left(context))
            raise DaysFailedError(
                f"{len(untold)} of the run's days failed: {days}. The other {others} went on; run the failed ones again"
            )


def _is_last(context: StepContext) -> bool:
    followers = context.job_def.dependency_structure.output_to_downstream_inputs_for_node(_step(context))
    return not any(followers.values())


def _step(context: StepContext) -> str:
    return context.op_execution_context.op_handle.name
