"""What lint refuses: a file, an option or a setting that it cannot use."""

__all__ = ["LintError"]


class LintError(Exception):
    """The message says what was expected and what was found."""
