"""Rules about tasks that act on, or ask, the world outside: caching and gates."""

import json
import re

from ..findings import Fault, Faults, Rule
from ..origins import origins
from ..spec import Spec, Task

__all__ = ["RULES"]

_ACTS = {"register", "deploy", "promote", "publish"}
_TELLS = {"notify", "alert", "announce"}
_MEASURES = {"eval", "evaluate", "evaluation", "evaluator", "report", "gate", "metrics", "compare"}
_MEASURES |= {"validate", "validation", "score", "judge", "test", "benchmark"}
_STORAGE = re.compile(r"(AWS|S3|GCS|MINIO|AZURE_STORAGE)_|GOOGLE_APPLICATION_CREDENTIALS$")
_IDENTITY = re.compile(r"digest|revision|fingerprint|identity|sha256|checksum", re.I)


def _words(*names: str) -> set[str]:
    return {word for name in names for word in re.split(r"[^a-z]+", name.lower())}


def _cache_without_digest(spec: Spec) -> Faults:
    """A cached task asks a service, and nothing in its cache key says what answers there.

    A secret in its environment shows that it talks to one. KFP's key holds inputs and image, and
    neither environment nor secrets: a new model behind the same name gives back the old answers.
    An input that speaks of a digest, revision, fingerprint or identity, in its name, description or
    value, is taken as the fix, and so is a cache key of one's own. Keys that only open a bucket
    (AWS_*, S3_*, ...) are not meant: what is read there is an artifact or a location.
    """
    for task, executor in spec.pods:
        asks = any(
            not _STORAGE.match(variable.get("envVar", ""))
            for secret in executor.platform.get("secretAsEnv", [])
            for variable in secret.get("keyToEnv", [])
        )
        if task.cached and asks and not task.cache_key and not _identified(spec, task):
            message = "it is cached and talks to a service, and no input names what answers there"
            yield Fault(task.place, message)


def _identified(spec: Spec, task: Task) -> bool:
    component = spec.components[task.component]
    values = [component.parameters, *(each.constant for each in task.inputs.values())]
    for name in task.inputs:
        values += [spec.root.parameters.get(each) for each in origins(spec, task, name)[1]]
    names = component.receives | task.inputs.keys()
    return bool(_IDENTITY.search(json.dumps([sorted(names), values], default=str)))


def _cached_side_effect(spec: Spec) -> Faults:
    """A task that acts on something outside is cached: the second time, nothing happens.

    The run shows the task as done. Meant are tasks whose names say that they register, deploy,
    promote, publish, notify or alert, and exit tasks. Not meant is a task that gets the final
    status of another: the name of the run is part of that, so it is never found in the cache.
    """
    for task, _ in spec.pods:
        inner = spec.components[task.component].parameters.values()
        status = any(each.get("parameterType") == "TASK_FINAL_STATUS" for each in inner)
        acts = _words(task.name, task.component) & (_ACTS | _TELLS)
        leaves = task.always and not task.inputs
        if task.cached and not status and (acts or leaves):
            yield Fault(task.place, "it acts on something outside, and is cached")


def _register_without_gate(spec: Spec) -> Faults:
    """A model is registered, deployed, promoted or published whatever it is worth.

    A gate is a condition around the task, or a task before it whose name says that it evaluates,
    compares, validates, tests or reports: that one can refuse.
    """
    for task, _ in spec.pods:
        if not _words(task.name, task.component) & _ACTS:
            continue
        around = [task, *spec.groups(task)]
        if any(each.condition for each in around):
            continue
        before = set(task.after)
        for name in task.inputs:
            before |= {f"{m.name} {m.component}" for m in origins(spec, task, name)[0]}
        if not _words(*before) & _MEASURES:
            yield Fault(task.place, "nothing before it can say no")


RULES = (
    Rule(
        "cache-without-digest",
        "warning",
        "a cached task asks a service: another model behind the same name gives old answers",
        "give it a parameter with the digest or revision of what answers, or turn off its cache",
        _cache_without_digest,
    ),
    Rule(
        "cached-side-effect",
        "warning",
        "a task that acts on the world is cached: the second time it does nothing, and is 'done'",
        "call task.set_caching_options(False)",
        _cached_side_effect,
    ),
    Rule(
        "register-without-gate",
        "warning",
        "a model is registered or deployed whatever it is worth",
        "put it under a dsl.If on what was measured, or give it the report to judge by",
        _register_without_gate,
    ),
)
