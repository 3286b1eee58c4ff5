"""How an endpoint is doing: whether it answers at all, and whether it is worth the waiting."""

from soda.endpoint.caller import Caller
from soda.endpoint.failures import Busy, Unanswered
from soda.endpoint.waits import Waits
from soda.errors import EndpointError
from soda.progress import say

__all__ = ["Standing"]

_FIRST = 8  # requests that say how an endpoint takes them


class Standing:
    """What one run has seen of an endpoint.

    Args:
        address: the endpoint's, for messages.
        answered_before: an earlier run had answers to requests of this kind.
        patience_seconds: how long to wait while nothing but 429 comes.
        wants_text: an answer without any text is as bad as none.
    """

    def __init__(
        self,
        caller: Caller,
        address: str,
        waits: Waits,
        *,
        answered_before: bool = False,
        patience_seconds: float = 600.0,
        wants_text: bool = True,
    ):
        self._caller = caller
        self._address = address
        self._waits = waits
        self._patience = patience_seconds
        self._busy_since: float | None = None  # without an answer since
        self._failures = 0  # before the first answer
        self.answered_before = answered_before
        self.wants_text = wants_text
        self.answers = False  # in this run
        self._last_good = float("-inf")
        self._said_at = float("-inf")  # that it is down

    @property
    def proved(self) -> bool:
        """Whether address, key, model and sampling are known to be good."""
        return self.answers or self.answered_before

    def begin(self) -> None:
        """Count the first requests from here on."""
        self._failures = 0

    def good(self) -> None:
        """Count an answer."""
        self.answers = True
        self._busy_since = None
        self._last_good = self._waits.now()

    def bad(self, problem: str) -> None:
        """Count a request that ended without an answer: it was refused, or nothing was said.

        Raises:
            EndpointError: so did all the first ones, so it is not of these requests.
        """
        self._failures += not self.answers
        if not self.answers and self._failures >= _FIRST:
            raise self.no_answers(problem)

    def no_answers(self, problem: str) -> EndpointError:
        """Return the error that says that nothing was answered at all."""
        return EndpointError(
            f"{self._address}: expected answers, found none to the first {self._failures} "
            f"requests; the last: {problem}"
        )

    def busy(self, error: Busy) -> None:
        """Count a 429.

        Raises:
            EndpointError: there was nothing else for too long, or it asks for a longer wait.
        """
        now = self._waits.now()
        self._busy_since = now if self._busy_since is None else self._busy_since
        waited = now - self._busy_since
        if (error.wait or 0.0) > self._patience:
            problem = f"the {self._caller.asked} asks for a wait of {error.wait:.0f} s"
        elif waited > self._patience:
            problem = f"the {self._caller.asked} has answered nothing for {waited:.0f} s"
        else:
            return
        raise EndpointError(
            f"{self._address}: {problem} ({error}); {self._caller.name}.limits.patience_seconds is "
            f"{self._patience:g}: what was answered is kept, run again later or raise it"
        )

    def is_down(self, error: Unanswered, failing_since: float) -> bool:
        """Whether a server that has answered may only be starting again, so that waiting helps."""
        left = self._waits.outage - (self._waits.now() - failing_since)
        if error.billed or not self.proved or left <= 0:
            return False
        if max(self._last_good, self._said_at) < failing_since:
            self._said_at = self._waits.now()
            say(f"{self._caller.name}: {error}; trying for {left:.0f} s more")
        return True
