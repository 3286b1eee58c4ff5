"""Every parameter that reaches a pod's spec, resolved the way KFP's driver does it."""

import pytest

from soda.kubernetes.resources import CpuPods, GpuPods, texts_of
from soda_pipelines.distill.graph import Shards
from tests.pipelines.driver import PLACEHOLDER, Refused, pods_of_run
from tests.pipelines.test_compile import WAYS, compiled, parameters

EMPTY = {"dict": {}, "STRUCT": {}, "LIST": [], "STRING": "", "BOOLEAN": False, "NUMBER_INTEGER": 1}


def run(documents, arguments=(), *, gpus=(), pods=()):
    """Return the pods of a run whose form was filled in so."""
    made = texts_of(CpuPods.parse(dict(pods)), GpuPods.parse(dict(gpus)))._asdict()
    outputs = {"preflight": made, "watch": {"Output": "new", "identity": ""}}
    return pods_of_run(documents, {"store": "gs://b/soda", **dict(arguments)}, outputs)


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_every_pod_gets_what_the_form_asks_for(name, how):
    found = run(compiled(name, **how), gpus={"count": 4, "node_selector": {"a": "b"}})
    for title, pod in found.items():
        assert all(pod["limits"].values()), title
        if title.startswith(("Train", "Warm up")) and "nvidia.com/gpu" in pod["limits"]:
            assert pod["limits"]["nvidia.com/gpu"] == "4"
        if title.startswith(("Measure", "Choose")):
            assert pod["limits"]["nvidia.com/gpu"] == "1"
            assert pod["nodeSelector"] == {"a": "b"}
    with_gpus = {title for title, pod in found.items() if "nvidia.com/gpu" in pod["limits"]}
    on_nodes = bool(how.get("fixed") and how["fixed"].nodes)
    assert ("Train" in with_gpus) != (on_nodes or "Train" not in found)


def test_only_the_shards_of_a_snapshot_have_a_gpu_and_what_puts_them_together_has_none():
    found = run(compiled(shards=Shards(1, 2)))
    gpus = {title: "nvidia.com/gpu" in pod["limits"] for title, pod in found.items()}
    assert gpus["Student's answers 1/2"] and gpus["Student's answers 2/2"]
    assert not gpus["Student's answers"]
    assert "nvidia.com/gpu" in run(compiled())["Student's answers"]["limits"]


@pytest.mark.parametrize("name", ["distill", "refresh", "compare"])
def test_a_field_that_was_cleared_stops_no_driver(name):
    documents = compiled(name)
    for key, each in parameters(documents[0]).items():
        if key not in ("recipe", "store"):
            assert run(documents, {key: EMPTY[each["parameterType"]]}), key


def test_a_recipe_without_a_step_is_refused_by_its_name_and_the_notification_still_comes():
    documents = compiled()
    with pytest.raises(Refused, match="no such key: prepare-prompts"):
        run(documents, {"recipe": {}})
    del documents[0]["root"]["dag"]["tasks"]["exit-handler-1"]
    try:
        assert run(documents, {"recipe": {}, "store": ""})["Notify"]["limits"]
    finally:
        compiled.__globals__["_compiled"].cache_clear()


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_what_the_driver_reads_as_text_is_made_as_text(name, how):
    spec, _ = compiled(name, **how)
    made = spec["components"]["comp-preflight"]["outputDefinitions"]["parameters"]
    read = set()
    for executor in spec["deploymentSpec"]["executors"].values():
        read |= set(PLACEHOLDER.findall(str(executor["container"]["resources"])))
    assert len(read) >= 5
    for each in read:
        output = each.removeprefix("pipelinechannel--preflight-")
        assert made[output]["parameterType"] == "STRING", each


def test_of_a_number_the_driver_sets_nothing():
    """As a cluster showed: training without a GPU, and no error."""
    made = texts_of(CpuPods.parse({}), GpuPods.parse({}))._asdict()
    with pytest.raises(Refused, match="an empty limit"):
        pods_of_run(compiled(), {"store": "gs://b"}, {"preflight": {**made, "gpu_count": 1}})
