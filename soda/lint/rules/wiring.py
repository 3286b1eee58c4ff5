"""Rules about inputs and outputs: what is read, and what is given."""

import json
import re
from typing import Any

from ..findings import Fault, Faults, Rule
from ..spec import NOTHING, PARAMETER, Component, Input, Place, Spec, Task, Tree

__all__ = ["OPERAND", "RULES", "available"]

OPERAND = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_STATES = ("TASK_FINAL_STATUS", "TASK_CONFIG")  # filled in by KFP
_NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}


def available(spec: Spec, component: Component) -> set[str]:
    """Return the inputs that tasks of a group can read: declared, or given by what runs it."""
    given = (task.inputs.keys() for task in spec.callers.get(component.name, []))
    return component.receives.union(*given)


def _settings(spec: Spec, task: Task) -> set[str]:
    component = spec.components.get(task.component)
    executor = spec.executors.get(component.executor) if component else None
    return executor.reads if executor else set()


def _lost(spec: Spec, task: Task, source: Input) -> str:
    """Say what an input comes from that is not there, or ''."""
    around = spec.components[task.around]
    if source.around and source.around not in available(spec, around):
        return f"'{source.around}', which '{around.name}' does not receive"
    if not source.producer:
        return ""
    if source.producer not in around.tasks:
        return f"the task '{source.producer}', which is not beside it"
    made = spec.components.get(around.tasks[source.producer].component)
    if made and not source.status and source.output not in made.makes:
        return f"'{source.output}', no output of '{source.producer}'"
    return ""


def _dangling_input(spec: Spec) -> Faults:
    """An input names a task, an output or an input of the group around it that does not exist.

    The cluster takes such a spec and fails when the task's turn comes, maybe hours later. Found in
    inputs, conditions, loop items and text that is put together from other inputs.

    kfp 2.17 makes such specs by itself: from a text that holds the items of two loops, or a field
    of an item, f"{item.name}"; and from a condition on dsl.OneOf, if no task reads that too.
    """
    for task in spec.tasks:
        # What a setting reads is left to unthreaded-resource, whose fix is another.
        settings = _settings(spec, task)
        for name in sorted(task.inputs.keys() - settings):
            if lost := _lost(spec, task, task.inputs[name]):
                yield Fault(task.place.at("inputs"), f"input '{name}' comes from {lost}")
        constants = [each.constant for each in task.inputs.values() if each.constant is not NOTHING]
        read = set(PARAMETER.findall(json.dumps(constants, default=str))) - settings
        for name in sorted(read - task.inputs.keys()):
            yield Fault(task.place.at("inputs"), f"a value reads '{name}', no input of the task")
        known = task.inputs.keys() | {task.item}
        for name in sorted(set(OPERAND.findall(task.condition)) - known):
            message = f"its condition reads '{name}', no input of the task"
            yield Fault(task.place.at("triggerPolicy"), message)
        if task.items and task.items not in task.inputs:
            message = f"its loop goes over '{task.items}', no input of the task"
            yield Fault(task.place, message)


def _dangling_output(spec: Spec) -> Faults:
    """An output of a group or pipeline selects a task, or an output of one, that does not exist.

    The tasks run, and the run fails when it collects what they made.
    """
    for component in spec.components.values():
        for output in component.outputs:
            place = component.place.at("dag", "outputs")
            if output.producer not in component.tasks:
                message = f"output '{output.name}' comes from '{output.producer}', no task of it"
                yield Fault(place, message)
                continue
            made = spec.components.get(component.tasks[output.producer].component)
            if made and output.output not in made.makes:
                message = f"output '{output.name}' selects '{output.output}', "
                yield Fault(place, f"{message}which '{output.producer}' does not make")


def _missing_input(spec: Spec) -> Faults:
    """A task does not get an input that its component needs: it fails when its turn comes.

    Needed is what is not optional and has no default. (Specs of schema 2.0.0 do not say.)
    """
    if spec.version.startswith("2.0"):
        return
    for task in spec.tasks:
        component = spec.components.get(task.component)
        needed: dict[str, Tree] = component.parameters | component.artifacts if component else {}
        for name in sorted(needed.keys() - task.inputs.keys() - {task.item}):
            definition = needed[name]
            state = definition.get("parameterType") in _STATES
            if not state and not definition.get("isOptional") and "defaultValue" not in definition:
                yield Fault(task.place, f"does not get '{name}', which '{task.component}' needs")


def _undeclared_input(spec: Spec) -> Faults:
    """A task gets an input that its component does not know, as after a typo.

    KFP drops it in silence, and the component works with its default.
    """
    for task in spec.tasks:
        component = spec.components.get(task.component)
        if not component or not component.executor or spec.kind(task) != "container":
            continue
        constants = [each.constant for each in task.inputs.values()]
        text = json.dumps([constants, task.condition], default=str)
        read = {*PARAMETER.findall(text), *OPERAND.findall(text), *_settings(spec, task)}
        executor = spec.executors[component.executor]
        read |= set(PARAMETER.findall(" ".join(executor.command + executor.args)))
        for name in sorted(task.inputs.keys() - component.receives - read - {task.items}):
            if not PARAMETER.search(str(task.inputs[name].constant)):  # a setting's copy
                message = f"gets '{name}', which '{task.component}' does not know"
                yield Fault(task.place.at("inputs"), message)


def _input_type(spec: Spec) -> Faults:
    """A task gets a value of another type than its component declares: it fails at its turn.

    Whole and other numbers may stand for each other; text takes everything. A null is refused
    where an input is not optional.
    """
    for task in spec.tasks:
        component = spec.components.get(task.component)
        for name, source in task.inputs.items() if component else ():
            definition = component.parameters.get(name, {}) if component else {}
            wanted = definition.get("parameterType", "")
            given = _type(spec, task, source)
            if source.artifact or not wanted or wanted in _STATES or given in ("", wanted):
                continue
            null = given == "null"
            same = wanted == "STRING" or {wanted, given} <= _NUMBERS
            if definition.get("isOptional") if null else same:
                continue
            place = task.place.at("inputs", "parameters", name)
            yield Fault(place, f"'{name}' is {wanted}, and gets {given}")


def _type(spec: Spec, task: Task, source: Input) -> str:
    """Return the type of what an input gets, or '' where it does not show."""
    if source.constant is not NOTHING:
        return _type_of(source.constant)
    if source.selected or source.status:
        return ""
    around = spec.components[task.around]
    if source.producer in around.tasks:
        made = spec.components.get(around.tasks[source.producer].component)
        return made.makes.get(source.output, "") if made else ""
    given = around.parameters.get(source.around, {}).get("parameterType", "")
    return "" if given in _STATES else str(given)


def _type_of(value: Any) -> str:
    kinds: dict[type, str] = {bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}
    kinds |= {str: "STRING", list: "LIST", dict: "STRUCT", type(None): "null"}
    return kinds.get(type(value), "")


def _default_type(spec: Spec) -> Faults:
    """A pipeline's parameter has a default of another type than its own.

    Every run that does not set it fails, at the first task that reads it.
    """
    for name, definition in spec.root.parameters.items():
        wanted = definition.get("parameterType", "")
        if wanted and definition.get("defaultValue") is not None:
            given = _type_of(definition["defaultValue"])
            if given != wanted and wanted != "STRING" and not {wanted, given} <= _NUMBERS:
                keys = spec.root.place.at("inputDefinitions", "parameters", name).keys
                yield Fault(Place(f"root/{name}", keys), f"is {wanted}; its default is {given}")


def _unused_parameter(spec: Spec) -> Faults:
    """Nothing reads a parameter: whoever sets it believes that it does something."""
    if spec.is_component:
        return
    tree = [executor.platform for executor in spec.executors.values()]
    read = set(re.findall(r'"componentInputParameter": "([^"]+)"', json.dumps(tree, default=str)))
    for executor in spec.executors.values():  # inside a group, kfp may forget what these read
        read |= {name.removeprefix("pipelinechannel--") for name in executor.reads}
    for task in spec.root.tasks.values():
        read |= {each.around for each in task.inputs.values()}
    for name in sorted(spec.root.parameters.keys() - read):
        keys = spec.root.place.at("inputDefinitions", "parameters", name).keys
        yield Fault(Place(f"root/{name}", keys), "no task reads the parameter")


RULES = (
    Rule(
        "dangling-input",
        "error",
        "a task reads something that is not there: it fails when its turn comes",
        "pass it on through every group around the task",
        _dangling_input,
    ),
    Rule(
        "dangling-output",
        "error",
        "an output selects a task or a key that is not there: the run fails at its end",
        "compile the pipeline again, with one version of kfp",
        _dangling_output,
    ),
    Rule(
        "missing-input",
        "error",
        "a task does not get an input that its component needs: it fails when its turn comes",
        "pass the input, or give it a default in the component",
        _missing_input,
    ),
    Rule(
        "undeclared-input",
        "warning",
        "a task gets an input that its component does not know: KFP drops it in silence",
        "correct the name, or compile the pipeline again with the component as it is now",
        _undeclared_input,
    ),
    Rule(
        "input-type",
        "error",
        "a task gets a value of another type than its component declares: it fails at its turn",
        "pass a value of that type, or declare the other type in the component",
        _input_type,
    ),
    Rule(
        "default-type",
        "error",
        "a parameter's default has another type than the parameter: runs without a value fail",
        "correct the default, or the parameter's annotation",
        _default_type,
    ),
    Rule(
        "unused-parameter",
        "note",
        "no task reads a parameter: setting it changes nothing",
        "remove it from the pipeline's function, or pass it to a task",
        _unused_parameter,
    ),
)
