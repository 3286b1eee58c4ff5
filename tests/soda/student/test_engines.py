"""vLLM in this process: it has to hand over the same answers."""

import sys
import types

import pytest

import soda
from soda.errors import ModelError
from soda.student.chat import ChatFormat
from soda.student.engines import transformers_engine, vllm_engine
from soda.student.generate import Sampling, load_model, sample_ids


def snapshot(made, out, **config):
    inputs = {"prompts": made["prompts"].path, "model": made["base"].path}
    values = {"max_new_tokens": 8, "temperature": 0, **config}
    return soda.run("snapshot", inputs=inputs, config=values, out=out)


def test_vllm_is_given_ids_seeds_and_the_end_of_turn(made, monkeypatch):
    """vLLM itself needs a GPU; this stands at its interface and answers with the real model."""
    folder = made["base"].path
    chat = ChatFormat.load(folder)
    sampling = Sampling(0, 1, 8, 0, 4)
    seen = []

    class SamplingParams:
        def __init__(self, *, temperature, top_p, max_tokens, seed, stop_token_ids):
            assert (temperature, top_p, max_tokens) == (0, 1, 8)
            assert stop_token_ids == [chat.end_of_turn]
            seen.append(seed)

    class LLM:
        def __init__(self, *, model, enable_prefix_caching, seed):
            assert model == str(folder) and enable_prefix_caching
            self.model = load_model(folder)

        def generate(self, asked, drawn):
            assert len(asked) == len(drawn)
            ids = [one["prompt_token_ids"] for one in asked]
            found = dict(sample_ids(self.model, chat, ids, sampling))
            for place in range(len(ids)):
                reason = "stop" if found[place][-1] == chat.end_of_turn else "length"
                one = types.SimpleNamespace(token_ids=found[place], finish_reason=reason)
                yield types.SimpleNamespace(outputs=[one])

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    prompts = [chat.prompt_ids(row.messages) for row in made["prompts"].rows()]
    seeds = [[0, place] for place in range(len(prompts))]
    done = []
    expected = transformers_engine(folder, chat, sampling)(prompts, seeds, done.append)
    assert vllm_engine(folder, chat, sampling)(prompts, seeds, done.append) == expected
    assert sum(done) == 2 * len(prompts)
    assert len(set(seen)) == len(prompts)


def test_vllm_that_is_not_installed_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"install soda-distill\[vllm\]"):
        snapshot(made, tmp_path / "student", engine="vllm")
