"""What Git declares is what `compile` and `submit` would send."""

import importlib.util

import pytest
import yaml
from soda_pipelines.compile import PIPELINES
from soda_pipelines.runs import prepare_run
from soda_pipelines.submit import read_run

from tests.manifests.pods import pods
from tests.manifests.rendered import ROOT, objects

GITOPS = ROOT / "components" / "gitops"


def _generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _without_sdk_version(made):
    for one in made:
        one["spec"].get("pipelineSpec", {}).pop("sdkVersion", None)
    return made


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_declared_pipelines_are_those_that_compile(pipeline):
    stored = list(yaml.safe_load_all((GITOPS / f"pipelines/{pipeline}.yaml").read_text()))
    made = _generate().native_objects(pipeline)
    assert _without_sdk_version(stored) == _without_sdk_version(made), (
        "run: .venv/bin/python manifests/generate.py"
    )


def test_every_pipeline_is_listed():
    listed = yaml.safe_load((GITOPS / "pipelines/kustomization.yaml").read_text())["resources"]
    assert listed == [f"{pipeline}.yaml" for pipeline in PIPELINES]


def test_the_declared_run_is_one_that_submit_takes():
    declared = yaml.safe_load((GITOPS / "run.yaml").read_text())
    if declared["pipeline"] not in PIPELINES:
        pytest.skip(f"no pipeline '{declared['pipeline']}' yet")
    config = read_run(GITOPS / "run.yaml")
    prepared = prepare_run(config, GITOPS / "run.yaml")
    versions = [one for one in objects("overlays/gitops") if one["kind"] == "PipelineVersion"]
    assert prepared.version in [one["metadata"]["name"] for one in versions]


def test_run_and_recipe_reach_the_pod_as_the_files_they_are():
    (config,) = [
        one
        for one in objects("overlays/gitops")
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "soda-refresh")
    ]
    assert config["data"] == {
        name: (GITOPS / name).read_text() for name in ("recipe.yaml", "run.yaml")
    }


def test_the_refresh_runs_once_at_a_time_and_ends():
    (cron,) = [one["spec"] for one in objects("overlays/gitops") if one["kind"] == "CronJob"]
    assert cron["concurrencyPolicy"] == "Forbid"
    job = cron["jobTemplate"]["spec"]
    assert job["backoffLimit"] > 0 and job["activeDeadlineSeconds"] > 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_submitting_bears_a_token_for_kubeflow_alone():
    (cron,) = [one for one in objects("overlays/gitops") if one["kind"] == "CronJob"]
    (pod,) = pods(cron)
    (container,) = pod["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (token,) = [
        source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert token["audience"] == "pipelines.kubeflow.org"
    assert env["KF_PIPELINES_SA_TOKEN_PATH"] == f"{mounts['token']}/{token['path']}"


def test_an_event_starts_the_same_pod_as_the_clock():
    (cron,) = [one for one in objects("overlays/gitops") if one["kind"] == "CronJob"]
    (sensor,) = [one for one in objects("overlays/gitops/argo-events") if one["kind"] == "Sensor"]
    (trigger,) = sensor["spec"]["triggers"]
    job = trigger["template"]["k8s"]["source"]["resource"]["spec"]
    assert job["template"] == cron["spec"]["jobTemplate"]["spec"]["template"]
