"""Training as a TrainJob, where the Kubeflow Trainer and the runtime are there."""

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

TRAINER = ("trainer.kubeflow.org", "v1alpha1")


@pytest.fixture(scope="module")
def jobs(world):
    """The TrainJobs of the namespace, by a call."""
    api = client.CustomObjectsApi(world.api)
    try:
        api.get_namespaced_custom_object(
            *TRAINER, world.namespace, "trainingruntimes", "soda-torch"
        )
    except ApiException as error:
        pytest.skip(f"no TrainingRuntime soda-torch in {world.namespace}: {error.status}")

    def names():
        found = api.list_namespaced_custom_object(*TRAINER, world.namespace, "trainjobs")
        return {one["metadata"]["name"] for one in found["items"]}

    return names


def pods_of(world, job):
    labels = f"jobset.sigs.k8s.io/jobset-name={job}"
    return world.core.list_namespaced_pod(world.namespace, label_selector=labels).items


NODES = {"nodes": True, "parameters": {"train_nodes": 2}}


def test_two_nodes_train_and_the_job_is_gone_afterwards(world, champion, jobs):
    before = jobs()
    run = world.submit("distill", recipe=world.recipe(train={"seed": 11}), **NODES).expect(0)
    assert "is the champion" in run.message() or "is registered" in run.message()
    assert jobs() <= before, "a finished TrainJob stays"


def test_a_cancelled_run_leaves_no_trainjob(world, champion, jobs):
    before = jobs()
    slow = {"batch_size": 4, "epochs": 200, "check_every_steps": 5, "seed": 12}
    recipe = world.recipe(warm_up=slow)
    run = world.submit("distill", watch=False, recipe=recipe, **NODES).expect(0)
    [job] = world.eventually(lambda: jobs() - before, f"a TrainJob; pods: {run.states()}")
    started = lambda: [p for p in pods_of(world, job) if p.status.phase == "Running"]  # noqa: E731
    world.eventually(started, f"a running pod of {job}")
    world.cancel(run)
    run.ended("CANCELED", "FAILED")  # Kubeflow 2.17 says the second
    world.eventually(lambda: job not in jobs(), f"the end of {job}", 120)
    assert "cancelled" in run.message()
