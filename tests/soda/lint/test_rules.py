"""Every rule against one sound pipeline, and against the same with one fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kfp import compiler, dsl, kubernetes
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from soda.lint import RULES, lint, load
from soda.lint.check import check
from soda.lint.config import LintConfig, Suppression
from soda.lint.source import read
from soda.lint.spec import TARGETS

Documents = list[dict[str, Any]]
DOC = """Do what the word says.

Args:
    word: what to do
    cpu: cores of the first task
    image: image of the first task
    node: labels of its node
"""
TASK = {"base_image": "soda:1", "install_kfp_package": False}
OLD_KEY = "sk-proj-" + "Ab3" * 12  # put together here, so that no scanner takes it for one


def decide(word: str) -> NamedTuple("Answers", [("Output", str), ("other", str), ("rows", list)]):
    """Return three answers."""


def listed() -> list[str]:
    """Return a list."""


def tables() -> list[dict]:
    """Return a list of mappings."""


def make(word: str, rows: dsl.Output[dsl.Dataset]):
    """Write some rows."""


def read_rows(word: str, rows: dsl.Input[dsl.Dataset]):
    """Read the rows."""


def ask(word: str, rows: dsl.Input[dsl.Dataset], model_digest: str = "sha256:1"):
    """Ask a service."""


def train(rows: dsl.Input[dsl.Dataset], word: str, checkpoint_dir: str = "/ckpt"):
    """Train something."""


def register(word: str, model: dsl.Input[dsl.Dataset]):
    """Name a model."""


def tune(word: str, rows: dsl.Input[dsl.Dataset]):
    """Train something, and keep nothing of it."""


def evaluate(rows: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Dataset]):
    """Measure a model."""


def goodbye():
    """Say that it is over."""


def told(status: dsl.PipelineTaskFinalStatus):
    """Say how it ended."""


def say(word: str = "x"):
    """Say a word."""


def undocumented(word: str, rows: dsl.Input[dsl.Dataset]):
    pass


@dsl.container_component
def installing(word: str, rows: dsl.Input[dsl.Dataset]):
    """Install something."""
    return dsl.ContainerSpec(image="soda:1", command=["sh", "-c"], args=["pip install x", word])


@dsl.container_component
def telling(word: str, rows: dsl.Input[dsl.Dataset]):
    """Speak to a service."""
    return dsl.ContainerSpec(image="soda:1", command=["curl"], args=["-H", f"x: {OLD_KEY}", word])


def component(function: Callable[..., Any], **settings: Any) -> Any:
    return dsl.component(function, **(TASK | settings))


def safe(task: dsl.PipelineTask) -> dsl.PipelineTask:
    kubernetes.set_security_context(task, run_as_user=1000, run_as_non_root=True)
    return task.set_retry(2)


def sound(task: dsl.PipelineTask) -> dsl.PipelineTask:
    return safe(task).set_cpu_limit("1").set_memory_limit("1G")


def step(function: Callable[..., Any], **arguments: Any) -> dsl.PipelineTask:
    return sound(component(function)(**arguments))


class Given(NamedTuple):
    cpu: Any
    image: Any
    node: Any
    answer: Any


def nothing(task: dsl.PipelineTask, given: Given) -> None:
    """Leave the task as it is."""


def pipeline(
    change: Callable[[dsl.PipelineTask, Given], object] = nothing,
    *,
    last: Any = None,
    answer: str = "Output",
    text: str = "go",
    finish: Callable[[dsl.PipelineTask], dsl.PipelineTask] = sound,
    doc: str | None = DOC,
    default: str = "soda:1",
) -> Any:
    """Two tasks, and a third inside two groups: the one that the arguments change."""

    def wiring(node: dict, word: str = "go", cpu: str = "1", image: str = default):
        made = step(make, word=word).set_container_image(image).set_cpu_limit(cpu)
        kubernetes.add_node_selector_json(made, node)
        answers = step(decide, word=word)
        with dsl.If(answers.outputs[answer] == text), dsl.ParallelFor(["a", "b"]) as item:
            task = finish((last or component(read_rows))(word=item, rows=made.output))
            change(task, Given(cpu, image, node, answers.outputs["other"]))

    wiring.__doc__ = doc
    return dsl.pipeline(wiring, name="example")


def example(body: Callable[[Any, dsl.PipelineTask], object], default: str = "go") -> Any:
    """Return what makes a pipeline of one task, and of what the body adds."""

    def wiring(word: str = default):
        """Do what the word says.

        Args:
            word: what to do
        """
        body(word, step(make, word=word))

    return lambda: dsl.pipeline(wiring, name="example")


def pipeline_with_unused() -> Any:
    def wiring(word: str = "x"):
        """Say always the same.

        Args:
            word: what it does not say
        """
        step(say, word="y")

    return dsl.pipeline(wiring, name="example")


def forget(*path: str) -> Callable[[Documents], None]:
    """Return an edit that removes one branch of the spec."""

    def edit(documents: Documents) -> None:
        branch = documents[0]
        for key in path[:-1]:
            branch = branch[key]
        del branch[path[-1]]

    return edit


def cut_off(kind: str, name: str) -> Callable[[Documents], None]:
    """Return an edit after which the loop neither declares nor gets an input."""

    def edit(documents: Documents) -> None:
        components = documents[0]["components"]
        del components[LOOP]["inputDefinitions"][kind][name]
        del components[GROUP]["dag"]["tasks"]["for-loop-3"]["inputs"][kind][name]

    return edit


def rename_executor(documents: Documents) -> None:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-gone"] = executors["exec-read-rows"]


def rename_task(documents: Documents) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    tasks["made"] = tasks.pop("make")


def misspell_output(documents: Documents) -> None:
    source = documents[0]["root"]["dag"]["tasks"]["condition-1"]["inputs"]["artifacts"]
    source["pipelinechannel--make-rows"]["taskOutputArtifact"]["outputArtifactKey"] = "row"


def misspell_text(documents: Documents) -> None:
    source = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
    source["word"] = {"runtimeValue": {"constant": "{{$.inputs.parameters['gone']}} and more"}}


# What the loops, conditions and acting tasks of the special examples are.
def cores_in_loop(word, made):
    made.set_display_name("first")
    with dsl.ParallelFor(["1"]) as item:
        step(say, word=item).set_cpu_limit(word)


def items_in_a_text(word, made):
    with dsl.ParallelFor(["1"]) as outer, dsl.ParallelFor(["2"]) as inner:
        step(say, word=f"{outer}{inner}")


def fields_in_a_text(word, made):
    with dsl.ParallelFor([{"label": "a", "size": "1"}]) as item:
        step(say, word=item.label)
        step(say, word=f"{item.size}G")


def items_as_they_are(word, made):
    with dsl.ParallelFor(["1"]) as outer, dsl.ParallelFor([{"label": "a"}]) as inner:
        step(say, word=outer)
        step(say, word=inner.label)


def collecting(word, made):
    with dsl.ParallelFor(["a", "b"]) as item:
        measured = step(evaluate, rows=made.output).after(step(say, word=item))
    step(ask_all, rows=dsl.Collected(measured.outputs["metrics"]))


def ask_all(rows: dsl.Input[list[dsl.Dataset]]):
    """Read all rows."""


def loop_that_ignores_its_item(word, made):
    with dsl.ParallelFor(step(listed).output):
        step(say, word="x")


def loop_that_reads_its_item(word, made):
    with dsl.ParallelFor(step(listed).output) as item:
        step(say, word=item)


def loop_that_waits(word, made):
    items = step(listed)
    with dsl.ParallelFor(items.output):
        step(say, word="x").after(items)


def condition_on_made_item(word, made):
    with dsl.ParallelFor(step(listed).output) as item, dsl.If(item == "a"):
        step(say, word=item)


def condition_on_field_of_item(word, made):
    with dsl.ParallelFor(step(tables).output) as item, dsl.If(item.label == "a"):
        step(say, word=item.label)


def condition_on_constant_item(word, made):
    with dsl.ParallelFor(["a", "b"]) as item, dsl.If(item == "a"):
        step(say, word=item)


def condition_on_chosen(word, made):
    with dsl.If(word == "a"):
        one = step(decide, word="a")
    with dsl.Else():
        other = step(decide, word="b")
    chosen = dsl.OneOf(one.outputs["Output"], other.outputs["Output"])
    step(say, word=chosen)
    with dsl.If(chosen == "x"):
        step(say, word=word)


def condition_in_condition(word, made):
    answers = step(decide, word=word)
    with dsl.If(word == "go"), dsl.If(answers.outputs["other"] == "go"):
        step(say, word=word)


def text() -> str:
    """Return a text."""


def flag() -> bool:
    """Return a flag."""


def number() -> int:
    """Return a number."""


def comparing(function, constant, above=False):
    def body(word, made):
        output = step(function).output
        with dsl.If(output > constant if above else output == constant):
            step(say, word=word)

    return body


def output_in_loop(word, made):
    answer = step(decide, word=word).outputs["Output"]
    with dsl.ParallelFor(["a", "b"]) as item:
        step(say, word=answer).after(step(say, word=item))


def output_in_inner_loop(word, made):
    answer = step(decide, word=word).outputs["Output"]
    with dsl.ParallelFor(["a", "b"]), dsl.ParallelFor(["a", "b"]):
        step(say, word=answer)


def named_output_decides_in_loop(word, made):
    answer = step(decide, word=word).outputs["other"]
    with dsl.ParallelFor(["a", "b"]) as item, dsl.If(answer == "x"):
        step(say, word=item)


def output_decides_in_loop(word, made):
    answer = step(decide, word=word).outputs["Output"]
    with dsl.ParallelFor(["a", "b"]) as item, dsl.If(answer == "x"):
        step(say, word=item)


def output_in_loop_in_condition(word, made):
    answer = step(decide, word=word).outputs["Output"]
    with dsl.If(word == "go"), dsl.ParallelFor(["a", "b"]):
        step(say, word=answer)


def ungated(word, made, **settings):
    return step(register, word=word, model=made.output).set_caching_options(False)


def gated_by_condition(word, made):
    with dsl.If(word == "go"):
        ungated(word, made)


def gated_by_report(word, made):
    measured = step(evaluate, rows=made.output)
    step(register, word=word, model=measured.output).set_caching_options(False)


def gated_by_report_through_a_group(word, made):
    measured = step(evaluate, rows=made.output)
    with dsl.ParallelFor(["a"]) as item:
        step(register, word=item, model=measured.output).set_caching_options(False)


def gated_by_order(word, made):
    ungated(word, made).after(step(evaluate, rows=made.output))


def cached_registration(word, made):
    with dsl.If(word == "go"):
        step(register, word=word, model=made.output)


def cached_exit(word, made):
    with dsl.ExitHandler(step(goodbye)):
        step(say, word=word)


def uncached_exit(word, made):
    with dsl.ExitHandler(step(goodbye).set_caching_options(False)):
        step(say, word=word)


def informed_exit(word, made):
    with dsl.ExitHandler(step(told)):
        step(say, word=word)


def asking(function=read_rows, variable="SERVICE_API_KEY", **caching):
    def body(word, made):
        task = step(function, word=word, rows=made.output)
        kubernetes.use_secret_as_env(task, "teacher", {"key": variable})
        if caching:
            task.set_caching_options(**caching)

    return body


def training(*leave_out: str, function=tune, node="nvidia.com/gpu"):
    """A GPU task with all that it needs, but for what is left out."""

    def body(word, made):
        task = step(function, word=word, rows=made.output)
        task.set_accelerator_type(node).set_accelerator_limit(1)
        if "shm" not in leave_out:
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory")
        if "disk" in leave_out:
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm")
        if "toleration" not in leave_out:
            kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists")
        if "volume" not in leave_out:
            kubernetes.mount_pvc(task, "checkpoints", "/checkpoints")

    return body


def volume_of_its_own(word, made):
    """KFP's own volume tasks start no pod: nothing can be set on them."""
    volume = kubernetes.CreatePVC(
        pvc_name_suffix="-x", access_modes=["ReadWriteOnce"], size="1Gi", storage_class_name=""
    )
    with dsl.ParallelFor(["a", "b"]) as item:
        kubernetes.mount_pvc(task := step(say, word=item), volume.outputs["name"], "/data")
    kubernetes.DeletePVC(pvc_name=volume.outputs["name"]).after(task)


CONDITION = ("root", "dag", "tasks", "condition-1", "inputs", "parameters")
GROUP, LOOP = "comp-condition-1", "comp-for-loop-3"
READ = f"{LOOP}/read-rows"


def env(name: str, value: str = "x1y2z") -> dict[str, Any]:
    return {"change": lambda task, given: task.set_env_variable(name, value)}


def limited(*names: str) -> dict[str, Any]:
    def finish(task: dsl.PipelineTask) -> dsl.PipelineTask:
        for name in names:
            getattr(safe(task), f"set_{name}")("1")
        return task

    return {"finish": finish}


# rule, place, what is different about the pipeline, what is then removed from the compiled spec
FAULTS: list[tuple[str, str, Any, Callable[[Documents], None] | None]] = [
    ("dangling-input", READ, {}, cut_off("artifacts", "pipelinechannel--make-rows")),
    ("dangling-input", "root/condition-1", {}, rename_task),
    ("dangling-input", "root/condition-1", {}, misspell_output),
    ("dangling-input", "root/make", {}, misspell_text),
    (
        "dangling-input",
        "root/condition-1",
        {},
        forget(*CONDITION, "pipelinechannel--decide-Output"),
    ),
    (
        "dangling-input",
        "root/for-loop-1",
        example(loop_that_reads_its_item),
        forget("root", "dag", "tasks", "for-loop-1", "inputs", "parameters"),
    ),
    ("dangling-input", "root/for-loop-2", example(fields_in_a_text), None),
    (
        "dangling-output",
        "comp-for-loop-2",
        example(collecting),
        forget("components", "comp-for-loop-2", "dag", "tasks", "evaluate"),
    ),
    (
        "dangling-output",
        "comp-for-loop-2",
        example(collecting),
        forget("components", "comp-evaluate", "outputDefinitions", "artifacts", "metrics"),
    ),
    ("missing-dependency", "root/for-loop-1", example(loop_that_ignores_its_item), None),
    ("unknown-component", "root/make", {}, forget("components", "comp-make")),
    ("unknown-executor", "comp-make", {}, forget("deploymentSpec", "executors", "exec-make")),
    ("orphan-settings", "exec-gone", {}, rename_executor),
    ("unused-parameter", "root/word", pipeline_with_unused, None),
    ("if-on-named-output", "root/condition-1", {"answer": "other"}, None),
    ("if-on-named-output", "root/condition-4", example(condition_on_chosen), None),
    ("if-on-loop-item", "comp-for-loop-1/condition-2", example(condition_on_made_item), None),
    ("if-on-loop-item", "comp-for-loop-1/condition-2", example(condition_on_field_of_item), None),
    ("broken-condition", "root/condition-1", {"text": "it's"}, None),
    ("broken-condition", "root/condition-1", example(comparing(flag, "true")), None),
    ("broken-condition", "root/condition-1", example(comparing(number, "5")), None),
    ("compared-as-text", "root/condition-1", example(comparing(text, 5, above=True)), None),
    (
        "quote-in-default",
        "root/condition-1",
        example(gated_by_condition, default="it's"),
        None,
    ),
    ("output-into-loop", "root/for-loop-2", example(output_in_loop), None),
    ("output-into-loop", "root/for-loop-2", example(output_in_inner_loop), None),
    ("output-into-loop", "root/for-loop-2", example(named_output_decides_in_loop), None),
    (
        "unthreaded-resource",
        READ,
        {"change": lambda task, given: task.set_cpu_limit(given.cpu)},
        None,
    ),
    ("unthreaded-resource", "comp-for-loop-2/say", example(cores_in_loop), None),
    (
        "unthreaded-resource",
        READ,
        {"change": lambda task, given: kubernetes.add_node_selector_json(task, given.node)},
        cut_off("parameters", "pipelinechannel--node"),
    ),
    *(
        ("unpinned-image", "exec-read-rows", {"last": component(read_rows, base_image=i)}, None)
        for i in ("host:5000/soda", "soda:latest", "soda")
    ),
    ("unpinned-image", "exec-make", {"default": "soda:latest"}, None),
    ("image-not-allowed", "exec-read-rows", {"last": component(read_rows, base_image="x:1")}, None),
    (
        "runtime-pip",
        "exec-read-rows",
        {"last": component(read_rows, packages_to_install=["x"])},
        None,
    ),
    ("runtime-pip", "exec-installing", {"last": installing}, None),
    *(
        ("literal-secret", "exec-read-rows", env(name), None)
        for name in ("HF_TOKEN", "SODA_TEACHER_API_KEY", "db_password", "AWS_SECRET_ACCESS_KEY")
    ),
    ("literal-secret", "exec-read-rows", env("SETTING", "AKIA" + "A1B2" * 4), None),
    ("literal-secret", "exec-telling", {"last": telling}, None),
    ("literal-secret", "root/word", example(gated_by_condition, default=OLD_KEY), None),
    ("cache-without-digest", "root/read-rows", example(asking()), None),
    ("cached-side-effect", f"{GROUP}/register", example(cached_registration), None),
    ("cached-side-effect", "root/goodbye", example(cached_exit), None),
    ("register-without-gate", "root/register", example(ungated), None),
    ("gpu-without-shm", "root/tune", example(training("shm")), None),
    ("gpu-without-shm", "root/tune", example(training("shm", "disk")), None),
    ("gpu-without-toleration", "root/tune", example(training("toleration")), None),
    ("gpu-without-checkpoint", "root/tune", example(training("volume")), None),
    ("missing-description", "exec-undocumented", {"last": component(undocumented)}, None),
    ("missing-description", "root", {}, forget("pipelineInfo", "description")),
    ("missing-description", "root/node", {"doc": DOC.replace("node:", "other:")}, None),
    (
        "no-retry",
        READ,
        {"finish": lambda task: sound(task).set_retry(0)},
        forget("components", LOOP, "dag", "tasks", "read-rows", "retryPolicy"),
    ),
    ("no-limits", "exec-read-rows", limited("cpu_limit", "memory_request"), None),
    ("no-limits", "exec-read-rows", limited("memory_limit", "cpu_request"), None),
    (
        "no-security-context",
        "exec-read-rows",
        {"finish": lambda t: t.set_retry(1).set_cpu_limit("1").set_memory_limit("1G")},
        None,
    ),
]

# rule, what is different about the pipeline and yet no fault
SOUND: list[tuple[str, Any]] = [
    *((rule, {}) for rule in RULES),
    ("dangling-input", example(volume_of_its_own)),
    ("dangling-input", example(items_as_they_are)),
    ("dangling-output", example(collecting)),
    ("missing-dependency", example(loop_that_reads_its_item)),
    ("missing-dependency", example(loop_that_waits)),
    ("if-on-named-output", example(condition_in_condition)),
    ("if-on-loop-item", example(condition_on_constant_item)),
    ("broken-condition", {"text": 'say "go"'}),
    ("broken-condition", example(comparing(flag, True))),
    ("condition-types", example(comparing(number, 5.5, above=True))),
    ("compared-as-text", example(comparing(number, 5, above=True))),
    ("compared-as-text", example(comparing(text, "b", above=True))),
    ("output-into-loop", example(output_decides_in_loop)),
    ("output-into-loop", example(output_in_loop_in_condition)),
    ("output-into-loop", example(gated_by_report_through_a_group)),  # artifacts arrive as they are
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
                task.set_caching_options(False), given.answer, {"a": "B"}
            )
        },
    ),
    ("unpinned-image", {"change": lambda task, given: task.set_container_image(given.image)}),
    ("unpinned-image", {"last": component(read_rows, base_image=f"soda@sha256:{'0' * 64}")}),
    *(("literal-secret", env(n)) for n in ("TOKENIZERS_PARALLELISM", "MAX_TOKENS", "TOKEN_FILE")),
    ("literal-secret", env("USE_TOKEN", "false")),
    ("literal-secret", env("PACKAGE", "task-sk-learn-contrib-features-2024")),
    (
        "unknown-executor",
        {"change": lambda task, given: kubernetes.use_config_map_as_volume(task, "c", "/c")},
    ),
    ("cache-without-digest", example(asking(ask))),
    ("cache-without-digest", example(asking(variable="AWS_SECRET_ACCESS_KEY"))),
    ("cache-without-digest", example(asking(enable_caching=False))),
    ("cache-without-digest", example(asking(enable_caching=True, cache_key="teacher-7"))),
    ("cached-side-effect", example(uncached_exit)),
    ("cached-side-effect", example(informed_exit)),
    ("register-without-gate", example(gated_by_condition)),
    ("register-without-gate", example(gated_by_report)),
    ("register-without-gate", example(gated_by_report_through_a_group)),
    ("register-without-gate", example(gated_by_order)),
    ("gpu-without-shm", example(training())),
    ("gpu-without-shm", example(training("shm", node="cloud-tpus.google.com/v5"))),
    ("gpu-without-toleration", example(training())),
    ("gpu-without-checkpoint", example(training())),
    ("gpu-without-checkpoint", example(training("volume", function=train))),
    ("gpu-without-checkpoint", example(training("volume", function=read_rows))),  # no training
    ("no-requests", limited("cpu_limit", "memory_limit")),
]

# Tested below or in test_rule_edits.py: they do not come alone, or kfp does not make them.
ELSEWHERE = {"no-requests", "unused-suppression", "style"}


def compiled(file, different):
    made = pipeline(**different) if isinstance(different, dict) else different()
    compiler.Compiler().compile(made, str(file))
    return load(file)


@pytest.mark.parametrize(("rule", "place", "different", "edit"), FAULTS)
def test_a_fault_is_found(rule, place, different, edit, tmp_path):
    file = tmp_path / "example.yaml"
    documents = compiled(file, different)
    if edit:
        edit(documents)
        found = lint(documents, targets(rule))
    else:
        found = check(read(str(file)), settings(rule))
        lines = file.read_text().splitlines()
        assert all(lines[each.line - 1].strip().endswith(":") or each.line > 1 for each in found)
    places = {(each.rule, each.place) for each in found}
    assert (rule, place) in places and (edit or places == {(rule, place)})
    assert all(each.severity == RULES[each.rule].severity for each in found)
    assert all(each.message and each.fix for each in found)


def targets(rule):
    """Return KFP, or for what is true of kfp.local alone, that."""
    return ("kfp",) if "kfp" in RULES[rule].targets else RULES[rule].targets[:1]


def settings(rule):
    allowed = ("docker.io/library/soda",) if rule == "image-not-allowed" else ()
    return LintConfig(style=True, targets=targets(rule), allow_image=allowed)


@pytest.mark.parametrize(("rule", "different"), SOUND)
def test_a_sound_pipeline_passes(rule, different, tmp_path):
    file = tmp_path / "example.yaml"
    compiled(file, different)
    assert check(read(str(file)), settings(rule)) == []


def test_every_rule_has_an_example():
    edited = Path(__file__).with_name("test_rule_edits.py").read_text()
    assert {rule for rule, *_ in SOUND} == set(RULES)
    for rule in set(RULES) - {rule for rule, *_ in FAULTS} - ELSEWHERE:
        assert f'"{rule}",' in edited, rule


def test_a_pod_without_limits_lacks_requests_too(tmp_path):
    found = lint(compiled(tmp_path / "example.yaml", {"finish": safe}))
    assert {(each.rule, each.message) for each in found} == {
        ("no-limits", "has no cpu and no memory limit"),
        ("no-requests", "has no cpu and no memory request"),
    }


def test_a_suppression_that_matches_nothing_is_a_finding(tmp_path):
    file = tmp_path / "example.yaml"
    compiled(file, {"finish": safe})
    used = Suppression("no-limits", "exec-*", "batch nodes have no quota", "lint.yaml", 3)
    stale = Suppression("no-retry", "root/gone", "it was there once", "lint.yaml", 6)
    found = check(read(str(file)), LintConfig(style=True, suppress=(used, stale)))
    assert {each.rule: each.suppressed for each in found} == {
        "no-limits": "batch nodes have no quota",
        "no-requests": None,
    }
    (unused,) = LintConfig(suppress=(used, stale)).unused(found, [str(file)])
    assert (unused.rule, unused.severity, unused.place) == (
        "unused-suppression",
        "warning",
        "no-retry at root/gone",
    )
    assert (unused.file, unused.line) == ("lint.yaml", 6)
    assert LintConfig(suppress=(stale,), ignore=("no-retry",)).unused(found, [str(file)]) == []


@pytest.mark.parametrize(
    ("image", "prefix", "fine"),
    [
        ("ghcr.io/acme/x:1", "ghcr.io/acme", True),
        ("ghcr.io/acme/x:1", "ghcr.io/acme/", True),
        ("ghcr.io/acme-evil/x:1", "ghcr.io/acme", False),
        ("python:3.11", "docker.io/library/", True),
        ("acme/x:1", "docker.io/acme", True),
        ("localhost/x:1", "docker.io", False),
        ("python:3.11", "python:3.11", True),
        ("python:3.11", "python:3.1", False),
    ],
)
def test_a_prefix_ends_where_a_part_of_the_name_ends(image, prefix, fine, tmp_path):
    file = tmp_path / "example.yaml"
    compiled(file, {"last": component(read_rows, base_image=image)})
    found = check(read(str(file)), LintConfig(style=True, allow_image=(prefix, "soda:1")))
    assert [each.rule for each in found] == ([] if fine else ["image-not-allowed"])


def test_kfp_forgets_an_output_that_only_a_condition_reads(tmp_path):
    def body(word, made):
        with dsl.If(word == "a"):
            one = step(decide, word="a").outputs["Output"]
        with dsl.Else():
            other = step(decide, word="b").outputs["Output"]
        with dsl.If(dsl.OneOf(one, other) == "x"):
            step(say, word=word)

    found = lint(compiled(tmp_path / "example.yaml", example(body)), TARGETS)
    assert [each.rule for each in found] == ["dangling-input", "if-on-named-output"]
    assert "no output of 'condition-branches-1'" in found[0].message


def test_kfp_forgets_items_of_two_loops_in_one_text(tmp_path):
    found = lint(compiled(tmp_path / "example.yaml", example(items_in_a_text)))
    assert {each.rule for each in found} == {"dangling-input"}
    assert len(found) == 2


def test_a_secret_is_named_and_never_printed(tmp_path):
    documents = compiled(tmp_path / "example.yaml", {"last": telling})
    assert OLD_KEY[:12] not in str(lint(documents))


def test_a_component_is_read_too_and_nothing_is_asked_that_only_a_task_has(tmp_path):
    assert lint(compiled(tmp_path / "sound.yaml", lambda: component(evaluate))) == []
    found = lint(
        compiled(tmp_path / "bad.yaml", lambda: component(undocumented, base_image="soda"))
    )
    assert [each.rule for each in found] == [
        "unpinned-image",
        "missing-description",
        "missing-description",  # the parameter's
    ]


def test_kubernetes_manifests_are_read_like_kfps_own_yaml(tmp_path):
    file = tmp_path / "manifests.yaml"
    options = KubernetesManifestOptions(
        pipeline_name="soda", pipeline_version_name="v", include_pipeline_manifest=True
    )
    compiler.Compiler().compile(
        pipeline(), str(file), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )
    documents = load(file)
    assert [each["kind"] for each in documents] == ["Pipeline", "PipelineVersion"]
    assert lint(documents) == []
    plain = documents[1]["spec"]["pipelineSpec"]
    del plain["deploymentSpec"]["executors"]["exec-read-rows"]
    assert {(each.rule, each.place) for each in lint(documents)} == {
        ("orphan-settings", "exec-read-rows"),
        ("unknown-executor", "comp-read-rows"),
    }


def test_lines_point_at_what_is_meant(tmp_path):
    file = tmp_path / "example.yaml"
    compiled(file, {"last": component(read_rows, base_image="soda"), "text": "it's"})
    found = {each.rule: each.line for each in check(read(str(file)), LintConfig())}
    lines = file.read_text().splitlines()
    assert lines[found["unpinned-image"] - 1].strip() == "image: soda"
    assert lines[found["broken-condition"] - 1].strip().startswith("condition:")
