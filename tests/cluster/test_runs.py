"""Runs on a real Kubeflow: what their pods are, what they leave, and what is said of their end."""

import threading
import time

import kfp_server_api
import yaml

from soda.kubernetes.workflow import step_of
from tests.cluster.world import ACCOUNT, NODE, USER

ON_GPU = {"snapshot", "train", "eval"}
PROMPTS = 40
MISSING = "soda.invalid/none:1"
# Ends the process that trains, as a kernel without memory would.
KILL = """
import os, pathlib, signal
for each in sorted(pathlib.Path('/proc').glob('[0-9]*'), key=lambda path: int(path.name)):
    words = (each / 'cmdline').read_bytes().split(bytes(1))
    if b'train' in words and b'soda' in words and b'--recipe' in words:
        os.kill(int(each.name), signal.SIGKILL)
        print('killed', each.name)
        break
"""


def of_stage(pod):
    """Return the stage that a pod runs: KFP numbers tasks of one component."""
    return step_of(pod.metadata.annotations[NODE]).rstrip("-0123456789")


def main_of(pod):
    return next(each for each in pod.spec.containers if each.name == "main")


def test_a_run_makes_a_champion_and_says_so(world, champion):
    first, *others = champion.message().splitlines()
    assert first == f"✓ soda-distill {world.name}: version 1 is the champion"
    assert others == [
        f"run: http://kubeflow.test/#/runs/details/{champion.id}",
        f"registry: {world.place}/registry/{world.name}",
    ]
    assert "1.json" in world.files(f"registry/{world.name}/versions")
    made = {name.rpartition("-")[0] for name in world.files("store/artifacts")}
    assert {"prepare-prompts", "teacher-gen", "snapshot", "train", "eval"} <= made
    assert world.files(f"store/runs/{champion.id}") in ([], [".lock"])


def test_every_pod_has_the_user_the_account_and_the_resources_it_should(world, champion):
    pods = champion.pods()
    assert {of_stage(pod) for pod in pods} >= ON_GPU | {"preflight", "teacher-gen", "register"}
    for pod in pods:
        stage, main = of_stage(pod), main_of(pod)
        where = f"pod {pod.metadata.name} of {stage}"
        context = main.security_context or pod.spec.security_context
        assert context.run_as_user == USER and context.run_as_non_root, where
        assert pod.spec.service_account_name == ACCOUNT, where
        limits = main.resources.limits or {}
        assert {"cpu", "memory"} <= limits.keys(), where
        expected = "1" if stage in ON_GPU else None
        found = limits.get(world.gpu_type)
        assert found == expected, f"{where}: expected {expected} GPU, found {found}"
        secrets = {
            each.value_from.secret_key_ref.name
            for each in main.env or []
            if each.value_from and each.value_from.secret_key_ref
        }
        knows = stage in ("preflight", "teacher-gen", "notify")
        assert (world.name in secrets) == knows, f"{where}: {secrets}"
    assert "canary-51fe" not in "".join(world.log(pod) for pod in pods)


def test_the_same_run_again_asks_nothing_and_trains_nothing(world, champion):
    asked, made = world.asked(), world.files("store/artifacts")
    again = world.submit("distill").expect(0)
    assert "version 1 is the champion" in again.message()
    assert world.asked() == asked == PROMPTS and world.files("store/artifacts") == made


def test_a_wrong_teacher_fails_at_preflight_once_and_says_what_to_change(world):
    recipe = world.recipe(teacher_gen={"model": "fakke"})
    run = world.submit("distill", recipe=recipe)
    run.expect(1)
    assert "preflight: failed: preflight: 1 of " in run.said and "did you mean 'fake'" in run.said
    message = run.message()
    assert "failed at preflight: " in message and "what to do: correct teacher-gen" in message
    assert len(run.pods("preflight")) == 1, "a refusal is not tried again"


def test_a_pod_that_is_deleted_comes_back_and_asks_only_what_is_left(world):
    world.teacher(delay=4.0)
    before = world.asked()
    changed = {"limits": {"concurrency": 2}, "system": "Answer in a word."}
    run = world.submit("distill", watch=False, recipe=world.recipe(teacher_gen=changed)).expect(0)
    pod = run.running("teacher-gen")
    some = lambda: world.asked() - before >= 10  # noqa: E731
    world.eventually(some, "ten requests to the teacher")
    world.core.delete_namespaced_pod(pod.metadata.name, world.namespace, grace_period_seconds=0)
    world.teacher(delay=0.0)
    run.ended("SUCCEEDED")
    asked = world.asked() - before
    assert asked <= PROMPTS + 2, f"{PROMPTS} prompts and 2 under way; found {asked} requests"
    assert len(run.pods("teacher-gen")) > 1


def test_a_training_process_that_is_killed_is_begun_again_in_its_pod(world):
    slow = {"batch_size": 4, "epochs": 60, "learning_rate": 1e-3, "check_every_steps": 5}
    run = world.submit("distill", watch=False, recipe=world.recipe(warm_up=slow)).expect(0)
    pod = run.running("train")
    killed = lambda: "killed" in world.run_in(pod, KILL)  # noqa: E731
    world.eventually(killed, f"a process that trains in {pod.metadata.name}", 120)
    run.ended("SUCCEEDED")
    assert "restart 1 of 3 from its checkpoint" in world.log(pod)
    assert len(run.pods("train")) == 1, "the pod itself goes on"


def test_a_cancelled_run_is_told_as_cancelled_with_the_step(world):
    world.teacher(delay=4.0)
    changed = {"system": "Answer in two words.", "limits": {"concurrency": 2}}
    run = world.submit("distill", watch=False, recipe=world.recipe(teacher_gen=changed)).expect(0)
    run.running("teacher-gen")
    world.cancel(run)
    run.ended("CANCELED", "FAILED")  # Kubeflow 2.17 says the second
    assert "cancelled while teacher-gen was at work" in run.message()


def test_an_unchanged_teacher_costs_a_look_and_a_changed_one_is_learned_from_once(world, champion):
    asked = world.asked()
    same = world.submit("refresh").expect(0)
    assert "nothing new, the teacher is unchanged" in same.message()
    assert world.asked() == asked and not same.pods("train")

    world.teacher(says="Quite another answer, from another model, to")
    gate = {"champion_if": ["rouge_l.change.low > 2"]}  # which no student passes
    changed = world.submit("refresh", recipe=world.recipe(register=gate)).expect(0)
    assert "is registered and is not the champion: expected rouge_l" in changed.message()
    assert world.asked() == asked + PROMPTS
    later = world.submit("refresh", recipe=world.recipe(register=gate)).expect(0)
    assert "nothing new" in later.message(), "a teacher that made no champion rests for a week"


def test_a_pod_whose_image_is_not_there_is_said_while_it_waits(world, monkeypatch):
    monkeypatch.setenv("SODA_CPU_IMAGE", MISSING)

    def end_the_run():
        def look():
            labels = "app.kubernetes.io/part-of=soda"
            found = world.core.list_namespaced_pod(world.namespace, label_selector=labels).items
            return [pod for pod in found if any(c.image == MISSING for c in pod.spec.containers)]

        [pod, *_] = world.eventually(look, f"a pod with the image {MISSING}")
        time.sleep(45)  # until --watch has looked again
        run = pod.metadata.labels["pipeline/runid"]
        world.server().client.runs.run_service_terminate_run(run)

    ending = threading.Thread(target=end_the_run)
    ending.start()
    run = world.submit("distill").expect(1)
    ending.join()
    assert "preflight: waits: " in run.said and MISSING in run.said


def test_a_compiled_recipe_can_be_started_from_the_form_as_it_is(world, champion):
    declared = world.declared("distill", world.recipe())
    spec, recipe = world.folder / "form.yaml", world.folder / declared["recipe"]
    words = ["--recipe", str(recipe), "--store", declared["store"], "--volume", "--out", str(spec)]
    words += ["--claim", declared["claim"]]
    words += [f"--secret={key}={name}" for key, name in declared["secrets"].items()]
    world.soda("compile", "--pipeline", "distill", *words).expect(0)
    pipeline, platform = yaml.safe_load_all(spec.read_text())
    inputs = pipeline["root"]["inputDefinitions"]["parameters"]
    missing = [name for name, facts in inputs.items() if "defaultValue" not in facts]
    assert not missing, f"the form shows 'Missing parameter' at {missing}"
    server = world.server()
    run = server.start(
        kfp_server_api.V2beta1Run(
            experiment_id=server.experiment("soda-cluster-test", create=True),
            display_name="as the form has it",
            pipeline_spec={"pipeline_spec": pipeline, "platform_spec": platform},
            # the form's own values, but for what is of this cluster
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=declared["parameters"]),
            service_account=ACCOUNT,
        )
    )
    world.eventually(
        lambda: server.run(run).state in ("SUCCEEDED", "FAILED"), f"the end of run {run}"
    )
    assert server.run(run).state == "SUCCEEDED", f"run {run}: {server.run(run).error}"
