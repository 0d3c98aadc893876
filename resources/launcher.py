"""A run launcher for one machine that notices when a run is gone together with the server that ran it.

Dagster's code server reports a run whose process died. When the server dies with it (a power cut, ``kill -9`` on all of
it), nobody does: the run stays "started" and the corpus' next reindex waits for it for ever. Run monitoring (see
dagster.yaml) asks the launcher about every started run, and Dagster's default launcher has no answer; this one has.
"""

import grpc
from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, which starts runs in the code server, and the answer to whether they are alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring may ask; always."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the code server that started ``run`` still has it.

        A server that merely does not answer in time is busy, so its runs count as running.
        """
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Not started by a code server.")
        try:
            answer = deserialize_value(
                client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id)), CanCancelExecutionResult
            )
        except DagsterUserCodeUnreachableError as error:
            if _is_gone(error):
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The code server that ran it is gone.")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The code server is too busy to answer.")
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its process is gone.")


def _is_gone(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, grpc.Call) and cause.code() == grpc.StatusCode.UNAVAILABLE
