"""What lint refuses: a file, an option or a setting that it cannot use."""

__all__ = ["LintError", "NoPipelineError"]


class LintError(Exception):
    """The message says what was expected and what was found."""


class NoPipelineError(LintError):
    """A file is sound, and holds no pipeline."""
