"""The rule about secrets that everybody can read."""

import json
import re
from collections.abc import Iterator

from ..findings import Fault, Faults, Rule
from ..spec import Place, Spec

__all__ = ["RULES"]

# The end leaves out TOKENIZERS_PARALLELISM and MAX_TOKENS, and names of places: TOKEN_FILE.
_NAME = re.compile(
    r"(token|secret|passwo?r?d|(api|access|private)_?key)"
    r"(?![a-z]|_(file|path|dir|name|url|uri|type|header|limit|ttl|required|enabled|count)$)",
    re.I,
)
_HARMLESS = re.compile(r"|true|false|yes|no|none|null|\d{1,4}|\{\{.*|\$\(.*", re.I)
_START = r"(?<![A-Za-z0-9_-])"
_KINDS = {
    "an OpenAI-style key": rf"{_START}sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{{20,}}",
    "a GitHub token": rf"{_START}(gh[pousr]_[A-Za-z0-9]{{36}}|github_pat_\w{{22,}})",
    "a GitLab token": rf"{_START}glpat-[\w-]{{20,}}",
    "a Hugging Face token": rf"{_START}hf_[A-Za-z0-9]{{30,}}",
    "an AWS access key": rf"{_START}(AKIA|ASIA)[0-9A-Z]{{16}}(?![0-9A-Za-z])",
    "a Google API key": rf"{_START}AIza[\w-]{{35}}",
    "a Slack token": rf"{_START}xox[abeoprs]-[\w-]{{10,}}",
    "a private key": r"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----",
}


def _literal_secret(spec: Spec) -> Faults:
    """A password or token is written in the spec.

    Whoever may see a run, the spec's file or its history in git can read it. Looked at: environment
    variables with such a name, and values of a well-known form in environment, command, arguments,
    constants and defaults. The value itself is never printed.
    """
    for executor in spec.executors.values():
        for index, (name, value) in enumerate(executor.env.items()):
            if _NAME.search(name) and not _HARMLESS.fullmatch(value):
                place = executor.place.at("container", "env", str(index))
                yield Fault(place, f"the value of {name} is in the spec")
    for place, value in _values(spec):
        for kind, pattern in _KINDS.items():
            if re.search(pattern, value):
                yield Fault(place, f"{kind} is in the spec")


def _values(spec: Spec) -> Iterator[tuple[Place, str]]:
    for executor in spec.executors.values():
        named = {n: "" if _NAME.search(n) else v for n, v in executor.env.items()}
        words = {"env": list(named.values()), "command": executor.command, "args": executor.args}
        for key, values in words.items():
            for index, value in enumerate(values):
                yield executor.place.at("container", key, str(index)), value
    for task in spec.tasks:
        for name, source in task.inputs.items():
            place = task.place.at("inputs", "parameters", name)
            yield place, json.dumps(source.constant, ensure_ascii=False, default=str)
    for component in spec.components.values():
        for name, tree in component.parameters.items():
            place = component.place.at("inputDefinitions", "parameters", name)
            value = json.dumps(tree.get("defaultValue"), ensure_ascii=False, default=str)
            yield Place(f"{component.name}/{name}", place.keys), value


RULES = (
    Rule(
        "literal-secret",
        "error",
        "a password or token is written in the spec, for everybody who may see a run",
        "call kubernetes.use_secret_as_env, and replace the secret: anyone can read this file",
        _literal_secret,
    ),
)
