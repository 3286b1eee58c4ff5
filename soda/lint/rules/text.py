"""The rule about what people read."""

import ast

from ..findings import Fault, Faults, Rule
from ..spec import Executor, Place, Spec

__all__ = ["RULES"]


def _missing_description(spec: Spec) -> Faults:
    """The form that starts a run shows names alone: people guess what a parameter does.

    Looked at: the pipeline, its parameters, and the docstrings of Python components.
    """
    fix = "give its function a docstring"
    if not spec.description and not spec.is_component:
        yield Fault(spec.place, "the pipeline has no description", fix)
    for name, definition in spec.root.parameters.items():
        if not definition.get("description"):
            keys = spec.root.place.at("inputDefinitions", "parameters", name).keys
            place = Place(f"root/{name}", keys)
            yield Fault(place, "the parameter has no description", "name it under 'Args:'")
    for executor in spec.executors.values():
        if not _documented(executor):
            yield Fault(executor.place, "the component has no description", fix)


def _documented(executor: Executor) -> bool:
    """Look for the docstring in a Python component's source: the spec has no other place for it."""
    args, source = executor.args, executor.source
    if "--function_to_execute" not in args[:-1] or "\ndef " not in source:
        return True
    name = args[args.index("--function_to_execute") + 1]
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # of another Python, or none
        return True
    functions = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == name]
    return any(ast.get_docstring(each) for each in functions) or not functions


RULES = (
    Rule(
        "missing-description",
        "note",
        "the form that starts a run shows names alone: people guess",
        "give its function a docstring, with the parameters under 'Args:'",
        _missing_description,
        style=True,
    ),
)
