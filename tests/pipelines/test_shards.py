"""Shards of the prompts on KFP's local runner: together they are the whole."""

import pytest
from kfp import compiler, dsl

from soda.artifacts.kinds import Responses
from soda_components.prepare_prompts.component import prepare_prompts
from soda_components.teacher_gen.component import teacher_gen
from soda_pipelines.local import start_runner
from tests.fakes.artifacts import write_dataset
from tests.fakes.teacher import fake_teacher

pytestmark = pytest.mark.slow


@dsl.pipeline(name="shards")
def shards(prompts_config: dict, teacher_config: dict) -> dsl.Dataset:
    prompts = prepare_prompts(config=prompts_config)
    with dsl.ParallelFor(["1/3", "2/3", "3/3"]) as shard:
        asked = teacher_gen(prompts=prompts.output, config=teacher_config, shard=shard)
    whole = teacher_gen(prompts=prompts.output, config=teacher_config).after(asked)
    return whole.outputs["responses"]


def test_a_loop_over_shards_and_the_whole_after_it_ask_each_prompt_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    compiler.Compiler().compile(shards, str(tmp_path / "shards.yaml"))
    with fake_teacher() as teacher, start_runner(tmp_path / "pipeline"):
        config = {"base_url": teacher.url, "model": "big"}
        task = shards(
            prompts_config={"dataset": str(write_dataset(tmp_path / "data.jsonl", 12))},
            teacher_config=config,
        )
        assert set(teacher.asked.values()) == {1} and teacher.asked.total() == 12
    made = Responses.open(task.output.path)
    assert made.manifest.facts["outcomes"] == {"answered": 12}
    assert len(list((tmp_path / "store" / "artifacts").glob("teacher-gen-*"))) == 4
