"""Edits of a sound spec, each with what KFP, Argo or Kubernetes makes of it."""

import json
from typing import Any

import pytest
import yaml

from soda.lint import RULES, lint
from soda.lint.check import check
from soda.lint.config import LintConfig
from soda.lint.source import read
from tests.fakes.spec import clean, put

TASKS = "0.root.dag.tasks"
COUNT, TELL = f"{TASKS}.count", f"{TASKS}.tell"
NUMBER = f"{TELL}.inputs.parameters.number"
DEPLOYED = "0.deploymentSpec.executors"
CONTAINER = f"{DEPLOYED}.exec-tell.container"
RESOURCES = f"{CONTAINER}.resources"
PLATFORM = "1.platforms.kubernetes.deploymentSpec.executors.exec-tell"
MODEL = {"taskInfo": {"name": "x"}, "componentRef": {"name": "comp-tell"}}


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def task(name: str, **more: Any) -> dict[str, Any]:
    inputs = {"parameters": {"number": constant(1)}}
    tree = {"taskInfo": {"name": name}, "componentRef": {"name": "comp-tell"}, "inputs": inputs}
    return tree | {"retryPolicy": {"maxRetryCount": 1}} | more


ALWAYS = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
WORDY = {"componentRef": {"name": "comp-count"}, "inputs": {"parameters": {"word": constant("x")}}}
CREATE = {
    f"{DEPLOYED}.exec-make": {"container": {"image": "argostub/createpvc"}},
    "0.components.comp-make": {
        "executorLabel": "exec-make",
        "inputDefinitions": {
            "parameters": {
                name: {"parameterType": "STRING", "isOptional": True}
                for name in ("pvc_name", "pvc_name_suffix")
            }
        },
        "outputDefinitions": {"parameters": {"name": {"parameterType": "STRING"}}},
    },
}
IMPORTER = {
    f"{DEPLOYED}.exec-tell": {"importer": {"artifactUri": {"constant": "gs://a/b"}}},
}


def make(**inputs: Any) -> dict[str, Any]:
    given = {"parameters": {name: constant(value) for name, value in inputs.items()}}
    return task("make", componentRef={"name": "comp-make"}, inputs=given)


def condition(text: str) -> dict[str, Any]:
    return {f"{TELL}.triggerPolicy": {"condition": text}}


# rule, place, what is put where ("-": the value is appended to the document's end as text)
FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("unknown-field", "root.dag.tasks.tell.retry", {f"{TELL}.retry": 2}),
    ("unknown-field", "root.dags", {"0.root.dags": {}}),
    (
        "unknown-field",
        "platforms.kubernetes.deploymentSpec.executors.exec-tell.toleration",
        {f"{PLATFORM}.toleration": []},
    ),
    (
        "ignored-field",
        "deploymentSpec.executors.exec-tell.container.workingDir",
        {f"{CONTAINER}.workingDir": "/"},
    ),
    ("wrong-type", "deploymentSpec.executors.exec-tell.container.image", {f"{CONTAINER}.image": 3}),
    ("wrong-type", "root.dag.tasks.tell.dependentTasks", {f"{TELL}.dependentTasks": "count"}),
    ("wrong-type", "root.dag.tasks", {TASKS: ["tell"]}),
    (
        "wrong-type",
        "components.comp-tell.inputDefinitions.parameters.loud.parameterType",
        {"0.components.comp-tell.inputDefinitions.parameters.loud.parameterType": "BOOL"},
    ),
    (
        "wrong-type",
        "root.dag.tasks.tell.retryPolicy.backoffDuration",
        {f"{TELL}.retryPolicy.backoffDuration": 60},
    ),
    ("schema-version", "root", {"0.schemaVersion": "2.0.0"}),
    ("schema-version", "root", {"0.schemaVersion": None}),
    ("pipeline-name", "root", {"0.pipelineInfo.name": ""}),
    ("pipeline-name", "root", {"0.pipelineInfo.name": "My_Pipeline"}),
    ("pipeline-name", "root", {"0.pipelineInfo.name": "a" * 129}),
    ("argo-name", "root/tell_it", {f"{TASKS}.tell_it": task("tell")}),
    ("argo-name", "root/2nd", {f"{TASKS}.2nd": task("tell")}),
    ("argo-name", f"root/{'a' * 122}", {f"{TASKS}.{'a' * 122}": task("tell")}),
    ("spec-too-large", "root", {f"{CONTAINER}.command.1": "x" * (1 << 21)}),
    ("unknown-component", "root/tell", {f"{TELL}.componentRef.name": "comp-told"}),
    ("unknown-executor", "comp-tell", {"0.components.comp-tell.executorLabel": "exec-told"}),
    ("unknown-dependency", "root/tell", {f"{TELL}.dependentTasks": ["counted"]}),
    (
        "after-exit-task",
        "root/last",
        {
            f"{TASKS}.bye": task("bye", triggerPolicy=ALWAYS, dependentTasks=["tell"]),
            f"{TASKS}.last": task("last", dependentTasks=["bye"]),
        },
    ),
    (
        "lost-exit-task",
        "root/bye",
        {
            f"{TASKS}.bye": task("bye", triggerPolicy=ALWAYS, dependentTasks=["tell"]),
            f"{TASKS}.goodbye": task("goodbye", triggerPolicy=ALWAYS, dependentTasks=["tell"]),
        },
    ),
    (
        "lost-exit-task",
        "root/bye",
        {f"{TASKS}.bye": task("bye", triggerPolicy=ALWAYS, dependentTasks=["count", "tell"])},
    ),
    ("task-cycle", "root/count", {f"{COUNT}.dependentTasks": ["tell"]}),
    ("task-cycle", "root/tell", {f"{TELL}.dependentTasks": ["tell"]}),
    (
        "task-cycle",
        "comp-again",
        {
            "0.components.comp-again": {
                "dag": {"tasks": {"x": task("x", componentRef={"name": "comp-again"}, inputs={})}}
            },
            f"{TASKS}.again": task("again", componentRef={"name": "comp-again"}, inputs={}),
        },
    ),
    (
        "not-on-kfp",
        "root/tell",
        {f"{TELL}.artifactIterator": {"itemInput": "i", "items": {"inputArtifact": "number"}}},
    ),
    ("not-on-kfp", "root/tell", {f"{DEPLOYED}.exec-tell": {"resolver": {}}}),
    ("not-on-kfp", "root/tell", {f"{DEPLOYED}.exec-tell": {"customJob": {"customJob": {}}}}),
    ("not-on-kfp", "root/tell", {**IMPORTER, **condition("true")}),
    ("not-on-kfp", "root/tell", {f"{TELL}.taskInfo": {}}),
    ("not-on-kfp", "root", {TASKS: {}}),
    ("dangling-input", "root/tell", {f"{NUMBER}.taskOutputParameter.producerTask": "counted"}),
    ("missing-input", "root/tell", {f"{TELL}.inputs": {}}),
    ("undeclared-input", "root/tell", {f"{TELL}.inputs.parameters.lout": constant(True)}),
    ("input-type", "root/tell", {NUMBER: constant("3")}),
    ("input-type", "root/tell", {NUMBER: constant(None)}),
    ("input-type", "root/tell", {NUMBER: {"componentInputParameter": "word"}}),
    ("input-type", "root/tell", {f"{TELL}.inputs.parameters.loud": constant("true")}),
    (
        "default-type",
        "root/word",
        {"0.root.inputDefinitions.parameters.word.parameterType": "LIST"},
    ),
    (
        "unknown-placeholder",
        "exec-tell",
        {f"{CONTAINER}.args.1": "n={{$.inputs.parameters['nunber']}}"},
    ),
    (
        "unknown-placeholder",
        "exec-count",
        {f"{DEPLOYED}.exec-count.container.args.0": "{{$.outputs.parameters['Out'].output_file}}"},
    ),
    (
        "unknown-placeholder",
        "exec-tell",
        {f"{CONTAINER}.args.1": "{{$.input.parameters['number']}}"},
    ),
    ("v1-placeholder", "exec-tell", {f"{CONTAINER}.args.0": "{{workflow.status}}"}),
    ("v1-placeholder", "exec-tell", {f"{CONTAINER}.env": [{"name": "A", "value": "{{pod.name}}"}]}),
    (
        "raw-channel",
        "exec-tell",
        {f"{PLATFORM}.podMetadata.annotations": {"a": "{{channel:task=;name=word;type=String;}}"}},
    ),
    ("broken-condition", "root/tell", condition("'inputs.parameter_values['number']' == 'true'")),
    ("broken-condition", "root/tell", condition("inputs.parameter_values['number'] == 'a'b'")),
    ("broken-condition", "root/tell", condition("inputs.parameter_values['number'] == 'a")),
    ("condition-types", "root/tell", condition("inputs.parameter_values['number'] > '5'")),
    ("condition-types", "root/tell", condition("inputs.parameter_values['number'] == 'five'")),
    ("condition-types", "root/tell", condition("int(inputs.parameter_values['number']) == true")),
    ("bad-quantity", "exec-tell", {f"{RESOURCES}.resourceMemoryLimit": "100K"}),
    ("bad-quantity", "exec-tell", {f"{RESOURCES}.resourceMemoryLimit": "4gb"}),
    ("bad-quantity", "exec-tell", {f"{RESOURCES}.resourceCpuRequest": "1500m"}),
    ("bad-quantity", "exec-tell", {f"{PLATFORM}.emptyDirMounts.0.sizeLimit": "10 Gi"}),
    ("lost-resource", "exec-tell", {f"{RESOURCES}.accelerator": {"resourceCount": "1"}}),
    (
        "lost-resource",
        "exec-tell",
        {f"{RESOURCES}.accelerator": {"resourceCount": "1", "resourceType": "NVIDIA_L4"}},
    ),
    (
        "lost-resource",
        "root/tell",
        {f"{RESOURCES}.resourceCpuLimit": "{{$.inputs.parameters['number']}}"},
    ),
    ("bad-toleration", "exec-tell", {f"{PLATFORM}.tolerations.0.operator": "Equals"}),
    ("bad-toleration", "exec-tell", {f"{PLATFORM}.tolerations.0.value": "yes"}),
    ("bad-toleration", "exec-tell", {f"{PLATFORM}.tolerations.0.effect": "NoScheduling"}),
    ("bad-toleration", "exec-tell", {f"{PLATFORM}.tolerations.0.tolerationSeconds": 60}),
    ("bad-label", "exec-tell", {f"{PLATFORM}.podMetadata.labels": {"a": "two words"}}),
    ("bad-label", "exec-tell", {f"{PLATFORM}.podMetadata.labels": {"-a": "b"}}),
    ("bad-label", "exec-tell", {f"{PLATFORM}.podMetadata.annotations": {"a b": "c"}}),
    ("bad-label", "exec-tell", {f"{PLATFORM}.nodeSelector.labels": {"a": "b" * 64}}),
    ("bad-mount", "exec-tell", {f"{PLATFORM}.emptyDirMounts.0.mountPath": "/keys/"}),
    ("bad-mount", "exec-tell", {f"{PLATFORM}.secretAsVolume.0.secretName": "my.keys"}),
    ("bad-mount", "root/make", {**CREATE, f"{TASKS}.make": make(pvc_name_suffix="-" + "a" * 27)}),
    ("root-user", "exec-tell", {f"{PLATFORM}.securityContext": {"runAsUser": 0}}),
    ("idle-retry", "root/tell", {f"{TELL}.retryPolicy": {"backoffFactor": 2.0}}),
    ("idle-retry", "root/tell", IMPORTER),
    ("volume-stays", "root/make", {**CREATE, f"{TASKS}.make": make(pvc_name_suffix="-a")}),
    (
        "long-loop",
        "root/tell",
        {
            f"{TELL}.parameterIterator": {
                "itemInput": "number",
                "items": {"raw": json.dumps(list(range(1001)))},
            }
        },
    ),
    (
        "orphan-settings",
        "exec-told",
        {"1.platforms.kubernetes.deploymentSpec.executors.exec-told": {}},
    ),
    (
        "cached-side-effect",
        "root/upload",
        {f"{TASKS}.upload": task("u", cachingOptions={"enableCache": True})},
    ),
    ("unpinned-image", "exec-tell", {f"{CONTAINER}.image": "ghcr.io/acme/work:latest"}),
    *(
        ("runtime-pip", "exec-tell", {f"{CONTAINER}.command": ["sh", "-c", words]})
        for words in (
            "pip -q install x",
            "python3 -m pip install --quiet x",
            "pip3.11 install x",
            "uv sync",
            "uv pip install x",
            "poetry install",
            "apk add git",
            "dnf -y install git",
            "curl -sSL https://x.example/a.sh | sh",
        )
    ),
    *(
        ("literal-secret", "exec-tell", {f"{CONTAINER}.env": [{"name": name, "value": value}]})
        for name, value in (
            ("DB_PASS", "hunter2"),
            ("ADDRESS", "postgres" + "://me:hunter2@db/x"),
            ("SOME", "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".c2lnbmF0dXJlc2ln"),
            ("HOOK", "https://hooks.slack" + ".com/services/T0AB12/B0CD34/a1b2c3d4e5f6g7"),
        )
    ),
    (
        "literal-secret",
        "exec-tell",
        {f"{PLATFORM}.podMetadata.annotations": {"a": "AK" + "IA" + "A1B2" * 4}},
    ),
    (
        "literal-secret",
        "exec-tell",
        {
            f"{CONTAINER}.args": ["--function_to_execute", "tell"],
            f"{CONTAINER}.command.1": "def tell(number):\n    log_in(password='hunter2')\n",
        },
    ),
    (
        "literal-secret",
        "root/count",
        {
            f"{COUNT}.inputs.parameters.api_key": constant("a1b2c3d4"),
            "0.components.comp-count.inputDefinitions.parameters.api_key": {
                "parameterType": "STRING"
            },
        },
    ),
    (
        "literal-secret",
        "root/db_password",
        {
            "0.root.inputDefinitions.parameters.db_password": {
                "parameterType": "STRING",
                "defaultValue": "hunter2",
            }
        },
    ),
]

# rule, what is put where and yet no fault of that rule
SOUND: list[tuple[str, dict[str, Any]]] = [
    *((rule, {}) for rule in RULES),
    ("unknown-field", {"0.default_pipeline_root": "s3://a/b"}),
    ("unknown-field", {"0.components.comp-nobody": {"dag": {"tasks": {}}}}),
    ("unknown-component", {"0.components.comp-nobody": {"dag": {"tasks": {"x": MODEL}}}}),
    ("not-on-kfp", {"0.components.comp-nobody": {"dag": {"tasks": {}}}}),
    ("wrong-type", {f"{TELL}.retryPolicy": {"maxRetryCount": "2", "backoffDuration": "0.5s"}}),
    ("pipeline-name", {"0.pipelineInfo.name": "namespace/team/pipeline/clean"}),
    ("argo-name", {f"{TASKS}.{'a' * 121}": task("tell")}),
    ("lost-exit-task", {f"{TASKS}.bye": task("b", triggerPolicy=ALWAYS, dependentTasks=["tell"])}),
    (
        "missing-input",
        {"0.components.comp-tell.inputDefinitions.parameters.number.defaultValue": 1},
    ),
    ("input-type", {NUMBER: constant(3.0)}),
    ("input-type", {f"{COUNT}.inputs.parameters.word": constant([1])}),  # text takes everything
    ("unknown-placeholder", {f"{CONTAINER}.args.1": "{{$.pipeline_job_name}} {{$}}"}),
    ("condition-types", condition("int(inputs.parameter_values['number']) > 5")),
    ("condition-types", condition("!(inputs.parameter_values['number'] == 5.5)")),
    ("broken-condition", condition("inputs.parameter_values['number'] == \"it's\"")),
    *(
        ("bad-quantity", {f"{RESOURCES}.resourceMemoryLimit": amount})
        for amount in ("100k", "4G", "1.5Gi", "1e9", "512", "{{$.inputs.parameters['word']}}")
    ),
    ("bad-quantity", {RESOURCES: {"memoryLimit": 0.5, "memoryRequest": 0.25, "cpuLimit": 2}}),
    (
        "lost-resource",
        {f"{RESOURCES}.accelerator": {"resourceCount": "1", "resourceType": "nvidia.com/gpu"}},
    ),
    ("bad-toleration", {f"{PLATFORM}.tolerations": [{"operator": "Exists"}]}),
    ("volume-stays", {**CREATE, f"{TASKS}.make": make(pvc_name="for-ever")}),
    (
        "cached-side-effect",
        {f"{TASKS}.prepare-upload": task("p", cachingOptions={"enableCache": True})},
    ),
    ("runtime-pip", {f"{CONTAINER}.command": ["sh", "-c", "echo to install pip, ask"]}),
    *(
        ("literal-secret", {f"{CONTAINER}.env": [{"name": name, "value": value}]})
        for name, value in (
            ("EOS_TOKEN", "</s>"),
            ("MAX_TOKEN_LENGTH", "32768"),
            ("TOKEN_REFRESH_SECONDS", "3600"),
            ("SECRET_REF", "projects/p/secrets/s/versions/1"),
            ("TOKEN_ENDPOINT", "https://login.example/token"),
            ("API_KEY", "${API_KEY}"),
            ("API_KEY", "<your key>"),
            ("ADDRESS", "postgres" + "://{user}:{password}@db/x"),
            ("K8S_SECRET", "my-secret"),
        )
    ),
]


def edited(changes: dict[str, Any]) -> list[dict[str, Any]]:
    documents = clean()
    for path, value in changes.items():
        put(documents, path, value)
    return documents


def test_the_spec_is_clean():
    assert lint(clean()) == []


@pytest.mark.parametrize(("rule", "place", "changes"), FAULTS)
def test_a_fault_is_found(rule, place, changes):
    found = lint(edited(changes), ["kfp"])
    assert (rule, place) in {(each.rule, each.place) for each in found}
    assert all(each.message and each.fix for each in found)


@pytest.mark.parametrize(("rule", "changes"), SOUND)
def test_a_sound_spec_passes(rule, changes):
    found = lint(edited(changes), ["kfp"])
    assert [each for each in found if each.rule == rule] == []


@pytest.mark.parametrize(
    ("rule", "place", "text"),
    [
        (
            "duplicate-key",
            "root.dag.tasks.tell",
            "  dag:\n    tasks:\n      tell: {}\n      tell: {}\n",
        ),
        ("several-documents", "document 3", None),
        ("several-documents", "document 4", None),
    ],
)
def test_what_only_the_text_shows(rule, place, text, tmp_path):
    file = tmp_path / "spec.yaml"
    documents = clean() + (clean() if text is None else [])
    file.write_text(yaml.safe_dump_all(documents))
    if text:
        file.write_text(f"pipelineInfo: {{name: a}}\nschemaVersion: 2.1.0\nroot:\n{text}")
    found = check(read(str(file)), LintConfig())
    assert (rule, place) in {(each.rule, each.place) for each in found}


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("kfp", {"schema-version", "bad-quantity"}),
        ("vertex", set()),
        ("local", {"schema-version", "missing-dependency"}),
    ],
)
def test_a_rule_is_silent_where_it_is_not_true(target, rules):
    changes = {"0.schemaVersion": "2.0.0", f"{RESOURCES}.resourceMemoryLimit": "100K"}
    found = lint(edited(changes | {f"{TELL}.dependentTasks": []}), [target])
    assert {each.rule for each in found} == rules


@pytest.mark.parametrize(
    "changes",
    [
        {f"{CONTAINER}.image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.0"},
        {f"{CONTAINER}.args.0": "{{$.pipeline_google_cloud_location}}"},
        {"0.defaultPipelineRoot": "gs://bucket/root"},
        {"0.sdkVersion": "kfp-1.8.22"},
    ],
)
def test_vertex_is_guessed_where_no_kubernetes_settings_are(changes):
    documents = edited(changes | {f"{RESOURCES}.resourceMemoryLimit": "100K"})
    assert "bad-quantity" in {each.rule for each in lint(documents)}
    assert "bad-quantity" not in {each.rule for each in lint(documents[:1])}
