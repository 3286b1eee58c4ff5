"""The rule about secrets that everybody can read."""

import json
import re
from collections.abc import Iterator

from ..findings import Fault, Faults, Rule
from ..spec import NOTHING, Place, Spec

__all__ = ["RULES"]

# A name is a secret's by how it ends: MAX_TOKENS, TOKEN_FILE and SECRET_NAME are none.
_ENDS = {"token", "secret", "password", "passwd", "passphrase", "pass", "pwd", "apikey"}
_KEYS = {"api", "access", "secret", "private", "encryption", "signing", "account", "auth"}
# What models call tokens (EOS_TOKEN), and what are names of Secrets and of keys in them.
_VOCABULARY = {"eos", "bos", "pad", "unk", "sep", "cls", "mask", "sos", "start", "stop", "end"}
_VOCABULARY |= {"special", "image", "next", "page", "per", "prompt", "max", "min", "new", "extra"}
_HARMLESS = re.compile(
    r"(?is)|true|false|yes|no|none|null|default"
    r"|<.*>|\[.*\]|.*\*{3}.*|x{3,}|\.{3}|/.*|[a-z]+://[^:@]*|projects/.*"  # a path, a reference
    r"|.*(your|change.?(me|it|this)|replace|example|dummy|placeholder|redacted|insert|todo|fake).*"
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FILLED = re.compile(r"\{\{|\$[({A-Z_]|\{\w+\}|%s|%\(")  # at run time
_PASSWORD = re.compile(r"pass|pwd", re.I)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_START = r"(?<![A-Za-z0-9_-])"
_KINDS = {
    "an OpenAI-style key": rf"{_START}sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{{20,}}",
    "a GitHub token": rf"{_START}(gh[pousr]_[A-Za-z0-9]{{36}}|github_pat_\w{{22,}})",
    "a GitLab token": rf"{_START}glpat-[\w-]{{20,}}",
    "a Hugging Face token": rf"{_START}hf_[A-Za-z0-9]{{30,}}",
    "an AWS access key": rf"{_START}(AKIA|ASIA)[0-9A-Z]{{16}}(?![0-9A-Za-z])",
    "a Google API key": rf"{_START}AIza[\w-]{{35}}",
    "a Slack token": rf"{_START}xox[abeoprs]-[\w-]{{10,}}",
    "a private key": r"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----\s*(\\n)?[A-Za-z0-9+/=]{20}",
    "a JSON web token": rf"{_START}eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{10,}}",
    "a webhook's address": r"https://(hooks\.slack\.com/services/T\w+/B\w+/\w{10,}"
    r"|(\w+\.)?discord(app)?\.com/api/webhooks/\d+/[\w-]{20,}"
    r"|[\w.-]+\.office\.com/webhook\w*/[\w@-]{20,})",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_HINT = re.compile(
    r"sk-|gh[pousr]_|github_pat_|glpat-|hf_|AKIA|ASIA|AIza|xox|PRIVATE|eyJ|webhook|ices/T"
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@'\"{}$<]+:([^\s:/@'\"]{3,})@[\w.-]")
_ASSIGNED = re.compile(r"""\b(\w+)["']?\]?\s*(?:=|:)\s*(?:str\()?["']([^"'\n]+)["']""")
_WEAK = re.compile(r"pass(word|wd)?|pwd|secret|token|user|admin|test|string|str|bearer", re.I)


def _is_secret(name: str) -> bool:
    """Tell by a variable's name whether it holds a secret."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    before = words[-2] if len(words) > 1 else ""
    if words[-1:] == ["key"]:
        return before in _KEYS
    return bool(words) and words[-1] in _ENDS and before not in _VOCABULARY


def _holds(name: str, value: str) -> bool:
    """Tell whether a value is a secret and not its place, a switch or an example."""
    if not _is_secret(name) or _harmless(value) or _VARIABLE.fullmatch(value):
        return False
    if _NUMBER.fullmatch(value):
        return bool(_PASSWORD.search(name))
    if name.lower().endswith("token") and not re.search(r"\d", value):
        return False  # 'google_default', 'anon': tokens hold digits
    # `secret: my-secret` names a Kubernetes Secret; `client_secret: 5f2c...` is one.
    names_one = name.lower().endswith("secret") and re.fullmatch(r"[a-z][a-z0-9.-]*", value)
    return not (names_one and ("-" in value or value.isalpha()))


def _harmless(value: str) -> bool:
    return bool(_HARMLESS.fullmatch(value.strip()) or _FILLED.search(value))


def _literal_secret(spec: Spec) -> Faults:
    """A password or token is written in the spec.

    Whoever may see a run, the spec's file or its history in git can read it. Looked at: what
    variables and parameters with such a name hold; keys, tokens and webhooks of a well-known form,
    and passwords in addresses, wherever they stand: commands, sources of components, values,
    defaults, annotations. The value itself is never printed.
    """
    for executor in spec.executors.values():
        for index, (name, value) in enumerate(executor.env.items()):
            if _holds(name, value):
                place = executor.place.at("container", "env", str(index))
                yield Fault(place, f"the value of {name} is in the spec")
        for name in sorted({n for n, v in _ASSIGNED.findall(executor.source) if _assigned(n, v)}):
            place = executor.place.at("container", "command")
            yield Fault(place, f"the value of {name} is in the component's source")
    for place, name, constant in _given(spec):
        if isinstance(constant, str) and _holds(name, constant):
            yield Fault(place, f"the value of {name} is in the spec")
    for place, text in _texts(spec):
        for kind in _kinds(text):
            yield Fault(place, f"{kind} is in the spec")


def _assigned(name: str, value: str) -> bool:
    likely = _PASSWORD.search(name) or re.search(r"\d", value)
    return bool(
        len(value) > 5
        and likely
        and " " not in value
        and not _WEAK.fullmatch(value)
        and _holds(name, value)
    )


def _kinds(text: str) -> Iterator[str]:
    if _HINT.search(text):
        yield from (kind for kind, pattern in _PATTERNS.items() if pattern.search(text))
    if "://" in text:
        for password in _ADDRESS.findall(text):
            if not _harmless(password) and not _WEAK.fullmatch(password):
                yield "a password in an address"


def _given(spec: Spec) -> Iterator[tuple[Place, str, object]]:
    """Yield the name and value of each constant and default."""
    for task in spec.tasks:
        for name, source in task.inputs.items():
            if source.constant is not NOTHING:
                yield task.place.at("inputs", "parameters", name), name, source.constant
    for component in spec.components.values():
        for name, tree in component.parameters.items():
            place = component.place.at("inputDefinitions", "parameters", name)
            yield Place(f"{component.name}/{name}", place.keys), name, tree.get("defaultValue")


def _texts(spec: Spec) -> Iterator[tuple[Place, str]]:
    """Yield every text that may hold a secret of a well-known form."""
    for executor in spec.executors.values():
        named = {n: "" if _holds(n, v) else v for n, v in executor.env.items()}
        words = {"env": list(named.values()), "command": executor.command, "args": executor.args}
        for key, values in words.items():
            for index, value in enumerate(values):
                yield executor.place.at("container", key, str(index)), value
        yield (
            executor.settings.at("podMetadata"),
            "\n".join(
                str(v)
                for v in executor.platform.get("podMetadata", {}).get("annotations", {}).values()
            ),
        )
    for place, name, constant in _given(spec):
        if not (isinstance(constant, str) and _holds(name, constant)):
            yield place, json.dumps(constant, ensure_ascii=False, default=str)


RULES = (
    Rule(
        "literal-secret",
        "error",
        "a password or token is written in the spec, for everybody who may see a run",
        "call kubernetes.use_secret_as_env, and replace the secret: anyone can read this file",
        _literal_secret,
    ),
)
