"""transformers without its bars and reports: what they say, we say in one line."""

import contextlib
from collections.abc import Iterator

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and progress bars of transformers out of the log."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # it takes a second, and has no place in a log
    try:
        yield
    finally:
        logging.set_verbosity(level)
