"""Declared schedules: shown, applied once, replaced, switched, pruned; and what is refused."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

import soda
from soda.cli import main
from tests.fakes.kfp_api import kfp_api

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "pipelines" / "distill" / "recipes" / "cluster.yaml"
NIGHTLY = {
    "name": "nightly",
    "pipeline": "distill",
    "cron": "0 0 2 * * *",
    "recipe": "recipe.yaml",
    "store": "gs://bucket/soda",
}
HOURLY = {
    "name": "hourly",
    "pipeline": "distill",
    "every_seconds": 3600,
    "recipe": "recipe.yaml",
    "store": "gs://bucket/soda",
    "parameters": {"gpu_count": 2},
    "enabled": False,
}


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
def declare(tmp_path):
    shutil.copyfile(RECIPE, tmp_path / "recipe.yaml")

    def write(*schedules, **values):
        path = tmp_path / "schedules.yaml"
        declared = {"experiment": "soda", "service_account": "soda", **values}
        path.write_text(yaml.safe_dump({**declared, "schedules": list(schedules)}))
        return path

    return write


@pytest.fixture
def schedule(api, capsys):
    def call(path, *more):
        with pytest.raises(SystemExit) as ended:
            main(["schedule", "-f", str(path), "--host", api.url, *more])
        said = capsys.readouterr()
        if ended.value.code:
            assert ended.value.code == 2 and said.err.count("\n") == 1, said.err
        return ended.value.code or 0, said.out + said.err

    return call


def named(api, name):
    return [one for one in api.recurring.values() if one["display_name"] == name]


def test_what_is_declared_is_shown_and_nothing_is_changed(api, declare, schedule):
    code, said = schedule(declare(NIGHTLY, HOURLY))
    assert code == 0 and "create    nightly" in said and "cron 0 0 2 * * *" in said
    assert "every 3600 seconds, disabled" in said and "nothing was changed; --apply" in said
    assert api.changes() == []


def test_applied_it_is_there_and_applied_again_nothing_happens(api, declare, schedule):
    path = declare(NIGHTLY, HOURLY)
    assert schedule(path, "--apply")[0] == 0
    (nightly,), (hourly,) = named(api, "nightly"), named(api, "hourly")
    (version,) = api.versions.values()
    assert nightly["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert nightly["pipeline_version_reference"] == {
        "pipeline_id": version["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert nightly["max_concurrency"] == "1" and nightly["no_catchup"] is True
    assert nightly["service_account"] == "soda" and nightly["mode"] == "ENABLE"
    assert nightly["description"].startswith("soda-schedule: ")
    assert nightly["runtime_config"]["parameters"]["recipe_train"]["batch_size"] == 32
    assert hourly["trigger"] == {"periodic_schedule": {"interval_second": "3600"}}
    assert hourly["mode"] == "DISABLE"
    api.changes()
    code, said = schedule(path, "--apply")
    assert code == 0 and said.count("unchanged") == 2
    assert api.changes() == []


def test_what_differs_is_shown_old_and_new_and_replaced(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    (before,) = api.recurring
    api.changes()
    changed = {**NIGHTLY, "cron": "0 30 3 * * *", "parameters": {"gpu_memory": "96Gi"}}
    path = declare(changed, service_account="other")
    recipe = path.parent / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("beta: 0.1", "beta: 0.2"))
    _, said = schedule(path)
    for line in (
        "replace   nightly",
        "cron: 0 0 2 * * * -> 0 30 3 * * *",
        "parameters.gpu_memory: None -> 96Gi",
        "parameters.recipe_train.loss.beta: 0.1 -> 0.2",
        "service_account: soda -> other",
    ):
        assert line in said
    assert said.count("->") == 4 and list(api.recurring) == [before]
    assert schedule(path, "--apply")[0] == 0
    assert api.changes() == [f"DELETE /recurringruns/{before}", "POST /recurringruns"]
    assert len(api.recurring) == 1 and named(api, "nightly")[0]["service_account"] == "other"
    assert "unchanged" in schedule(path, "--apply")[1] and api.changes() == []


def test_a_run_under_way_outlives_the_replacement_of_its_schedule(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    (before,) = api.recurring
    api.runs["under-way"] = {"run_id": "under-way", "recurring_run_id": before}
    schedule(declare({**NIGHTLY, "catchup": True}), "--apply")
    assert before not in api.recurring and "under-way" in api.runs


def test_what_the_server_fills_in_is_no_difference(api, declare, schedule):
    schedule(declare(NIGHTLY, service_account=None), "--apply")
    assert named(api, "nightly")[0]["service_account"] == "pipeline-runner"
    assert "unchanged" in schedule(declare(NIGHTLY, service_account=None))[1]
    said = schedule(declare({**NIGHTLY, "catchup": True}, service_account=None))[1]
    assert "catchup: False -> True" in said and said.count("->") == 1


def test_another_spec_replaces_the_recurring_run(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    api.changes()
    path = declare({**NIGHTLY, "caching": False})
    _, said = schedule(path, "--apply")
    assert f"version: {soda.__version__}-" in said
    assert [call.split("/recurring-")[0] for call in api.changes()] == [
        "POST /pipelines/upload_version",
        "DELETE /recurringruns",
        "POST /recurringruns",
    ]


def test_a_version_that_was_deleted_is_uploaded_again(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    api.versions.clear()
    code, said = schedule(declare(NIGHTLY), "--apply")
    assert code == 0 and "no longer there -> uploaded again" in said
    assert "unchanged" in schedule(declare(NIGHTLY), "--apply")[1]


def test_enabled_is_switched_without_a_replacement(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    (run,) = api.recurring
    api.changes()
    for enabled, verb in ((False, "disable"), (True, "enable")):
        path = declare({**NIGHTLY, "enabled": enabled})
        _, said = schedule(path, "--apply")
        assert f"{verb:<10}nightly" in said
        assert api.changes() == [f"POST /recurringruns/{run}:{verb}"]
        assert "unchanged" in schedule(path)[1]


def test_only_prune_deletes_and_only_ours(api, declare, schedule):
    schedule(declare(NIGHTLY, HOURLY), "--apply")
    schedule(declare(NIGHTLY, experiment="theirs"), "--apply")
    foreign = {**named(api, "hourly")[0], "display_name": "foreign", "description": "by hand"}
    api.recurring["foreign"] = {**foreign, "recurring_run_id": "foreign"}
    api.changes()
    _, said = schedule(declare(NIGHTLY), "--apply")
    assert "left      hourly" in said and "--prune deletes it" in said and api.changes() == []
    _, said = schedule(declare(NIGHTLY), "--prune")
    assert "delete    hourly" in said and api.changes() == []
    assert schedule(declare(NIGHTLY), "--prune", "--apply")[0] == 0
    assert len(api.changes()) == 1 and not named(api, "hourly")
    assert len(named(api, "nightly")) == 2 and named(api, "foreign")


def test_a_foreign_one_of_the_same_name_is_refused_and_kept(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    (run,) = api.recurring.values()
    run["description"] = "made by hand"
    api.changes()
    code, said = schedule(declare({**NIGHTLY, "catchup": True}), "--apply", "--prune")
    assert code == 2 and run["recurring_run_id"] in said and "rename one of them" in said
    assert api.changes() == []


def test_a_second_one_of_ours_is_deleted(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    (run,) = api.recurring.values()
    api.recurring["twin"] = {**run, "recurring_run_id": "twin"}
    api.changes()
    _, said = schedule(declare(NIGHTLY), "--apply")
    assert "a second one of this name" in said and len(api.changes()) == 1
    assert list(api.recurring.values()) == [run]


def test_one_that_moved_to_another_experiment_is_pointed_at(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    code, said = schedule(declare(NIGHTLY, experiment="new"), "--apply")
    assert code == 0 and "warning: 'nightly' also fires in experiment experiment-" in said


def test_lists_of_several_pages_are_read_whole(api, declare, schedule):
    many = [{**NIGHTLY, "name": f"number-{number}"} for number in range(5)]
    schedule(declare(*many), "--apply")
    assert len(api.recurring) == 5 and api.page == 2
    api.changes()
    assert schedule(declare(*many), "--apply")[1].count("unchanged") == 5
    assert api.calls.count("GET /recurringruns") == 3 and api.changes() == []


def test_of_several_users_only_the_namespaces_are_seen(api, declare, schedule):
    api.namespace = "team"
    assert schedule(declare(NIGHTLY, namespace="team"), "--apply")[0] == 0
    assert schedule(declare(NIGHTLY), "--apply")[0] == 2


def test_a_failure_between_delete_and_create_says_how_to_go_on(api, declare, schedule):
    schedule(declare(NIGHTLY, HOURLY), "--apply")
    path = declare({**NIGHTLY, "cron": "0 0 4 * * *"}, HOURLY)
    api.fail("POST /recurringruns", 500)
    code, said = schedule(path, "--apply")
    assert code == 2 and "500" in said and "'nightly' is deleted and not yet made again" in said
    assert "run the same command again" in said and not named(api, "nightly")
    code, said = schedule(path, "--apply")
    assert code == 0 and "create    nightly" in said and "unchanged hourly" in said
    assert len(named(api, "nightly")) == 1


def test_killed_between_delete_and_create_the_next_run_makes_it(
    api, declare, schedule, monkeypatch
):
    schedule(declare(NIGHTLY), "--apply")
    path = declare({**NIGHTLY, "cron": "0 0 4 * * *"})
    is_dead, create = threading.Event(), type(api).create_recurring

    def hang(self, query, body):
        is_dead.wait(60)
        return {}

    monkeypatch.setattr(type(api), "create_recurring", hang)
    command = [sys.executable, "-m", "soda", "schedule", "-f", str(path), "--apply"]
    child = subprocess.Popen(
        [*command, "--host", api.url], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL
    )
    while api.recurring:
        time.sleep(0.01)
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    is_dead.set()
    assert api.recurring == {}
    monkeypatch.setattr(type(api), "create_recurring", create)
    code, said = schedule(path, "--apply")
    assert code == 0 and "create    nightly" in said and len(api.recurring) == 1


@pytest.mark.parametrize("call", ["GET /recurringruns", "POST /recurringruns", "POST /experiments"])
@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_of_the_server_is_one_line(api, declare, schedule, call, status):
    api.fail(call, status)
    code, said = schedule(declare(NIGHTLY), "--apply")
    assert code == 2 and str(status) in said and "told to fail" in said
    assert "deleted" not in said
    assert schedule(declare(NIGHTLY), "--apply")[0] == 0 and len(api.recurring) == 1


def test_one_that_somebody_deleted_meanwhile_is_no_error(api, declare, schedule):
    schedule(declare(NIGHTLY), "--apply")
    api.fail("DELETE", 404)
    assert schedule(declare(), "--apply", "--prune")[0] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cron": "0 2 * * *"}, "found five in '0 2 * * *'; did you mean '0 0 2 * * *'?"),
        ({"cron": "0 0 24 * * *"}, "0 to 23, '*', a-b or */n as hour, found '24'"),
        ({"cron": None}, "expected either cron or every_seconds, found both or neither"),
        ({"every_seconds": 60}, "expected either cron or every_seconds, found both or neither"),
        ({"max_concurrency": 11}, "schedule.max_concurrency: "),
        ({"max_concurency": 1}, "did you mean 'max_concurrency'?"),
        ({"parameters": {"gpus": 1}}, "has no parameter 'gpus'"),
        ({"name": None}, "schedule 1 (no name): schedule.name: expected a value, found none"),
    ],
)
def test_a_wrong_schedule_is_refused_before_anything_is_sent(
    api, declare, schedule, values, message
):
    declared = {key: value for key, value in {**NIGHTLY, **values}.items() if value is not None}
    code, said = schedule(declare(declared), "--apply")
    assert code == 2 and message in said and "schedules.yaml" in said and api.calls == []


def test_a_name_is_declared_once(api, declare, schedule):
    code, said = schedule(declare(NIGHTLY, NIGHTLY))
    assert code == 2 and "expected each name once, found 'nightly' 2 times" in said
