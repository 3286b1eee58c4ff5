"""Rules about conditions and loops that do another thing than they say."""

import re

from ..findings import Fault, Faults, Rule
from ..origins import origins
from ..spec import Spec, Task
from .wiring import OPERAND

__all__ = ["RULES"]

_CHANNEL = "pipelinechannel--"
_LOOP_ITEM = re.compile(
    r"-loop-item(-param-\d+)?(-subvar-\w+)?$|loop-item-param-\d+(-subvar-\w+)?$"
)
# A string that an operator, a bracket or the end follows.
_STRING = re.compile(r"'[^']*'(?=\s*($|\)|&&|\|\||[=!<>]=|[<>]))")


def _operands(task: Task) -> list[str]:
    return sorted(set(OPERAND.findall(task.condition)) & task.inputs.keys())


def _readable(spec: Spec, task: Task, name: str) -> bool:
    """Tell whether kfp.local finds the operand: it goes by the operand's name alone."""
    short = name.replace(_CHANNEL, "")
    if "-Output" in short:
        return short.endswith("-Output")
    above = [task.around, *(group.around for group in spec.groups(task))]
    known = {each for around in above for each in spec.components[around].receives}
    return bool({short, _CHANNEL + short, name} & known)


def _if_on_named_output(spec: Spec) -> Faults:
    """Under kfp.local, a condition on an output that is not called 'Output' is false, always.

    The branch is skipped and the run reports SUCCESS; what dsl.OneOf chose is such an output too.
    A cluster reads every output.
    """
    for task in spec.tasks:
        for name in _operands(task):
            if not _LOOP_ITEM.search(name) and not _readable(spec, task, name):
                message = f"kfp.local cannot read '{name}': it skips the task and reports success"
                yield Fault(task.place.at("triggerPolicy", "condition"), message)


def _if_on_loop_item(spec: Spec) -> Faults:
    """Under kfp.local, a condition on the item of a loop over a task's output is false, always.

    It compares the whole list. A condition on a field of an item ('item.name') is false too,
    whatever the loop goes over. The branch is skipped and the run reports SUCCESS.
    """
    for task in spec.tasks:
        for name in _operands(task):
            if _LOOP_ITEM.search(name) and not _readable(spec, task, name):
                message = f"kfp.local cannot read '{name}': it skips the task and reports success"
                yield Fault(task.place.at("triggerPolicy", "condition"), message)


def _quote_in_condition(spec: Spec) -> Faults:
    """kfp writes a condition's text between quotes without a care for quotes in it.

    A cluster cannot parse the condition. kfp.local takes it as false, dsl.Else after it too, and
    reports SUCCESS.
    """
    for task in spec.tasks:
        if "'" in _STRING.sub("", OPERAND.sub("x", task.condition)):
            place = task.place.at("triggerPolicy", "condition")
            yield Fault(place, f"a quote in a text breaks its condition: {task.condition}")


def _quote_in_default(spec: Spec) -> Faults:
    """kfp.local writes the values of parameters between quotes in conditions that read them.

    One that holds a quote makes every such condition false, dsl.Else too, and the run reports
    SUCCESS. A cluster is not concerned.
    """
    for task in spec.tasks:
        given = {each for name in _operands(task) for each in origins(spec, task, name)[1]}
        for name in sorted(given):
            default = spec.root.parameters.get(name, {}).get("defaultValue")
            if isinstance(default, str) and "'" in default:
                message = f"its condition reads '{name}', whose default holds a quote"
                yield Fault(task.place.at("triggerPolicy", "condition"), message)


def _output_into_loop(spec: Spec) -> Faults:
    """Under kfp.local (2.17), what a loop reads from a task outside becomes the loop's own item.

    Its tasks then work on the wrong value, and the run reports SUCCESS. A cluster is not concerned.
    """
    for task in spec.tasks:
        inner = spec.components.get(task.component)
        for name, source in task.inputs.items() if task.item and inner else ():
            parameter = inner and name in inner.parameters and source.output and not source.status
            if parameter and name != task.items and _read(spec, task.component, name, set()):
                message = f"kfp.local puts the loop's item in the place of '{name}'"
                yield Fault(task.place, message)


def _read(spec: Spec, component: str, name: str, seen: set[str]) -> bool:
    """Tell whether a task inside reads an input; a condition finds '-Output' by another way."""
    seen.add(component)
    for task in spec.components[component].tasks.values() if component in spec.components else ():
        for inner in (each for each, source in task.inputs.items() if source.around == name):
            below = spec.components.get(task.component)
            condition = inner in OPERAND.findall(task.condition) and "-Output" not in inner
            if condition or inner == task.items or (below and below.executor):
                return True
            if task.component not in seen and _read(spec, task.component, inner, seen):
                return True
    return False


RULES = (
    Rule(
        "if-on-named-output",
        "warning",
        "kfp.local skips a condition on an output not called 'Output', and reports SUCCESS",
        "call that field of the NamedTuple 'Output'",
        _if_on_named_output,
    ),
    Rule(
        "if-on-loop-item",
        "warning",
        "kfp.local skips a condition on an item that a task made, and reports SUCCESS",
        "loop over a constant or a parameter of plain values, or decide inside the component",
        _if_on_loop_item,
    ),
    Rule(
        "quote-in-condition",
        "error",
        "a quote in a condition's text breaks it: kfp.local skips the task and reports SUCCESS",
        "compare with a text without quotes",
        _quote_in_condition,
    ),
    Rule(
        "quote-in-default",
        "warning",
        "kfp.local skips what a condition guards if its parameter holds a quote: SUCCESS again",
        "choose a default without quotes",
        _quote_in_default,
    ),
    Rule(
        "output-into-loop",
        "warning",
        "kfp.local gives a loop's tasks the item instead of the output of a task outside",
        "put the loop inside a dsl.If that is always true, or hand the value over in an artifact",
        _output_into_loop,
    ),
)
