"""Rules about references that lead nowhere."""

import json
import re

from ..findings import Fault, Faults, Rule
from ..spec import Input, Place, Spec, Task

__all__ = ["OPERAND", "RULES"]

OPERAND = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]")


def _settings(spec: Spec, task: Task) -> set[str]:
    component = spec.components.get(task.component)
    executor = spec.executors.get(component.executor) if component else None
    return executor.reads if executor else set()


def _lost(spec: Spec, task: Task, source: Input) -> str:
    """Say what an input comes from that is not there, or ''."""
    around = spec.components[task.around]
    if source.around and source.around not in around.receives:
        return f"'{source.around}', which '{around.name}' does not receive"
    if not source.producer:
        return ""
    if source.producer not in around.tasks:
        return f"the task '{source.producer}', which is not beside it"
    made = spec.components.get(around.tasks[source.producer].component)
    if made and not source.status and source.output not in made.produces:
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
        constants = [each.constant for each in task.inputs.values()]
        read = set(_PLACEHOLDER.findall(json.dumps(constants, default=str))) - settings
        for name in sorted(read - task.inputs.keys()):
            yield Fault(task.place.at("inputs"), f"a value reads '{name}', no input of the task")
        for name in sorted(set(OPERAND.findall(task.condition)) - task.inputs.keys()):
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
            if made and output.output not in made.produces:
                message = f"output '{output.name}' selects '{output.output}', "
                yield Fault(place, f"{message}which '{output.producer}' does not make")


def _unknown_component(spec: Spec) -> Faults:
    """A task runs a component that the spec does not hold: the cluster refuses it, or fails."""
    for task in spec.tasks:
        if task.component not in spec.components:
            yield Fault(task.place, f"runs '{task.component}', no component")


def _unknown_executor(spec: Spec) -> Faults:
    """A component or a platform setting names an executor that the spec does not hold.

    LintConfig for no executor are ignored in silence: no secret, no volume, no node selector.
    """
    for component in spec.components.values():
        if component.executor and component.executor not in spec.labels:
            yield Fault(component.place, f"is run by '{component.executor}', no executor")
    for label in sorted(spec.settings.keys() - spec.labels):
        yield Fault(spec.settings[label], "has platform settings, but is no executor")


def _missing_dependency(spec: Spec) -> Faults:
    """A task reads what another makes, and does not wait for it.

    kfp 2.17 forgets the wait for the list of a loop in which nothing reads the item. The loop then
    starts before its list exists, and fails.
    """
    for task in spec.tasks:
        beside = spec.components[task.around].tasks
        read = {each.producer for each in task.inputs.values()} & beside.keys()
        for producer in sorted(read - task.after):
            yield Fault(task.place, f"reads what '{producer}' makes, and does not wait for it")


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


_AGAIN = "compile the pipeline again, with one version of kfp"

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
        _AGAIN,
        _dangling_output,
    ),
    Rule(
        "missing-dependency",
        "error",
        "a task does not wait for what it reads: it starts too early and fails",
        "read the item in the loop, or call .after(...) on a task of the loop with the list's",
        _missing_dependency,
    ),
    Rule(
        "unknown-component",
        "error",
        "a task runs a component that is not in the spec: the run is refused or fails",
        _AGAIN,
        _unknown_component,
    ),
    Rule(
        "unknown-executor",
        "error",
        "settings or a component name no executor: secrets and volumes are left out in silence",
        _AGAIN,
        _unknown_executor,
    ),
    Rule(
        "unused-parameter",
        "note",
        "no task reads a parameter: setting it changes nothing",
        "remove it from the pipeline's function, or pass it to a task",
        _unused_parameter,
    ),
)
