"""Pairs as token ids, and how they are put together into batches."""

import random

import pytest

from soda.rows import Pair
from soda.training.model.examples import Example, plan_micro_batches, tokenize


def of_length(number, tokens):
    return Example.of(str(number), range(tokens // 2), range(tokens - tokens // 2))


def test_batches_hold_every_example_once_and_keep_to_the_limit():
    draw = random.Random(0)
    for _ in range(200):
        lengths = [draw.randint(1, 60) for _ in range(draw.randint(1, 30))]
        examples = [of_length(number, tokens) for number, tokens in enumerate(lengths)]
        limit, processes = draw.randint(1, 150), draw.choice([1, 1, 2, 3, 8])
        batches = plan_micro_batches(examples, limit, processes)
        found = sorted((one.id for batch in batches for one in batch), key=int)
        assert found == [one.id for one in examples]
        assert all(len(batch) <= 1 or sum(map(len, batch)) <= limit for batch in batches)
        assert len(batches) % processes == 0
        assert processes > 1 or all(batches)


def test_batches_are_few_and_even():
    batches = plan_micro_batches([of_length(number, 10) for number in range(12)], 45)
    assert [len(batch) for batch in batches] == [4, 4, 4]


def test_one_example_over_the_limit_does_not_spread_the_others():
    examples = [of_length(0, 101), *(of_length(number, 10) for number in range(1, 41))]
    batches = plan_micro_batches(examples, 100)
    assert [len(batch) for batch in batches if examples[0] in batch] == [1]
    assert len(batches) <= 6


def test_nothing_gives_one_empty_batch_a_process():
    assert plan_micro_batches([], 10, 3) == [[], [], []]


def test_the_first_answer_alone_is_the_chosen_one():
    pair = Example.of("a", [1, 2], [3, 4, 5], [6])
    assert len(pair) == 6 and pair.answer_tokens == 4
    assert len(pair.first()) == 5
    assert [answer.tolist() for answer in pair.first().answers] == [[3, 4, 5]]
    assert pair.first().prompt.tolist() == [1, 2] and pair.first().id == "a"


@pytest.fixture(scope="module")
def chat():
    from soda.student.chat import ChatFormat
    from tests.fakes.student import tokenizer

    return ChatFormat(tokenizer(), "student")


@pytest.mark.parametrize("stopped", [True, False])
def test_a_pair_becomes_its_prompt_and_two_answers(chat, stopped):
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("Paris", "user"))
    pair = Pair("a", prompt, chosen, rejected, rejected_stopped=stopped, split="train")
    example = tokenize(pair, chat)
    assert example.prompt.tolist() == chat.prompt_ids(prompt)
    end = [chat.end_of_turn]
    assert example.answers[0].tolist() == chat.tokenizer("Paris")["input_ids"] + end
    expected = chat.tokenizer("user")["input_ids"] + (end if stopped else [])
    assert example.answers[1].tolist() == expected
