"""The ways in which a request can end without an answer that can be used."""

__all__ = ["Busy", "Refused", "Unanswered", "Unusable"]


class Busy(Exception):  # noqa: N818 - it says what happened
    """The server asks for patience (429): it did no work, and no attempt is used up."""

    def __init__(self, problem: str, wait: float | None):
        super().__init__(problem)
        self.wait = wait  # seconds, if the server named a time


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """The request failed for a reason that may pass."""

    def __init__(
        self, problem: str, *, billed: bool, wait: float | None = None, lasting: bool = False
    ):
        super().__init__(problem)
        self.billed = billed  # whether the server may have worked for it
        self.wait = wait
        self.lasting = lasting  # it seldom passes: worth no second try where nothing worked yet


class Refused(Exception):  # noqa: N818 - it says what happened
    """The server will not take this request; others it may."""


class Unusable(Exception):  # noqa: N818 - it says what happened
    """An answer came whole and cannot be used: its form, or who gave it. It is kept as it is."""
