"""GAD's discriminator: whole answers, scored by their last token."""

import math

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.objectives.discriminator import (
    Discriminator,
    bradley_terry,
    discriminator_phase,
)
from soda.training.run.phase import Start
from tests.soda.training.plain import PAIRS, policy_of, setup_of, tiny

ROLLOUTS = [
    Example.of("a", [5, 6, 7], [9, 10, 1], [11, 12, 13, 14], [15, 1]),
    Example.of("b", [*range(20, 33)], [30, 1], [31, 32, 33, 1], [34]),
]


@pytest.fixture(params=["llama", "gpt2"])
def policy(request):
    return policy_of(tiny(request.param))


def test_the_discriminator_s_loss_by_hand():
    scores = torch.tensor([2.0, 1.0, 3.0, 0.0, -1.0, -2.0])  # teacher's first, two of the student's
    two = [Example.of(name, [1], [1], [2], [3]) for name in "ab"]
    loss, sums = bradley_terry(two)(two, scores, torch.ones(6))
    ahead = [[1.0, -1.0], [1.0, 2.0]]
    expected = [sum(math.log(1 + math.exp(-x)) for x in row) / 2 for row in ahead]
    assert float(loss) == pytest.approx(sum(expected) / 2)
    assert float(sums["loss"]) == pytest.approx(sum(expected))
    assert float(sums["accuracy"]) == pytest.approx(0.5 + 1.0)
    assert float(sums["loss_of_reference"]) == pytest.approx(2 * math.log(2))


def test_a_score_is_of_the_last_token_whatever_is_beside_it(policy):
    discriminator = Discriminator(policy)
    torch.nn.init.normal_(discriminator.head.weight)
    found = {}

    def note(examples, scores_A, lengths_A):
        found["scores"] = scores_A
        return scores_A.sum(), {}

    discriminator(discriminator.micro_batch(PAIRS), note)
    expected = []
    for pair in PAIRS:
        for answer in pair.answers:
            ids = torch.tensor([[*pair.prompt.tolist(), *answer.tolist()]])
            hidden = policy.model.base_model(ids).last_hidden_state[0, -1]
            expected.append(discriminator.head(hidden).item())
    assert found["scores"].tolist() == pytest.approx(expected, abs=1e-4)


def test_an_untrained_discriminator_scores_0(policy):
    discriminator = Discriminator(policy)
    loss, _ = discriminator(discriminator.micro_batch(ROLLOUTS), bradley_terry(ROLLOUTS))
    assert float(loss.detach()) == pytest.approx(math.log(2))
    loss.backward()
    assert discriminator.head.weight.grad.norm() > 0


def test_an_untied_head_is_not_trained_with_the_discriminator():
    untied = policy_of(tiny("llama", tie_word_embeddings=False))
    discriminator = Discriminator(untied)
    frozen = [name for name, one in discriminator.named_parameters() if not one.requires_grad]
    assert frozen == ["body.model.lm_head.weight"]


VALUES = {
    "method": "gad",
    "adversarial": {"discriminator_learning_rate": 1e-3, "max_new_tokens": 4, "rollouts": 2},
}


def test_its_phase_leaves_the_policy_alone_and_is_not_watched(tmp_path):
    setup = setup_of(tmp_path, **VALUES)
    discriminator = Discriminator(policy_of(tiny()))
    phase = discriminator_phase(setup, discriminator)
    assert phase.trainee is discriminator and phase.rates == {"discriminator": 1e-3}
    assert phase.modules["policy"] is setup.policy  # a checkpoint has what was trained before
    assert not phase.watched and not phase.compares and not phase.alone
    turn = phase.begin(Start(0, None, {}, 100))(0, PAIRS[:2])
    assert turn.examples == PAIRS[:2]


def test_beside_the_teacher_s_answer_alone_the_policy_samples_one(tmp_path):
    examples = [pair.first() for pair in PAIRS]
    setup = setup_of(tmp_path, examples=examples, **VALUES)
    phase = discriminator_phase(setup, Discriminator(policy_of(tiny())))
    assert phase.alone  # it samples while nothing else runs
    turn = phase.begin(Start(0, None, {}, 100))(3, examples[:2])
    for one, example in zip(turn.examples, examples[:2], strict=True):
        chosen, sampled = one.answers
        assert chosen is example.answers[0] and 1 <= len(sampled) <= 4
    setup.interrupt.came = True
    assert phase.begin(Start(0, None, {}, 100))(3, examples[:2]) is None
