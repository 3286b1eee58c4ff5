"""Rules about placeholders that nothing fills in."""

import json
import re
from collections.abc import Iterator

from ..findings import Fault, Faults, Rule
from ..spec import NOTHING, Component, Executor, Place, Spec

__all__ = ["RULES"]

_PLACEHOLDER = re.compile(r"\{\{\$\.(\w+)\.(\w+)\[\\?['\"]+([^'\"\\]+)\\?['\"]+\]")
_V1 = re.compile(
    r"\{\{\s*(?:workflow\.(?:status|failures|name|uid|namespace|parameters\.[\w-]+|creationTimestamp)"
    r"|pod\.name|inputs\.parameters\.[\w-]+)\s*\}\}"
)
_CHANNEL = re.compile(r"\{\{(?:channel|pipelineparam):[^}]*\}\}")


def _unknown_placeholder(spec: Spec) -> Faults:
    """A placeholder names an input or output that its component does not have.

    Newer drivers fail; older ones hand the text over as it is, braces and all.
    """
    for executor in spec.executors.values():
        users = [c for c in spec.components.values() if c.executor and _runs(c, executor)]
        for word in executor.words if users else ():
            for side, kind, name in _PLACEHOLDER.findall(word):
                if not any(_has(spec, component, side, kind, name) for component in users):
                    message = f"reads {side}.{kind}['{name}'], which its component does not have"
                    yield Fault(executor.place.at("container"), message)


def _runs(component: Component, executor: Executor) -> bool:
    return component.executor == executor.place.name


def _has(spec: Spec, component: Component, side: str, kind: str, name: str) -> bool:
    if side == "outputs" and kind in ("parameters", "artifacts"):
        return name in component.makes
    if side == "inputs" and kind in ("parameters", "artifacts"):
        given = (task.inputs.keys() for task in spec.callers.get(component.name, []))
        return name in component.receives.union(*given)
    return False


def _words(spec: Spec) -> Iterator[tuple[Place, str]]:
    """Yield texts that KFP or a component reads: words of commands, variables, values."""
    for executor in spec.executors.values():
        place = executor.place.at("container")
        yield from ((place, word) for word in executor.words)
        yield from ((place.at("env"), value) for value in executor.env.values())
        yield place.at("resources"), json.dumps(executor.resources, default=str)
        yield executor.settings, json.dumps(executor.platform, default=str)
    for task in spec.tasks:
        for name, source in task.inputs.items():
            if source.constant is not NOTHING:
                text = json.dumps(source.constant, default=str)
                yield task.place.at("inputs", "parameters", name), text


def _v1_placeholder(spec: Spec) -> Faults:
    """A placeholder of Argo, as KFP v1 pipelines had them.

    KFP v2 does not promise to fill it in: most arrive as they are written, and `workflow.status`
    is known to no task. What it offers stands in `kfp.dsl`: PIPELINE_JOB_NAME_PLACEHOLDER and its
    like, and PipelineTaskFinalStatus.
    """
    for place, text in _words(spec):
        for found in sorted(set(_V1.findall(text))):
            yield Fault(place, f"{found} is a placeholder of KFP v1")


def _raw_channel(spec: Spec) -> Faults:
    """kfp left its own name for an output or parameter in the spec: nothing fills it in.

    It does so where it takes constants alone: in an environment variable, a label, a path.
    """
    for place, text in _words(spec):
        for found in sorted(set(_CHANNEL.findall(text))):
            yield Fault(place, f"{found} stays as it is")


RULES = (
    Rule(
        "unknown-placeholder",
        "error",
        "a placeholder names an input or output that is not there: nothing fills it in",
        "correct the name in the placeholder",
        _unknown_placeholder,
    ),
    Rule(
        "v1-placeholder",
        "warning",
        "a placeholder of KFP v1 stays as it is written",
        "use the placeholders of kfp.dsl, or PipelineTaskFinalStatus",
        _v1_placeholder,
        ("kfp", "local"),
    ),
    Rule(
        "raw-channel",
        "error",
        "an output or parameter is used where kfp takes constants: its name stays in the spec",
        "pass it to the component as an input",
        _raw_channel,
    ),
)
