"""What `soda gitops` writes into a user's repository is what `submit` would send."""

import re
import shutil

import pytest
import yaml

from soda.cli import main
from soda_pipelines.runs import prepare_run
from soda_pipelines.submit import read_run
from tests.manifests.pods import pods
from tests.manifests.rendered import ROOT, build, compose

GITOPS = ROOT / "components" / "gitops"


def only(made, kind, name=None):
    [one] = [one for one in made if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return one


def gitops(path, *more):
    with pytest.raises(SystemExit) as ended:
        main(["gitops", "-f", str(path), *more])
    return ended.value.code


@pytest.fixture
def mine(tmp_path):
    """A repository's folder with a run of its own in it."""
    (tmp_path / "mine").mkdir()
    run = yaml.safe_load((GITOPS / "run.yaml").read_text())
    run |= {"store": "gs://mine/soda", "recipe": "my.yaml"}
    (tmp_path / "mine" / "nightly.yaml").write_text(yaml.safe_dump(run))
    shutil.copyfile(GITOPS / "recipe.yaml", tmp_path / "mine" / "my.yaml")
    return tmp_path / "mine" / "nightly.yaml"


def with_mine(folder):
    """Write a kustomization that has the overlay and, after it, the folder `mine`."""
    compose(folder, "overlays/gitops")
    path = folder / "kustomization.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "components": ["mine"]}))
    return folder


def numbers(value):
    """Read 5e-06, as kubectl writes it, as Kubernetes does: PyYAML takes it for text."""
    if isinstance(value, dict):
        return {key: numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers(each) for each in value]
    return float(value) if re.fullmatch(r"\d+e-\d+", str(value)) else value


def test_beside_a_run_its_pipeline_is_declared_as_submit_would_upload_it(mine, tmp_path):
    assert gitops(mine) == 0
    made = build(with_mine(tmp_path))
    version, prepared = only(made, "PipelineVersion"), prepare_run(read_run(mine), mine)
    assert version["metadata"]["name"] == prepared.version
    assert version["spec"]["pipelineName"] == only(made, "Pipeline")["metadata"]["name"]
    spec, platform = yaml.safe_load_all(prepared.spec)
    assert numbers(version["spec"]["pipelineSpec"]) == spec
    assert version["spec"]["platformSpec"] == platform
    data = only(made, "ConfigMap", "soda-refresh")["data"]
    assert data["run.yaml"] == mine.read_text()
    assert data["my.yaml"] == mine.with_name("my.yaml").read_text()


def test_for_a_kubeflow_with_a_database_the_pipeline_is_left_out(mine, tmp_path):
    assert gitops(mine, "--no-pipeline") == 0
    assert not mine.with_name("pipeline.yaml").exists()
    kinds = {one["kind"] for one in build(with_mine(tmp_path))}
    assert "CronJob" in kinds and "PipelineVersion" not in kinds


def test_images_of_ones_own_reach_the_steps_and_the_cron_job(mine, tmp_path, monkeypatch):
    own = f"registry.example:5000/team/soda-cpu@sha256:{'0' * 64}"
    monkeypatch.setattr("soda_components.images.CPU", own)
    assert gitops(mine) == 0
    made = build(with_mine(tmp_path))
    [container] = next(pods(only(made, "CronJob")))["containers"]
    assert container["image"] == own
    assert only(made, "ConfigMap", "soda-refresh")["data"]["SODA_CPU_IMAGE"] == own
    read = {one["name"]: one["valueFrom"] for one in container["env"] if "valueFrom" in one}
    assert read["SODA_CPU_IMAGE"]["configMapKeyRef"]["key"] == "SODA_CPU_IMAGE"


def test_again_it_writes_the_same_and_a_file_of_somebody_else_is_kept(mine, capsys):
    assert gitops(mine) == 0
    files = [mine.with_name("pipeline.yaml"), mine.with_name("kustomization.yaml")]
    first = [file.read_text() for file in files]
    assert gitops(mine) == 0 and [file.read_text() for file in files] == first
    files[1].write_text("resources: []\n")
    capsys.readouterr()
    assert gitops(mine) == 2
    assert "expected a file made by `soda gitops`, found another" in capsys.readouterr().err
    assert files[1].read_text() == "resources: []\n"


def test_a_recipe_that_kustomize_would_not_read_is_refused(mine, capsys):
    run = yaml.safe_load(mine.read_text())
    shutil.move(mine.with_name("my.yaml"), mine.parents[1] / "my.yaml")
    mine.write_text(yaml.safe_dump({**run, "recipe": "../my.yaml"}))
    assert gitops(mine) == 2
    assert "recipe: expected a file in the same folder" in capsys.readouterr().err
    assert [path.name for path in mine.parent.iterdir()] == ["nightly.yaml"]
