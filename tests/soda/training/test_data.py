"""What is trained on, and what is left out with its reason."""

from dataclasses import replace

import pytest

from soda.artifacts.kinds import Pairs, Responses
from soda.errors import ArtifactError, DataError
from soda.stages.pair_build import PairBuildConfig
from soda.student.chat import ChatFormat
from soda.training.config import TrainConfig
from soda.training.data import read_data, refuse_answers


def config(method, **values):
    return TrainConfig.parse({"method": method, **values})


@pytest.fixture(scope="module")
def chat(made):
    return ChatFormat.load(made["base"].path)


@pytest.fixture
def answers(made, tmp_path):
    """The teacher's answers, of which some are no answers."""
    outcomes = ["truncated", "refused", "empty", "failed", "answered"]
    with Responses.create(tmp_path / "answers", config=PairBuildConfig(), inputs={}) as writer:
        for place, row in enumerate(made["teacher"].rows()):
            outcome = outcomes[place % 10] if place % 10 < 4 else "answered"
            Responses.write(writer, replace(row, outcome=outcome))
    return Responses.open(tmp_path / "answers")


def test_responses_are_split_as_their_prompts_are(made, chat):
    found = read_data(made["teacher"], chat, config("sft"))
    splits = {row.id: row.split for row in made["prompts"].rows()}
    assert {splits[one.id] for one in found.examples} == {"train"}
    assert {splits[one.id] for one in found.validation} == {"validation"}
    assert len(found.examples) + len(found.validation) == sum(
        split != "test" for split in splits.values()
    )
    assert found.dropped == []


def test_an_answer_is_whole_with_its_end_of_turn(made, chat):
    row = next(row for row in made["teacher"].rows() if row.prompt.split == "train")
    example = read_data(made["teacher"], chat, config("sft")).examples[0]
    assert example.id == row.prompt.id
    assert example.prompt.tolist() == chat.prompt_ids(row.prompt.messages)
    (answer,) = example.answers
    assert answer.tolist() == chat.answer_ids(row.prompt.messages, row.text, stopped=True)
    assert answer[-1] == chat.end_of_turn


def test_what_the_teacher_did_not_finish_is_dropped_with_its_reason(answers, chat):
    found = read_data(answers, chat, config("sft"))
    rows = [row for row in answers.rows() if row.prompt.split != "test"]
    expected = [
        (row.prompt.id, f"teacher_{row.outcome}") for row in rows if row.outcome != "answered"
    ]
    assert found.dropped == expected and len({reason for _, reason in expected}) == 4
    assert len(found.examples) + len(found.validation) == len(rows) - len(expected)


@pytest.mark.parametrize("method", ["sft", "gad"])
def test_a_row_over_the_length_is_dropped_and_never_cut(made, chat, method):
    whole = read_data(made["teacher"], chat, config(method))
    lengths = sorted(len(one) for one in whole.examples + whole.validation)
    limit = lengths[len(lengths) // 2]
    found = read_data(made["teacher"], chat, config(method, max_tokens=limit))
    over = [one.id for one in whole.examples + whole.validation if len(one) > limit]
    assert sorted(found.dropped) == sorted((key, "too_long") for key in over) and over
    assert max(map(len, found.examples)) <= limit


def test_the_length_of_a_pair_is_that_of_its_longer_answer(made, chat):
    pairs = read_data(made["pairs"], chat, config("dpo"))
    longest = pairs.longest()
    assert longest == max(
        len(one.prompt) + max(map(len, one.answers)) for one in pairs.examples + pairs.validation
    )
    assert read_data(made["pairs"], chat, config("dpo", max_tokens=longest)).dropped == []
    assert read_data(made["pairs"], chat, config("dpo", max_tokens=longest - 1)).dropped
    assert pairs.longest(rollout=1000) > 1000


def test_sft_takes_the_chosen_answers_of_pairs_and_others_both(made, chat):
    counts = {
        method: {
            len(one.answers) for one in read_data(made["pairs"], chat, config(method)).examples
        }
        for method in ("sft", "dpo", "gad")
    }
    assert counts == {"sft": {1}, "dpo": {2}, "gad": {2}}


def test_dpo_wants_pairs(made):
    refuse_answers(made["pairs"], config("dpo"))
    for method in ("sft", "gad"):
        refuse_answers(made["teacher"], config(method))
    with pytest.raises(ArtifactError) as refused:
        refuse_answers(made["teacher"], config("dpo"))
    assert str(refused.value) == (
        f"{made['teacher'].path}: expected 'pairs' for train.method dpo, found 'responses'; "
        "the method sft trains on them"
    )


def test_nothing_to_train_on_is_refused_with_what_was_dropped(made, chat, tmp_path):
    with pytest.raises(DataError, match=r"expected responses to train on, found none; dropped: 31"):
        read_data(made["teacher"], chat, config("sft", max_tokens=2))
    with Pairs.create(tmp_path / "pairs", config=PairBuildConfig(), inputs={}):
        pass
    with pytest.raises(DataError, match=r"expected pairs to train on, found none$"):
        read_data(Pairs.open(tmp_path / "pairs"), chat, config("dpo"))
