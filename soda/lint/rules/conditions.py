"""Rules about conditions and loops that do something else than they say."""

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
_TOKEN = re.compile(
    r"""(?P<operand>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\w+(?:\.\d+)?)|(?P<stray>['"])|[^\s\w'"]"""
)
_PLAIN = r"(?:int\(|double\()*inputs\.parameter_values\['[^']+'\]\)*|'[^']*'|-?[\d.]+|true|false"
_COMPARISON = re.compile(rf"({_PLAIN})\s*([=!<>]=|[<>])\s*({_PLAIN})(?![\w.\[(])")
_TYPES = {"STRING": "text", "BOOLEAN": "a bool"}
_TYPES |= dict.fromkeys(("NUMBER_INTEGER", "NUMBER_DOUBLE"), "a number")


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


def _broken_condition(spec: Spec) -> Faults:
    """KFP cannot read a condition: its quotes do not fit.

    kfp writes text between quotes without a care for quotes in it. And it puts quotes around an
    output that it compares with text, if that output is no text itself: If(flag == 'true'),
    If(number == '5'). The run fails; kfp.local skips the branch, and reports SUCCESS.
    """
    for task in spec.tasks:
        if not _readable_expression(task.condition):
            place = task.place.at("triggerPolicy", "condition")
            fix = ""
            if re.search(r"'(int\(|double\()?inputs\.", task.condition):
                fix = "compare a number with a number, and a bool with True or False"
            yield Fault(place, f"KFP cannot read the condition: {task.condition}", fix)


def _readable_expression(condition: str) -> bool:
    """Tell whether no quote is open, and an operator stands between any two operands."""
    operand = False
    for token in _TOKEN.finditer(condition):
        kind, text = token.lastgroup, token.group()
        if kind == "stray":
            return False
        starts = kind == "operand" and text != "in"
        if starts and operand:
            return False
        operand = starts or text in (")", "]", "}")
    return True


def _condition_types(spec: Spec) -> Faults:
    """A condition compares values of two types.

    KFP's driver fails at < and >, and takes == as never true: the branch never runs.
    """
    for task in spec.tasks:
        for left, operator, right in _comparisons(spec, task):
            if left != right:
                place = task.place.at("triggerPolicy", "condition")
                yield Fault(place, f"compares {left} {operator} {right}: {task.condition}")


def _compared_as_text(spec: Spec) -> Faults:
    """A condition compares text with a number by < or >: letter by letter, '10' is before '5'.

    kfp writes If(text_output > 5) as a comparison of texts.
    """
    for task in spec.tasks:
        for number in re.findall(r"[<>]=?\s*'(-?\d+(?:\.\d+)?)'", task.condition):
            if _readable_expression(task.condition):
                place = task.place.at("triggerPolicy", "condition")
                yield Fault(place, f"compares with '{number}' letter by letter: {task.condition}")


def _comparisons(spec: Spec, task: Task) -> list[tuple[str, str, str]]:
    """Return the types on both sides of each comparison of two plain operands."""
    found = []
    for left, operator, right in _COMPARISON.findall(task.condition):
        types = [_operand_type(spec, task, each) for each in (left, right)]
        if all(types):
            found.append((types[0], operator, types[1]))
    return found


def _operand_type(spec: Spec, task: Task, operand: str) -> str:
    if operand.startswith("'"):
        return "text"
    if operand in ("true", "false"):
        return "a bool"
    if operand.startswith(("int(", "double(")) or operand[0] in "-0123456789":
        return "a number"
    component = spec.components.get(task.component)
    name = OPERAND.findall(operand)[0]
    definition = component.parameters.get(name, {}) if component else {}
    return _TYPES.get(definition.get("parameterType", ""), "")


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
        "broken-condition",
        "error",
        "a condition's quotes do not fit: the run fails, or skips the branch",
        "compare with a text without quotes",
        _broken_condition,
    ),
    Rule(
        "condition-types",
        "error",
        "a condition compares values of two types: the run fails, or never takes the branch",
        "compare values of one type",
        _condition_types,
        ("kfp", "vertex"),
    ),
    Rule(
        "compared-as-text",
        "warning",
        "a condition compares a text with a number letter by letter: '10' comes before '5'",
        "let the component return an int or a float",
        _compared_as_text,
    ),
    Rule(
        "if-on-named-output",
        "warning",
        "kfp.local skips a condition on an output not called 'Output', and reports SUCCESS",
        "call that field of the NamedTuple 'Output'",
        _if_on_named_output,
        ("local",),
    ),
    Rule(
        "if-on-loop-item",
        "warning",
        "kfp.local skips a condition on an item that a task made, and reports SUCCESS",
        "loop over a constant or a parameter of plain values, or decide inside the component",
        _if_on_loop_item,
        ("local",),
    ),
    Rule(
        "quote-in-default",
        "warning",
        "kfp.local skips what a condition guards if its parameter holds a quote: SUCCESS again",
        "choose a default without quotes",
        _quote_in_default,
        ("local",),
    ),
    Rule(
        "output-into-loop",
        "warning",
        "kfp.local gives a loop's tasks the item instead of the output of a task outside",
        "put the loop inside a dsl.If that is always true, or hand the value over in an artifact",
        _output_into_loop,
        ("local",),
    ),
)
