"""What Git declares is what `submit` would send."""

from soda_pipelines.runs import prepare_run
from soda_pipelines.submit import read_run
from tests.manifests.pods import pods
from tests.manifests.rendered import ROOT, objects

GITOPS = ROOT / "components" / "gitops"


def only(made, kind, name=None):
    [one] = [one for one in made if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return one


def test_the_declared_run_is_one_that_submit_takes():
    run = GITOPS / "run.yaml"
    assert prepare_run(read_run(run), run).pipeline == "soda-refresh"


def test_run_and_recipe_reach_the_pod_as_the_files_they_are():
    config = only(objects("overlays/gitops"), "ConfigMap", "soda-refresh")
    assert config["data"] == {
        name: (GITOPS / name).read_text() for name in ("recipe.yaml", "run.yaml")
    }


def test_the_refresh_runs_once_at_a_time_and_ends():
    cron = only(objects("overlays/gitops"), "CronJob")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    job = cron["jobTemplate"]["spec"]
    assert job["backoffLimit"] > 0 and job["activeDeadlineSeconds"] > 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_submitting_bears_a_token_for_kubeflow_alone():
    (pod,) = pods(only(objects("overlays/gitops"), "CronJob"))
    (container,) = pod["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (token,) = [
        source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert token["audience"] == "pipelines.kubeflow.org"
    assert env["KF_PIPELINES_SA_TOKEN_PATH"] == f"{mounts['token']}/{token['path']}"


def test_an_event_starts_the_same_pod_as_the_clock():
    cron = only(objects("overlays/gitops"), "CronJob")
    sensor = only(objects("overlays/gitops/argo-events"), "Sensor")
    (trigger,) = sensor["spec"]["triggers"]
    job = trigger["template"]["k8s"]["source"]["resource"]["spec"]
    assert job["template"] == cron["spec"]["jobTemplate"]["spec"]["template"]
