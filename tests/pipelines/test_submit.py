"""Submitting a run: checked, uploaded once, started; and everything that may be refused."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

import soda
from soda.cli import main
from soda_pipelines.runs import prepare_run
from soda_pipelines.submit import read_run
from tests.fakes.image_registry import fake_images
from tests.fakes.kfp_api import kfp_api

RECIPE = Path(__file__).parents[2] / "pipelines" / "distill" / "recipes" / "cluster.yaml"

LOOK = "and look the images up"  # for `submit` below


@pytest.fixture
def api(monkeypatch, tmp_path):
    for name in ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    context = tmp_path / "context.json"  # where kfp keeps a namespace between commands
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(context))
    with kfp_api() as api:
        yield api
    assert not context.exists()


@pytest.fixture
def run_file(tmp_path):
    shutil.copyfile(RECIPE, tmp_path / "recipe.yaml")

    def write(**values):
        declared = {"pipeline": "distill", "experiment": "soda", "recipe": "recipe.yaml"}
        declared |= {"store": "gs://bucket/soda", **values}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in declared.items() if v is not None}))
        return path

    return write


@pytest.fixture
def submit(api, capsys):
    def call(path, *more, host=None):
        with pytest.raises(SystemExit) as ended:
            # the images of a release that is not out yet are in no registry
            more = more if "--watch" in more or LOOK in more else ("--no-image-check", *more)
            words = [word for word in more if word != LOOK]
            main(["submit", "-f", str(path), "--host", host or api.url, *words])
        said = capsys.readouterr()
        if ended.value.code:
            assert ended.value.code == 2 and said.err.count("\n") == 1, said.err
        return ended.value.code or 0, said.out + said.err

    return call


def test_a_run_is_started_with_what_the_file_says(api, run_file, submit):
    path = run_file(
        name="first",
        service_account="soda",
        parameters={"gpus": {"count": 2}},
        pipeline_root="gs://bucket/root",
    )
    code, said = submit(path)
    assert code == 0 and f"link:       {api.url}/#/runs/details/run-4" in said
    (run,) = api.runs.values()
    (version,) = api.versions.values()
    assert run["display_name"] == "first" and run["service_account"] == "soda"
    assert api.experiments[run["experiment_id"]]["display_name"] == "soda"
    assert run["pipeline_version_reference"] == {
        "pipeline_id": version["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert run["runtime_config"]["pipeline_root"] == "gs://bucket/root"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["gpus"]["count"] == 2 and parameters["gpus"]["memory"] == "64Gi"
    assert parameters["recipe"]["train"]["batch_size"] == 32
    spec, _ = yaml.safe_load_all(api.specs[version["pipeline_version_id"]])
    form = spec["root"]["inputDefinitions"]["parameters"]
    assert {key: form[key]["defaultValue"] for key in parameters} == parameters
    assert all("defaultValue" in each for each in form.values()), "it can be started as it is"


def test_a_second_submit_uploads_nothing(api, run_file, submit):
    submit(run_file())
    assert api.changes() == [
        "POST /pipelines",
        "POST /pipelines/upload_version",
        "POST /experiments",
        "POST /runs",
    ]
    code, said = submit(run_file(name="again"))
    assert code == 0 and "there already" in said
    assert api.changes() == ["POST /runs"]


def test_killed_between_pipeline_and_version_it_goes_on(api, run_file, submit):
    api.fail("POST /pipelines/upload_version", 500)
    code, said = submit(run_file())
    assert code == 2 and f"upload soda-distill {soda.__version__}-" in said and "500" in said
    api.changes()
    assert submit(run_file())[0] == 0
    assert "POST /pipelines" not in api.changes() and len(api.pipelines) == 1


def test_a_version_that_another_one_uploaded_meanwhile_is_taken(api, run_file, submit, monkeypatch):
    submit(run_file())
    kept = dict(api.versions)
    listing, looks = type(api).list_versions, []

    def first_empty(self, query, body, pipeline):
        looks.append(query)
        return {} if len(looks) == 1 else listing(self, query, body, pipeline)

    monkeypatch.setattr(type(api), "list_versions", first_empty)
    code, said = submit(run_file())
    assert code == 0 and "there already" in said and api.versions == kept


def test_without_caching_no_task_is_cached_and_the_version_is_another(api, run_file, submit):
    submit(run_file())
    submit(run_file(caching=False))
    cached, uncached = api.specs.values()
    assert "enableCache: true" in cached and "enableCache" not in uncached
    first, second = api.runs.values()
    assert first["pipeline_version_reference"] != second["pipeline_version_reference"]


def test_another_store_or_volume_is_another_version_as_it_is_the_forms_default(
    api, run_file, submit
):
    submit(run_file(store="gs://one/soda"))
    submit(run_file(store="s3://two/soda"))
    assert [run["runtime_config"]["parameters"]["store"] for run in api.runs.values()] == [
        "gs://one/soda",
        "s3://two/soda",
    ]
    assert len(api.versions) == 2
    assert submit(run_file(store="/var/soda", volume=True))[0] == 0
    assert len(api.versions) == 3 and "pvcMount" in list(api.specs.values())[2]


def test_shards_claims_and_secrets_are_fixed_in_the_version(api, run_file, submit):
    values = {"secrets": {"teacher": "mine"}, "claim": "ours", "teacher_shards": 2}
    assert submit(run_file(**values, store="/var/soda", volume=True))[0] == 0
    [spec] = api.specs.values()
    assert "secretName: mine" in spec and "ours" in spec and "Teacher's answers 2/2" in spec


@pytest.mark.parametrize("pipeline", ["refresh", "compare"])
def test_the_other_pipelines_are_submitted_alike(api, run_file, submit, pipeline):
    code, said = submit(run_file(pipeline=pipeline))
    assert code == 0, said
    (found,) = api.pipelines.values()
    assert found["display_name"] == f"soda-{pipeline}"


def test_a_dry_run_sends_nothing(api, run_file, submit):
    code, said = submit(run_file(), "--dry-run")
    assert code == 0 and "nothing was sent" in said and "recipe = " in said
    assert api.calls == []


def test_of_several_users_the_namespace_is_named_everywhere(api, run_file, submit):
    api.namespace = "team"
    assert submit(run_file(namespace="team"))[0] == 0
    assert all(one["namespace"] == "team" for one in api.experiments.values())
    assert all(one["namespace"] == "team" for one in api.pipelines.values())
    code, said = submit(run_file())
    assert code == 2 and "namespace" in said and "400" in said


def test_a_pods_token_is_sent(api, run_file, submit, tmp_path, monkeypatch):
    api.token = "canary-token"
    code, said = submit(run_file())
    assert code == 2 and "401 Unauthorized" in said and "check the token" in said
    (tmp_path / "token").write_text("canary-token")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    code, said = submit(run_file())
    assert code == 0 and "canary-token" not in said
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    assert submit(run_file())[0] == 2


def test_the_host_may_come_from_the_environment(api, run_file, monkeypatch):
    monkeypatch.setenv("KFP_ENDPOINT", api.url)
    with pytest.raises(SystemExit) as ended:
        main(["submit", "-f", str(run_file())])
    assert ended.value.code == 0 and len(api.runs) == 1


@pytest.mark.parametrize("call", ["GET /healthz", "GET /experiments", "POST /runs"])
@pytest.mark.parametrize("status", [401, 403, 404, 409, 500])
def test_a_refusal_of_the_server_is_one_line(api, run_file, submit, call, status):
    api.fail(call, status)
    code, said = submit(run_file())
    assert code == 2 and str(status) in said and "told to fail" in said and api.url in said
    assert submit(run_file())[0] == 0


def test_an_unreachable_server_is_one_line(run_file, submit):
    code, said = submit(run_file(), host="http://127.0.0.1:9")
    assert code == 2 and "127.0.0.1:9" in said and "refused" in said


def test_without_an_address_the_refusal_says_where_one_may_come_from(run_file, capsys, monkeypatch):
    for name in ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/none")
    with pytest.raises(SystemExit) as ended:
        main(["submit", "-f", str(run_file())])
    said = capsys.readouterr()
    assert ended.value.code == 2 and "--host or KFP_ENDPOINT" in said.err
    assert "Failed to load" not in said.out


def test_a_login_page_is_no_api(api, run_file, submit, monkeypatch):
    monkeypatch.setattr(type(api), "healthz", lambda *_: "<html>please log in</html>")
    code, said = submit(run_file())
    assert code == 2 and "a login?" in said and api.changes() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pipelin": "distill"}, "pipelin: unknown key; did you mean 'pipeline'?"),
        ({"pipeline": "distil"}, "no pipeline 'distil'; did you mean 'distill'?"),
        ({"experiment": None}, "run.experiment: expected a value, found none"),
        ({"parameters": {"gpsu": {}}}, "has no parameter 'gpsu'; did you mean 'gpus'"),
        ({"parameters": {"gpus": {"cuont": 2}}}, "gpus.cuont: unknown key; did you mean 'count'?"),
        ({"parameters": {"gpus": 2}}, "gpus: expected struct, found 2"),
        ({"parameters": {"force": True}}, "has no parameter 'force'"),
        ({"parameters": {"recipe": {}}}, "parameters.recipe: the file says it elsewhere"),
        ({"secrets": {"techer": "x"}}, "techer: unknown key; did you mean 'teacher'?"),
        ({"secrets": {"teacher": ""}}, "teacher"),
        ({"teacher_shards": 101}, "expected at most 100 steps"),
        ({"recipe": None}, "run.recipe: expected a value, found none"),
        ({"store": None}, "expected a value for store, found none"),
        ({"nodes": True}, "--nodes: expected --volume"),
        ({"recipe": "none.yaml"}, "none.yaml: expected a recipe, found no such file"),
        ({"store": "/var/soda"}, "expected gs:// or s3:// as store, found '/var/soda'"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_sent(api, run_file, submit, values, message):
    code, said = submit(run_file(**values))
    assert code == 2 and message in said and api.calls == []


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "a: b: c"])
def test_what_is_no_mapping_is_refused(submit, tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    code, said = submit(tmp_path / "run.yaml")
    assert code == 2 and "run.yaml: expected" in said
    assert submit(tmp_path / "none.yaml")[0] == 2


def test_the_versions_name_follows_from_the_spec_alone(run_file):
    path = run_file()
    first = prepare_run(read_run(path), path)
    second = prepare_run(read_run(run_file(name="other")), path)
    assert first.version == second.version
    assert prepare_run(read_run(run_file(caching=False)), path).version != first.version


def test_an_image_that_is_not_there_is_refused_before_anything_is_sent(api, run_file, submit):
    with fake_images() as images:
        images.push("soda/cpu", "1")
        there, missing = (f"{images.host}/soda/cpu:{tag}" for tag in (1, 2))
        code, said = submit(run_file(parameters={"images": [there, missing]}), LOOK)
        assert (code, said.splitlines()[-1]) == (
            2,
            f"soda: {missing}: expected an image, found none there",
        )
        assert api.calls == []
        assert submit(run_file(parameters={"images": [there]}), LOOK)[0] == 0


def test_a_registry_that_only_nodes_reach_is_said_and_no_hindrance(api, run_file, submit):
    code, said = submit(run_file(parameters={"images": ["127.0.0.1:1/soda:1"]}), LOOK)
    assert (
        code == 0 and "image:      not looked up: 127.0.0.1:1/soda:1: the registry cannot" in said
    )


def test_no_image_is_looked_up_where_the_file_names_none(api, run_file, submit):
    assert submit(run_file(parameters={"images": []}), LOOK)[0] == 0


def test_help_imports_no_kfp():
    code = (
        "import sys\nfrom soda.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('kfp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False") and "submit" in done.stdout


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs", {"display_name": "x", "experiment_id": "e", "enable_caching": False}),
        ("/runs", {"display_name": "x", "experiment_id": "e", "runtime_config": {"params": {}}}),
        ("/experiments", {"name": "soda"}),
        ("/experiments?resource_reference_key.id=x", {"display_name": "soda"}),
    ],
)
def test_the_fake_refuses_what_the_published_models_do_not_know(api, path, body):
    request = urllib.request.Request(
        f"{api.url}/apis/v2beta1{path}", json.dumps(body).encode(), method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.code == 400 and not api.runs and not api.experiments
