"""Every rule against one sound pipeline and the same with one fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kfp import compiler, dsl, kubernetes
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.lint import RULES, lint, load
from soda.errors import ConfigError

Documents = list[dict[str, Any]]
DOC = """Do what the word says.

Args:
    word: what to do
    cpu: cores of the last task
    image: image of the last task
    node: labels of its node
"""


def decide(word: str) -> NamedTuple("Answers", [("Output", str), ("other", str)]):
    """Return two answers."""


def make(word: str, rows: dsl.Output[dsl.Dataset]):
    """Write some rows."""


def read(word: str, rows: dsl.Input[dsl.Dataset]):
    """Read the rows."""


def undocumented(word: str, rows: dsl.Input[dsl.Dataset]):
    pass


@dsl.container_component
def installing(word: str, rows: dsl.Input[dsl.Dataset]):
    """Install something."""
    return dsl.ContainerSpec(image="soda:1", command=["sh", "-c"], args=["pip install x", word])


def component(function: Callable[..., Any], **settings: Any) -> Any:
    return dsl.component(
        function, **({"base_image": "soda:1", "install_kfp_package": False} | settings)
    )


def sound(task: dsl.PipelineTask) -> dsl.PipelineTask:
    return task.set_retry(2).set_cpu_limit("1").set_memory_limit("1G")


class Given(NamedTuple):
    cpu: Any
    image: Any
    node: Any
    answer: Any


def pipeline(
    change: Callable[[dsl.PipelineTask, Given], object] = lambda task, given: None,
    *,
    step: Any = None,
    answer: str = "Output",
    finish: Callable[[dsl.PipelineTask], dsl.PipelineTask] = sound,
    doc: str | None = DOC,
) -> Any:
    """Two tasks, and a third inside two groups: the one that the arguments change."""

    def wiring(node: dict, word: str = "go", cpu: str = "1", image: str = "soda:1"):
        made = sound(component(make)(word=word))
        answers = sound(component(decide)(word=word))
        with dsl.If(answers.outputs[answer] == "go"), dsl.ParallelFor(["a", "b"]) as item:
            task = finish((step or component(read))(word=item, rows=made.output))
            change(task, Given(cpu, image, node, answers.outputs["other"]))

    wiring.__doc__ = doc
    return dsl.pipeline(wiring, name="example")


def compiled(file: Path, made: Any) -> Documents:
    compiler.Compiler().compile(made, str(file))
    return load(file)


def forget(*path: str) -> Callable[[Documents], None]:
    """Return an edit that removes one branch of the spec."""

    def edit(documents: Documents) -> None:
        branch = documents[0]
        for key in path[:-1]:
            branch = branch[key]
        del branch[path[-1]]

    return edit


def rename_executor(documents: Documents) -> None:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-gone"] = executors.pop("exec-read")


GROUP, LOOP = "comp-condition-1", "comp-for-loop-3"
READ = f"{LOOP}/read"

# rule, place, what is different about the pipeline, what is then removed from the compiled spec
FAULTS: list[tuple[str, str, dict[str, Any], Callable[[Documents], None] | None]] = [
    ("dangling-input", READ, {}, forget("components", LOOP, "inputDefinitions", "artifacts")),
    ("dangling-input", READ, {}, forget("components", LOOP, "inputDefinitions", "parameters")),
    ("dangling-input", "root/condition-1", {}, forget("root", "dag", "tasks", "make")),
    (
        "dangling-input",
        "root/condition-1",
        {},
        forget("root", "dag", "tasks", "condition-1", "inputs", "parameters"),
    ),
    ("unknown-component", "root/make", {}, forget("components", "comp-make")),
    (
        "unthreaded-resource",
        READ,
        {"change": lambda task, given: task.set_cpu_limit(given.cpu)},
        None,
    ),
    (
        "unthreaded-resource",
        READ,
        {"change": lambda task, given: kubernetes.add_node_selector_json(task, given.node)},
        forget("components", LOOP, "inputDefinitions", "parameters", "pipelinechannel--node"),
    ),
    ("if-on-named-output", "root/condition-1", {"answer": "other"}, None),
    ("unpinned-image", "exec-read", {"step": component(read, base_image="host:5000/soda")}, None),
    ("unpinned-image", "exec-read", {"step": component(read, base_image="soda:latest")}, None),
    ("runtime-pip", "exec-read", {"step": component(read, packages_to_install=["x"])}, None),
    ("runtime-pip", "exec-installing", {"step": installing}, None),
    *(
        (
            "literal-secret",
            "exec-read",
            {"change": lambda task, given, name=name: task.set_env_variable(name, "x")},
            None,
        )
        for name in ("HF_TOKEN", "SODA_TEACHER_API_KEY", "db_password", "AWS_SECRET_ACCESS_KEY")
    ),
    (
        "unknown-executor",
        "exec-gone",
        {"change": lambda task, given: kubernetes.use_config_map_as_volume(task, "c", "/c")},
        rename_executor,
    ),
    ("missing-description", "exec-undocumented", {"step": component(undocumented)}, None),
    ("missing-description", "root", {}, forget("pipelineInfo", "description")),
    ("missing-description", "root/node", {"doc": DOC.replace("node:", "other:")}, None),
    ("no-retry", READ, {"finish": lambda t: t.set_cpu_limit("1").set_memory_limit("1G")}, None),
    ("no-limits", "exec-read", {"finish": lambda t: t.set_retry(1).set_cpu_limit("1")}, None),
    ("no-limits", "exec-read", {"finish": lambda t: t.set_retry(1).set_memory_limit("1G")}, None),
]

# rule, what is different about the pipeline and yet no fault
SOUND: list[tuple[str, dict[str, Any]]] = [
    *((rule, {}) for rule in RULES),
    (
        "unthreaded-resource",
        {
            "change": lambda task, given: task.set_cpu_limit(given.cpu).register_pipeline_channels(
                [given.cpu]
            )
        },
    ),
    (
        "unthreaded-resource",
        {
            "change": lambda task, given: kubernetes.use_secret_as_env(
                task, given.answer, {"a": "B"}
            )
        },
    ),
    ("unpinned-image", {"change": lambda task, given: task.set_container_image(given.image)}),
    ("unpinned-image", {"step": component(read, base_image=f"soda@sha256:{'0' * 64}")}),
    ("unpinned-image", {"step": component(read, base_image="host:5000/soda:1")}),
    *(
        ("literal-secret", {"change": lambda task, given, n=name: task.set_env_variable(n, "x")})
        for name in ("TOKENIZERS_PARALLELISM", "MAX_TOKENS", "TOKEN_FILE")
    ),
    (
        "unknown-executor",
        {"change": lambda task, given: kubernetes.use_config_map_as_volume(task, "c", "/c")},
    ),
]


@pytest.mark.parametrize(("rule", "place", "different", "edit"), FAULTS)
def test_a_fault_is_found(rule, place, different, edit, tmp_path):
    documents = compiled(tmp_path / "example.yaml", pipeline(**different))
    if edit:
        edit(documents)
    found = lint(documents)
    assert {(each.rule, each.place) for each in found} == {(rule, place)}
    warnings = ("missing-description", "no-retry", "no-limits")
    assert {each.severity for each in found} == {"warning" if rule in warnings else "error"}
    assert all(each.message and each.mend for each in found)


@pytest.mark.parametrize(("rule", "different"), SOUND)
def test_a_sound_pipeline_passes(rule, different, tmp_path):
    assert rule in RULES
    assert lint(compiled(tmp_path / "example.yaml", pipeline(**different))) == []


def test_every_rule_has_an_example():
    assert {rule for rule, *_ in FAULTS} == {rule for rule, *_ in SOUND} == set(RULES)


def test_kubernetes_manifests_are_read_like_kfps_own_yaml(tmp_path):
    made = pipeline(lambda task, given: kubernetes.add_node_selector_json(task, given.node))
    file = tmp_path / "manifests.yaml"
    options = KubernetesManifestOptions(
        pipeline_name="soda", pipeline_version_name="v", include_pipeline_manifest=True
    )
    compiler.Compiler().compile(
        made, str(file), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )
    documents = load(file)
    assert [each["kind"] for each in documents] == ["Pipeline", "PipelineVersion"]
    assert lint(documents) == []
    plain = documents[1]["spec"]["pipelineSpec"]
    del plain["deploymentSpec"]["executors"]["exec-read"]
    assert [each.rule for each in lint(documents)] == ["unknown-executor"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "expected a pipeline, found No such file"),
        ("a: [", "expected YAML"),
        ("prepare-prompts: {}", "expected a compiled pipeline"),
        (yaml.safe_dump({"root": ["a"]}), "expected a compiled pipeline"),
    ],
)
def test_a_file_without_a_pipeline_is_refused_in_one_line(text, reason, tmp_path):
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"spec.yaml: {reason}") as caught:
        load(file)
    assert "\n" not in str(caught.value)
