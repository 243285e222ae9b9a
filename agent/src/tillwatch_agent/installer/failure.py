"""Why a release could not be fetched, as an error that names its cause."""

from tillwatch_agent.errors import AgentError
from tillwatch_agent.installer.order import Cause, Reason


class FetchFailed(AgentError):  # noqa: N818 - it names what is so
    """Carries cause and reason; the message says what was expected and what came."""

    def __init__(self, cause: Cause, reason: Reason, said: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(said)
        self.cause = cause
        self.reason = reason
        self.retry_after_s = retry_after_s
        """How long a server asked us to wait."""
