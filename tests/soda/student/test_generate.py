"""Answers: how they are read, and what is told of them."""

import pytest

from soda.student.chat import ChatFormat
from soda.student.generate import (
    Answer,
    Sampling,
    load_model,
    sample,
    sample_ids,
    seed_of,
    stop_ids,
)
from soda.student.template import plain_template
from soda.student.tokenizer import load_tokenizer
from tests.fakes.student import save_base_model, tokenizer
from tests.soda.training.plain import tiny

PROMPTS = [[5, 6, 7], [20, 21, 22, 23], [30]]
SAMPLING = Sampling(1.0, 1.0, 6, 3, 2)


@pytest.fixture(scope="module")
def chat():
    return ChatFormat(tokenizer(), "student")


def test_an_answer_that_stopped_is_read_without_its_stop(chat):
    ids = chat.answer_ids([{"role": "user", "content": "hello"}], "user", stopped=True)
    assert Answer.of(ids, chat, [ids[-1]]) == Answer("user", True, len(ids))
    assert Answer.of(ids[:-1], chat, [ids[-1]]) == Answer("user", False, len(ids) - 1)
    assert Answer.of([], chat, [1]) == Answer("", False, 0)


def test_answers_in_circles_are_seen():
    assert Answer("今日は天気がいい" * 8, True, 64).repeats
    assert not Answer("one two three", True, 3).repeats


def test_the_template_s_end_of_turn_ends_an_answer_beside_the_model_s_own(chat):
    model = tiny()
    model.generation_config.eos_token_id = [3, 2]
    assert stop_ids(model, chat) == sorted({chat.end_of_turn, 2, 3})
    model.generation_config.eos_token_id = None
    assert stop_ids(model, chat) == [chat.end_of_turn]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_answer_follows_from_its_seed_whatever_is_asked_beside_it(chat, kind):
    model = tiny(kind)
    seeds = [[0, place] for place in range(3)]
    together = dict(sample_ids(model, chat, PROMPTS, SAMPLING, seeds))
    alone = [
        dict(sample_ids(model, chat, [prompt], SAMPLING, [seed]))[0]
        for prompt, seed in zip(PROMPTS, seeds, strict=True)
    ]
    assert [together[place] for place in range(3)] == alone
    assert dict(sample_ids(model, chat, PROMPTS, SAMPLING, [[1, n] for n in range(3)])) != together


def test_sampled_answers_are_as_long_as_they_may_be(chat):
    found = dict(sample(tiny(), chat, PROMPTS, SAMPLING))
    assert sorted(found) == [0, 1, 2]
    assert all(one.tokens == 6 or one.stopped for one in found.values())


def test_seeds_of_many_make_one():
    assert seed_of([[1, 2], [3]]) == seed_of([[1], [2, 3]]) != seed_of([[1, 2], [4]])
    assert 0 <= seed_of([[1]]) < 2**31


def test_a_base_model_that_goes_on_with_a_heading_is_stopped_there(tmp_path, monkeypatch):
    """The model is made to write a heading: nothing is sampled after it, and it is cut off."""
    folder = save_base_model(tmp_path / "base")
    words = load_tokenizer(folder)
    words.chat_template = plain_template(words, "base")
    chat, model = ChatFormat(words, "base"), load_model(folder)
    messages = [{"role": "user", "content": "The sky?"}]
    text = "Blue.\n\n### Instruction:\nAnd the sea?"
    written = chat.answer_ids(messages, text, stopped=False)
    asked = []

    def next_token(self, logits, uniform):
        asked.append(len(asked))
        return logits.argmax(-1) * 0 + written[len(asked) - 1]

    monkeypatch.setattr("soda.student.continuous.Draws.draw", next_token)
    sampling = Sampling(0, 1, len(written), 0, 1)
    [(_, answer)] = sample(model, chat, [chat.prompt_ids(messages)], sampling)
    assert answer == Answer("Blue.", True, chat.count("Blue.") + 1)
    assert len(asked) < len(written) - 5
