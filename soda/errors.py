"""Every error soda raises on purpose. The command line prints one as one line and exits with 2."""

import contextlib
import errno
import sys

from soda.escape import shown_message
from soda.progress import close_bars

__all__ = [
    "ArtifactError",
    "BudgetError",
    "ClusterError",
    "ConfigError",
    "DataError",
    "EndpointError",
    "KindError",
    "MissingObject",
    "ModelError",
    "RegistryError",
    "SodaError",
    "StorageError",
    "found_instead",
    "refuse",
]


class SodaError(Exception):
    """Something the user can put right; the message says what was expected and what was found."""


class ConfigError(SodaError):
    """The recipe is wrong: fix the file and run again."""


class DataError(SodaError):
    """The user's dataset cannot be used as it is."""


class ArtifactError(SodaError):
    """An input artifact is missing, unfinished, damaged or of another kind."""


class KindError(ArtifactError):
    """An input artifact is whole, but of another kind."""


class ModelError(SodaError):
    """The student cannot be loaded or trained."""


class EndpointError(SodaError):
    """A model's API refused, or could not be reached."""


class BudgetError(SodaError):
    """The spending limit was reached; what was answered is kept."""


class StorageError(SodaError):
    """A file could not be written: no space, no permission, or a place we cannot reach."""


class MissingObject(StorageError):  # noqa: N818 - what was found, not what went wrong
    """An object or file is not there."""


class ClusterError(SodaError):
    """Kubeflow Pipelines refused, or could not be reached."""


class RegistryError(SodaError):
    """A model registry refused, could not be reached, or holds another model under the version."""


def found_instead(error: OSError) -> str:
    """Return what was found in the place of a file that was to be read, after "found"."""
    known = {
        errno.ENOENT: "no such file",
        errno.EISDIR: "a folder",
        errno.ENOTDIR: "a file where a folder should be",
        errno.EACCES: "a file that may not be read",
    }
    return known.get(error.errno or 0, f"an error: {error.strerror or error}")


def refuse(error: SodaError) -> SystemExit:
    """Print a refusal as one line, the last one, and return the exit to raise: code 2."""
    close_bars()
    with contextlib.suppress(BrokenPipeError):  # who would read it may be gone already
        print(f"soda: {shown_message(str(error))}", file=sys.stderr, flush=True)
    return SystemExit(2)
