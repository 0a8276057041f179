"""Runs are launched as Dagster does it; but whether a run's process still lives is known.

Without it a run that was killed with its code server is STARTED for ever: its dates count as being worked on, it holds
a place in the queue, and the one place for backfills. With it, run monitoring marks the run failed, and it is retried.
"""

import os
import socket

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

PROCESS = "pipeline/process"  # tag of runs of the command line: their host and process


class WatchfulLauncher(DefaultRunLauncher):
    """Dagster's own launcher, which run monitoring can ask."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It can be asked."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run that has begun still lives. Of processes of other machines nothing is known."""
        if run.tags.get(PROCESS) and run.parent_run_id is None:
            status = WorkerStatus.NOT_FOUND if command_is_gone(run) else WorkerStatus.RUNNING
            return CheckRunHealthResult(status, "a process of the command line")
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # in a process that nobody told us of
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            told = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10)
        except DagsterUserCodeUnreachableError as error:
            # Nobody listens: gone. Too busy to answer: ask again next time. (Were it alive after all, the locks on
            # days keep its retry waiting.)
            code = getattr(error.__cause__, "code", None)
            said = code().name if code else ""
            if said == "UNAVAILABLE":
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"its code server does not answer: {said}")
        if deserialize_value(told, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")


def command_is_gone(run: dg.DagsterRun) -> bool:
    """Whether a run is one of the command line on this machine whose process has ended.

    A retry has its parent's tags, but is no run of the command line.
    """
    host, _, process = run.tags.get(PROCESS, "").partition(":")
    return run.parent_run_id is None and host == socket.gethostname() and not _is_alive(int(process))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
