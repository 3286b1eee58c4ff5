"""Whatever becomes of a spec, the lint answers with findings or one line."""

import random

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from soda.lint import lint
from soda.lint.check import check
from soda.lint.config import LintConfig
from soda.lint.errors import LintError
from soda.lint.source import read
from soda.lint.spec import TARGETS
from tests.fakes.spec import clean

ODD = [
    None,
    True,
    0,
    -1,
    1e400,
    3.5,
    "",
    "x",
    "{{$.inputs.parameters['x']}}",
    "'",
    "root",
    "1e9999",
]
ODD += [[], [None], ["a", 1], {}, {"": ""}, {"root": {}}, {"a": {"b": []}}, "nan", "9" * 500]
ODD += ["inputs.parameter_values['x'] == 'it's'", "exec-tell", "comp-tell", "tell", "count"]


@dsl.component(base_image="work:1")
def listed() -> list:
    return []


@dsl.component(base_image="work:1")
def say(word: str, rows: dsl.Output[dsl.Dataset]) -> str:
    return word


@dsl.pipeline(name="nested")
def nested(word: str = "a", cores: str = "1"):
    with dsl.ExitHandler(say(word="end")):
        with dsl.ParallelFor(listed().output) as item:
            said = say(word=item).set_cpu_limit(cores)
            with dsl.If(said.outputs["Output"] == word):
                kubernetes.mount_pvc(say(word=said.outputs["Output"]), "claim", "/data")
        say(word=word).ignore_upstream_failure()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    file = tmp_path_factory.mktemp("fuzz") / "nested.yaml"
    compiler.Compiler().compile(nested, str(file))
    return file.read_text()


def places(tree, path=()):
    """Yield every mapping or list in a tree, with one of its keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutate(documents, chance):
    """Change one place: another value, one from elsewhere, another name, or nothing there."""
    around, key = chance.choice(list(places(documents)))
    other, other_key = chance.choice(list(places(documents)))
    match chance.randrange(5):
        case 0:
            around[key] = chance.choice(ODD)
        case 1:
            around[key] = yaml.safe_load(yaml.safe_dump(other[other_key]))
        case 2 if isinstance(around, dict):
            around[str(other_key)] = around.pop(key)
        case 3:
            del around[key]
        case _:
            around[key] = [around[key]]


@pytest.mark.parametrize("seed", range(400))
def test_a_changed_spec_never_raises_anything_but_a_refusal(seed, compiled):
    chance = random.Random(seed)
    documents = clean() if seed % 2 else list(yaml.safe_load_all(compiled))
    for _ in range(chance.randint(1, 4)):
        mutate(documents, chance)
    try:
        findings = lint(documents, TARGETS)
    except LintError as error:
        assert "\n" not in str(error)
    else:
        assert all(each.message and each.place for each in findings)


@pytest.mark.parametrize("seed", range(100))
def test_changed_text_never_raises_anything_but_a_refusal(seed, compiled, tmp_path):
    chance = random.Random(seed)
    text = bytearray(compiled.encode())
    for _ in range(chance.randint(1, 8)):
        start = chance.randrange(len(text))
        text[start : start + chance.randrange(12)] = chance.choice(
            [b"", b"\n", b": ", b"- ", b"{", b"]", b"'", b"&a *a", b"\t", b"\xff", b"? ", b"!!x "]
        )
    (tmp_path / "spec.yaml").write_bytes(text)
    try:
        check(read(str(tmp_path / "spec.yaml")), LintConfig(targets=TARGETS, style=True))
    except LintError as error:
        assert "\n" not in str(error)
