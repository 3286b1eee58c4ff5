"""What lint refuses: a file, an option or a setting that it cannot use."""

import errno

__all__ = ["LintError", "NoPipelineError", "found_instead"]


class LintError(Exception):
    """The message says what was expected and what was found."""


class NoPipelineError(LintError):
    """A file is sound, and holds no pipeline."""


def found_instead(error: OSError) -> str:
    """Return what was found in the place of a file, after "found"."""
    known = {errno.ENOENT: "no such file", errno.EISDIR: "a folder"}
    return known.get(error.errno or 0, f"an error: {error.strerror}")
