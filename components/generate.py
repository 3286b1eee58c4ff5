"""Write each component's README.md and component.yaml: `python -m soda_components.generate`.

With --check nothing is written: the files that are out of date are named, and the exit code is 1.
"""

import argparse
import importlib
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import docstring_parser
import yaml
from kfp import compiler

from soda import __version__

from . import images

__all__ = ["ROOT", "load_component", "main", "names", "readable", "readme", "spec"]

ROOT = Path(__file__).resolve().parent
_ADDRESS = f"https://raw.githubusercontent.com/soda-distill/soda/v{__version__}/components"
_TYPES = {
    "String": "str",
    "Integer": "int",
    "Double": "float",
    "Boolean": "bool",
    "Dict": "dict",
    "List": "list",
}
_STATUS = "PipelineTaskFinalStatus"  # Kubeflow fills it in
# What an example says for values without a default, and for the configs that need any.
_EXAMPLES = {
    "store": '"gs://bucket/soda"',
    "candidates": '["gs://bucket/artifacts/snapshot-1", "gs://bucket/artifacts/snapshot-2"]',
    "reports": '["gs://bucket/artifacts/eval-1", "gs://bucket/artifacts/eval-2"]',
    "train_job.store": '"/store"',
    "run": "dsl.PIPELINE_JOB_ID_PLACEHOLDER",
    "pipeline": '"example"',
    "image": "images.GPU",
    "images": "[images.CPU, images.GPU]",
    "prepare-prompts": '{"dataset": "gs://bucket/prompts.jsonl"}',
    "import-student": '{"source": "gs://bucket/student"}',
    "teacher-gen": '{"base_url": "https://teacher.example/v1", "model": "teacher"}',
    "compare": '{"names": ["SODA", "SeqKD"]}',
    "register": '{"name": "student", "registry": "gs://bucket/registry"}',
}
_ACT = {"preflight", "register", "watch"}  # on the world, or look at it: reused, it lies


def names() -> list[str]:
    """Return the folders that hold a component."""
    return sorted(path.parent.name for path in ROOT.glob("*/component.py"))


def load_component(name: str) -> Any:
    """Import a component by its folder's name."""
    return getattr(importlib.import_module(f"soda_components.{name}.component"), name)


class _Readable(yaml.SafeDumper):
    """Text of several lines as a block, as people read it; nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)


def readable(*documents: Any) -> str:
    """Return YAML that a person can review: short, source code as it is, no aliases."""

    return str(yaml.dump_all(documents, Dumper=_Readable, default_flow_style=None, width=10_000))


def spec(name: str) -> str:
    """Return a component compiled: what `kfp.components.load_component_from_file` takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "component.yaml"
        compiler.Compiler().compile(load_component(name), str(path))
        compiled = yaml.safe_load(path.read_text(encoding="utf-8"))
    del compiled["sdkVersion"]  # another one changes nothing
    return f"# Made by `make generated` from component.py.\n{readable(compiled)}"


def readme(name: str) -> str:
    """Return the README of a component."""
    component = load_component(name)
    metadata = yaml.safe_load((ROOT / name / "metadata.yaml").read_text(encoding="utf-8"))
    blocks = [
        f"# {name}",
        "<!-- Made by `make generated` from component.py and metadata.yaml. -->",
        component.component_spec.description,
        metadata.get("description", "").strip(),
        *_interface(component),
        *_config(_stage(component)),
        *_usage(name, component, metadata),
        *_metadata(metadata, component),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _interface(component: Any) -> Iterator[str]:
    spec = component.component_spec
    text = docstring_parser.parse(component.python_func.__doc__)
    docs = {each.arg_name: each.description for each in text.params}
    rows = []
    for key, each in spec.inputs.items():
        default = f"`{each.default!r}`" if each.optional else "required"
        default = "Kubeflow's own" if each.type == _STATUS else default
        rows.append([f"`{key}`", _type(each.type), default, each.description])
    yield "## Inputs"
    yield _table(["name", "type", "default", "what it is"], rows)
    if spec.outputs:
        rows = [
            [f"`{key}`", _type(each.type), each.description or docs.get(key)]
            for key, each in spec.outputs.items()
        ]
        yield "## Outputs"
        yield _table(["name", "type", "what it is"], rows)


def _type(name: str) -> str:
    """Return `dsl.Dataset` for system.Dataset@0.0.1, and `dict` for Dict."""
    if name == _STATUS:
        return f"`dsl.{name}`"
    if name.startswith("system."):
        return f"`dsl.{name.removeprefix('system.').split('@')[0]}`"
    return f"`{_TYPES[name]}`"


def _stage(component: Any) -> str:
    """Return the stage whose config a component takes; train-job is train, elsewhere."""
    return str(component.component_spec.name).removesuffix("-job")


def _config(stage: str) -> Iterator[str]:
    from soda.stage import load_stage
    from soda.stages import STAGES

    if stage in STAGES and (fields := load_stage(stage).config.model_fields):
        yield "## Values of `config`"
        rows = list(_fields(fields))
        yield _table(["key", "type", "default", "what it is"], rows)


def _fields(fields: Any, path: str = "") -> Iterator[list[str]]:
    """Return a row for each field; a group of fields has a row for each of its own."""
    from soda.config import group_name, groups_of, summary, values_of

    for key, field in fields.items():
        groups = groups_of(field.annotation)
        if not groups:
            default = "required" if field.is_required() else f"`{field.default!r}`"
        elif len(groups) > 1:
            default = f"`{field.default.name!r}`"
        else:
            default = "`None`" if field.default is None else ""
        kind = "group" if groups else _annotation(field.annotation)
        yield [f"`{path}{key}`", kind, default, field.description]
        for group in groups:
            if len(groups) > 1:
                yield [f"`{path}{key}={group_name(group)}`", "group", "", summary(group)]
            yield from _fields(values_of(group), f"{path}{key}.")


def _annotation(annotation: Any) -> str:
    """Say a field's type: `int`, `int` or `None`, or the words it may be."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value!r}`" for value in get_args(annotation))
    if isinstance(annotation, types.UnionType):
        return " or ".join(_annotation(each) for each in get_args(annotation))
    if annotation is types.NoneType:
        return "`None`"
    return f"`{(get_origin(annotation) or annotation).__name__}`"


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    cells = [
        [" ".join(str(cell or "").split()).replace("|", "\\|") for cell in row] for row in lines
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _usage(name: str, component: Any, metadata: dict[str, Any]) -> Iterator[str]:
    yield "## Usage"
    yield "With `soda-distill[kfp]` installed:"
    yield _python(*_example(name, component, metadata))
    yield (
        "Without it, in place of the import; `task.set_container_image` names an image of your own:"
    )
    address = f'"{_ADDRESS}/{name}/component.yaml"'
    yield _python(
        "from kfp import components",
        "",
        f"{name} = components.load_component_from_url(",
        f"    {address}",
        ")",
    )


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _example(name: str, component: Any, metadata: dict[str, Any]) -> Iterator[str]:
    spec = component.component_spec
    artifacts = [key for key, each in spec.inputs.items() if each.type.startswith("system.")]
    given = {key: f"{key}.output" for key in artifacts}
    for key, each in spec.inputs.items():
        if key not in given and (not each.optional or key == "store"):
            given[key] = _value(name, key, _stage(component))
    exits = any(each.type == _STATUS for each in spec.inputs.values())
    yield "from kfp import dsl"
    yield ""
    if any("images." in value for value in given.values()):
        yield "from soda_components import images"
    yield f"from soda_components.{name}.component import {name}"
    if exits:
        yield "from soda_components.prepare_prompts.component import prepare_prompts"
    yield from ["", "", "@dsl.pipeline", "def example():"]
    for key in artifacts:
        kind = _type(spec.inputs[key].type).strip("`")
        yield f'    {key} = dsl.importer(artifact_uri="gs://bucket/{key}", artifact_class={kind})'
    yield f"    task = {name}("
    yield from (f"        {key}={value}," for key, value in given.items())
    yield "    )"
    if name in _ACT:
        yield "    task.set_caching_options(False)  # what it did or saw once is not so again"
    if "gpu" in metadata["tags"]:
        yield '    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)'
    if exits:
        yield "    with dsl.ExitHandler(task):"
        yield f"        prepare_prompts(config={_EXAMPLES['prepare-prompts']})"


def _value(name: str, key: str, stage: str) -> str:
    """Return what an example says for one parameter; a config's stage is in its name."""
    if key.endswith("config"):
        named = key.removesuffix("config").rstrip("_").replace("_", "-")
        return _EXAMPLES.get(named or stage, "{}")
    return _EXAMPLES.get(f"{name}.{key}") or _EXAMPLES[key]


def _metadata(metadata: dict[str, Any], component: Any) -> Iterator[str]:
    image = component.component_spec.implementation.container.image
    needs = [each for group in metadata["dependencies"].values() for each in group]
    yield "## Metadata"
    yield "\n".join(
        [
            f"- Stability: {metadata['stability']}",
            f"- Image: `soda_components.images.{'GPU' if image == images.GPU else 'CPU'}`",
            f"- Needs: {', '.join('{name} {version}'.format(**each) for each in needs)}",
            f"- Tags: {', '.join(metadata['tags'])}",
            f"- Last verified: {metadata['lastVerified']:%Y-%m-%d}",
        ]
    )


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write the files, or say which are out of date; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    stale = []
    for name in names():
        for file, make in (("README.md", readme), ("component.yaml", spec)):
            path, text = ROOT / name / file, make(name)
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(f"components/{name}/{file}")
                if not check:
                    path.write_text(text, encoding="utf-8")
    for each in stale:
        say(f"{each}: {'out of date; run `make generated`' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
