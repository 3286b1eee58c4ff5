"""Distil a teacher, reached only as text through an API, into a small student: the SODA way."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soda.artifacts.kinds import Model, Pairs, Prompts, Registration, Report, Responses
    from soda.errors import SodaError
    from soda.stage import run
    from soda.stages import STAGES

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "Model",
    "Pairs",
    "Prompts",
    "Registration",
    "Report",
    "Responses",
    "SodaError",
    "__version__",
    "run",
]

# A name is imported when it is asked for, as `soda lint` needs PyYAML and nothing else.
_PLACES = {
    **dict.fromkeys(
        ("Model", "Pairs", "Prompts", "Registration", "Report", "Responses"), "artifacts.kinds"
    ),
    "SodaError": "errors",
    "run": "stage",
    "STAGES": "stages",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'soda' has no attribute '{name}'")
    return getattr(import_module(f"soda.{_PLACES[name]}"), name)
