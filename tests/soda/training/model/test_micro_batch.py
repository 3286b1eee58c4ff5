"""What a model is given, place by place."""

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.model.micro_batch import pack, pad

EXAMPLES = [  # token 1 is both pad and end of turn
    Example.of("a", [5, 6, 7], [9, 1], [1]),
    Example.of("b", [8], [], [2, 3, 1]),
]


def test_a_packed_row_holds_each_prompt_once():
    batch = pack(EXAMPLES, longest=5)
    assert batch.ids_RT.tolist() == [[5, 6, 7, 9, 1, 1, 8, 2, 3, 1]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 2, 3]]
    assert batch.inputs["packing"].layout == [(3, [2, 1]), (1, [0, 3])]
    assert batch.inputs["packing"].longest == 5


def test_an_answers_first_token_is_predicted_by_the_prompts_last():
    batch = pack(EXAMPLES, longest=5)
    assert batch.target_N.tolist() == [9, 1, 1, 2, 3, 1]
    assert batch.predictor_N.tolist() == [2, 3, 2, 6, 7, 8]
    assert batch.lengths_A.tolist() == [2, 1, 0, 3]
    assert batch.last_A.tolist() == [4, 5, 6, 9]


def test_filling_comes_last_and_predicts_nothing():
    plain, batch = pack(EXAMPLES, longest=5), pack(EXAMPLES, longest=5, multiple_of=8)
    assert batch.ids_RT.shape == (1, 16)
    assert torch.equal(batch.ids_RT[:, :10], plain.ids_RT)
    assert batch.inputs["packing"].layout[-1] == (6, [])
    assert batch.inputs["packing"].longest == 8
    assert torch.equal(batch.predictor_N, plain.predictor_N)
    assert pack(EXAMPLES, 5, multiple_of=10).inputs["packing"].layout[-1] == (1, [0, 3])


def test_padded_rows_are_masked_by_lengths_not_by_ids():
    batch = pad(EXAMPLES, padding=1)
    assert batch.ids_RT.tolist() == [
        [5, 6, 7, 9, 1],
        [5, 6, 7, 1, 1],
        [8, 1, 1, 1, 1],
        [8, 2, 3, 1, 1],
    ]
    assert batch.inputs["attention_mask"].sum(1).tolist() == [5, 4, 1, 4]
    assert batch.target_N.tolist() == [9, 1, 1, 2, 3, 1]
    assert batch.predictor_N.tolist() == [2, 3, 7, 15, 16, 17]
    assert batch.last_A.tolist() == [4, 8, 10, 18]


@pytest.mark.parametrize("batch", [pack(EXAMPLES, 5), pad(EXAMPLES, 1)], ids=["pack", "pad"])
def test_every_target_follows_its_predictor(batch):
    following = batch.ids_RT.flatten()[batch.last_A].tolist()
    ends = [
        answer[-1] if len(answer) else one.prompt[-1] for one in EXAMPLES for answer in one.answers
    ]
    assert following == ends
    moved = batch.to("cpu")
    assert torch.equal(moved.ids_RT, batch.ids_RT) and moved.examples == EXAMPLES
