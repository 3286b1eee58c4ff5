"""Continuous batching gives the tokens that `generate` gives, and draws from the distribution."""

import time

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.generation.continuous_batching import ContinuousBatchingManager

from soda.errors import ModelError
from soda.student import generate
from soda.student.chat import ChatFormat
from soda.student.continuous import Draws, continuous
from soda.student.generate import Sampling, paged, sample_ids, stop_ids
from tests.fakes.student import save_student

GREEDY = Sampling(0, 1, 12, 0, 4)


def prompts(count=11):
    """Of mixed lengths, in no order."""
    drawn = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 30, (count,), generator=drawn).tolist()
    return [torch.randint(10, 500, (n,), generator=drawn).tolist() for n in lengths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def chat(folder):
    return ChatFormat.load(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def alone(model, prompt, most, stops):
    """Return a greedy answer without a cache, token by token."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + most:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in stops:
                break
    return ids[len(prompt) :]


def windowed():
    torch.manual_seed(0)
    shape = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return MistralForCausalLM(MistralConfig(**shape, **heads, sliding_window=8)).eval()


def untied():
    torch.manual_seed(0)
    shape = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64}
    return LlamaForCausalLM(
        LlamaConfig(**shape, num_hidden_layers=3, num_attention_heads=2, tie_word_embeddings=False)
    ).eval()


@pytest.mark.parametrize("make", [None, windowed, untied])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_greedy_tokens_are_those_of_one_prompt_at_a_time(model, make, rows):
    model = model if make is None else make()
    asked = prompts()
    stops = {alone(model, asked[3], 3, set())[-1]}  # so that some end early
    found = dict(continuous(model, asked, Draws(0, 1, 12), [[0]] * len(asked), stops, rows))
    expected = {n: alone(model, prompt, 12, stops) for n, prompt in enumerate(asked)}
    assert found == expected
    assert len({len(ids) for ids in found.values()}) > 1


def test_every_way_gives_the_same_greedy_tokens(model, chat):
    asked = prompts()
    stops = stop_ids(model, chat)
    found = dict(sample_ids(model, chat, asked, GREEDY))
    seeds = [[0]] * len(asked)
    assert dict(generate._in_batches(model, chat, asked, GREEDY, seeds, stops)) == found
    settings = {"num_blocks": 16, "page_size": 32, "max_batch_tokens": 64}
    assert dict(paged(model, chat, asked, GREEDY, seeds, stops, **settings)) == found


def test_paging_draws_the_same_whatever_the_timing(model, chat, monkeypatch):
    asked, sampling = prompts(), Sampling(0.8, 0.9, 12, 3, 4)
    seeds, stops = [[0]] * len(asked), stop_ids(model, chat)
    settings = {"num_blocks": 16, "page_size": 32, "max_batch_tokens": 64}
    before = model.config._attn_implementation
    quick = dict(paged(model, chat, asked, sampling, seeds, stops, **settings))
    add = ContinuousBatchingManager.add_request

    def slowly(*arguments, **values):
        time.sleep(0.03)
        return add(*arguments, **values)

    monkeypatch.setattr(ContinuousBatchingManager, "add_request", slowly)
    assert dict(paged(model, chat, asked, sampling, seeds, stops, **settings)) == quick
    assert dict(paged(model, chat, asked, sampling, [[1]] * len(asked), stops, **settings)) != quick
    assert model.config._attn_implementation == before


def test_a_request_that_paging_cannot_answer_is_refused(model, chat):
    settings = {"num_blocks": 2, "page_size": 16, "max_batch_tokens": 16}
    with pytest.raises(ModelError, match="expected 1 answers, found 0"):
        list(paged(model, chat, [[7] * 400], GREEDY, [[0]], [1], **settings))


def test_an_answer_depends_on_its_seed_and_not_on_its_neighbours(model, chat):
    asked = prompts()
    sampling = Sampling(0.8, 0.9, 12, 3, 4)
    together = dict(sample_ids(model, chat, asked, sampling))
    assert together == dict(sample_ids(model, chat, asked, sampling))
    single = dict(sample_ids(model, chat, [asked[5]], sampling, [[3, 5]]))
    assert single[0] == together[5]
    assert dict(sample_ids(model, chat, asked, Sampling(0.8, 0.9, 12, 4, 4))) != together


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_tokens_are_drawn_as_often_as_the_distribution_says(top_p):
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]]).expand(20_000, 5)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Draws(0.8, top_p, 1).draw(logits, uniform).bincount(minlength=5) / 20_000
    expected = (logits[0] / 0.8).softmax(-1)
    if top_p < 1:  # 2 alone has less than 0.7, 2 and 1 have more
        assert 0.5 < expected[2] < top_p < expected[2] + expected[1]
        expected = expected * torch.tensor([0, 1, 1, 0, 0])
        expected = expected / expected.sum()
    assert (found - expected).abs().max() < 0.015


def test_an_interrupted_run_ends_at_once(model, chat):
    asked = prompts()
    assert not list(sample_ids(model, chat, asked, GREEDY, None, lambda: True))
