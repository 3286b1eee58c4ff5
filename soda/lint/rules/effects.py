"""Rules about tasks that act on, or ask, the world outside: caching and gates."""

import json
import re

from ..findings import Fault, Faults, Rule
from ..origins import origins
from ..spec import Spec, Task

__all__ = ["RULES"]

# Words by which a task's name says what it does. What it makes can be a file: 'register' a model.
_SHIPS = {"register", "deploy", "promote", "publish", "rollout"}
_TELLS = {"notify", "alert", "announce", "email", "send", "slack"}
_CHANGES = {"push", "upload", "delete", "undeploy", "cleanup"}
_NO_ACT = {"prepare", "build", "check", "test", "get", "generate", "create", "plan", "find", "list"}
_NO_ACT |= {"dont", "not", "no", "skip", "wait", "read", "print", "log", "local", "should", "is"}
_MEASURES = re.compile(
    r"eval|report|gate|metric|compar|valid|score|judge|test|check|benchmark|assess|decide|approv"
    r"|review|quality|threshold"
)
_MODEL = re.compile(r"model|champion|checkpoint|endpoint|classifier|predictor", re.I)
_SERVICE = re.compile(r"(API_?KEY|_TOKEN|TEACHER\w*|LLM\w*_KEY|OPENAI\w*|ANTHROPIC\w*)$")
_STORAGE = re.compile(
    r"AWS_|S3_|GCS_|MINIO|AZURE_STORAGE|HF_|HUGGING|GIT|WANDB|MLFLOW|DB_|REGISTRY"
)
_IDENTITY = re.compile(r"digest|revision|fingerprint|identity|sha256|checksum|version", re.I)


def _words(*names: str) -> set[str]:
    return {word for name in names for word in re.split(r"[^a-z]+", name.lower())}


def _acts(task: Task, verbs: set[str]) -> bool:
    """Tell whether a task's name is an order to act: its first or second word is such a verb."""
    words = [word for word in re.split(r"[^a-z]+", task.name.lower()) if word]
    return bool(set(words[:2]) & verbs) and not set(words) & _NO_ACT


def _cache_without_digest(spec: Spec) -> Faults:
    """A cached task asks a model's service, and nothing in its cache key says what answers there.

    A key or token of a service among its variables shows it. KFP's cache key holds inputs and
    image, and neither environment nor secrets: a new model behind the same name gives back the old
    answers. An input that speaks of a digest, revision, version or identity, in its name,
    description or value, answers for that, and so does a cache key of one's own. Keys that open
    a bucket, a hub or a database are not meant: what is read there has a location.
    """
    for task, executor in spec.pods if not spec.is_component else ():
        asks = any(
            _SERVICE.search(name) and not _STORAGE.match(name)
            for secret in executor.platform.get("secretAsEnv", [])
            for name in (each.get("envVar", "").upper() for each in secret.get("keyToEnv", []))
        )
        if task.cached and asks and not task.cache_key and not _identified(spec, task):
            message = "it is cached and asks a service, and no input names what answers there"
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

    The run shows the task as done. Meant are tasks whose names begin with such a verb (register,
    deploy, publish, notify, send, push, upload, delete, ...), and that make nothing which a later
    task reads: what is read is there again from the cache. Meant too are exit tasks without
    inputs. One that gets the final status of another is never found in the cache.
    """
    for task, _ in spec.pods if not spec.is_component else ():
        component = spec.components[task.component]
        kinds = {each.get("parameterType") for each in component.parameters.values()}
        acts = _acts(task, _SHIPS | _TELLS | _CHANGES) and not _is_read(spec, task)
        leaves = task.always and not task.inputs
        if task.cached and "TASK_FINAL_STATUS" not in kinds and (acts or leaves):
            yield Fault(task.place, "it acts on something outside, and is cached")


def _is_read(spec: Spec, task: Task) -> bool:
    beside = spec.components[task.around].tasks.values()
    return any(each.producer == task.name for other in beside for each in other.inputs.values())


def _register_without_gate(spec: Spec) -> Faults:
    """A model is registered, deployed, promoted or published whatever it is worth.

    Meant is a task of such a name that gets a model which the pipeline makes. A gate is a condition
    around the task, or any task before it whose name says that it evaluates, compares, validates,
    tests or reports: that one can refuse.
    """
    for task, _ in spec.pods if not spec.is_component else ():
        made = {m.name for name in task.inputs for m in origins(spec, task, name)[0]}
        inputs = " ".join([*task.inputs, *(each.output for each in task.inputs.values())])
        if not (_acts(task, _SHIPS) and made and _MODEL.search(f"{task.name} {inputs}")):
            continue
        if any(each.condition for each in (task, *spec.groups(task))):
            continue
        if not any(map(_MEASURES.match, _words(*_all_before(spec, task)))):
            yield Fault(task.place, "nothing before it can say no")


def _all_before(spec: Spec, task: Task) -> set[str]:
    """Return the names of all tasks that end before a task begins, with those of their groups."""
    found: set[str] = set()
    waiting = [task, *spec.groups(task)]
    while waiting:
        each = waiting.pop()
        beside = spec.components[each.around].tasks
        before = (each.after | {i.producer for i in each.inputs.values()}) & beside.keys()
        waiting += [beside[name] for name in before if f"{each.around}/{name}" not in found]
        found |= {f"{each.around}/{name}" for name in before}
        found |= {beside[name].component for name in before}
        for name in before:
            inner = spec.components.get(beside[name].component)
            found |= inner.tasks.keys() if inner else set()
    return found


RULES = (
    Rule(
        "cache-without-digest",
        "warning",
        "a cached task asks a service: another model behind the same name gives old answers",
        "give it a parameter with the digest or revision of what answers, or turn off its cache",
        _cache_without_digest,
        ("kfp",),
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
        "note",
        "a model is registered or deployed whatever it is worth",
        "put it under a dsl.If on what was measured, or give it the report to judge by",
        _register_without_gate,
    ),
)
