"""The adversarial phase: rollouts, what the discriminator says of them, and when weights change."""

import math

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.objectives.discriminator import Discriminator
from soda.training.objectives.gad import Adversary, adversarial_phase
from soda.training.objectives.rollouts import draw_rollouts
from soda.training.run.optimizer import make_optimizer
from soda.training.run.phase import Start
from tests.soda.training.plain import FROZEN, policy_of, setup_of, tiny

PROMPTS = [
    Example.of("a", [5, 6, 7], [60, 61, 1], [62, 1]),
    Example.of("b", [*range(20, 33)], [60, 61, 1], [62, 1]),
]
VALUES = {
    "method": "gad",
    "adversarial": {"rollouts": 3, "max_new_tokens": 4},
    "optimizer": {"max_grad_norm": 1.0},
}


@pytest.fixture(params=["llama", "gpt2"])  # the packed path, and the plain one
def setup(request, tmp_path):
    return setup_of(tmp_path, policy_of(tiny(request.param)), examples=PROMPTS, **VALUES)


@pytest.fixture
def adversary(setup):
    kind = setup.policy.model.config.model_type
    discriminator = Discriminator(policy_of(tiny(kind, seed=3)))
    optimizer = torch.optim.AdamW(discriminator.parameters(), 1e-2)
    return Adversary(setup, policy_of(tiny(kind)), discriminator, optimizer, 64)


def test_a_turn_changes_no_weight_until_it_is_finished(adversary):
    before = {name: value.clone() for name, value in adversary.discriminator.state_dict().items()}
    turn = adversary.turn(0, PROMPTS)
    drawn = draw_rollouts(adversary.setup, PROMPTS, 0, range(3))
    answers = [
        [one.tolist() for example in rollouts for one in example.answers]
        for rollouts in (turn.examples, drawn)
    ]
    assert answers[0] == answers[1] and len(answers[0]) == 6
    assert turn.temperature == 0.8
    assert float(turn.sums["discriminator_loss"]) == pytest.approx(2 * math.log(2))
    tokens = sum(map(len, answers[0]))
    assert float(turn.sums["rollout_tokens"]) == pytest.approx(tokens / 3)
    after = adversary.discriminator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    policy = adversary.setup.policy
    _, sums = policy(policy.micro_batch(turn.examples, 0.8), turn.objective)
    assert sums["kl"].item() == pytest.approx(0, abs=1e-6)  # it is the frozen one still
    turn.finish()
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())


def test_an_interrupted_turn_is_none(adversary):
    adversary.setup.interrupt.came = True
    assert adversary.turn(0, PROMPTS) is None


def test_a_resumed_phase_holds_to_the_policy_that_it_began_with(setup):
    kind = setup.policy.model.config.model_type
    discriminator = Discriminator(policy_of(tiny(kind)))
    optimizers = {"discriminator": make_optimizer(discriminator, 1e-3, 0.0, half=False)}
    began = {name: one.detach().clone() for name, one in setup.policy.named_parameters()}
    for step in (0, 3):
        frozen = policy_of(tiny(kind, seed=9)).requires_grad_(False)
        phase = adversarial_phase(setup, discriminator, frozen, 1e-3, 1)
        phase.begin(Start(step, FROZEN, optimizers, 64))
        assert all(torch.equal(one, began[name]) for name, one in frozen.named_parameters())
        with torch.no_grad():
            for parameter in setup.policy.parameters():
                parameter.add_(1.0)  # as training would


def test_memory_is_needed_for_all_rollouts_beside_the_teacher_s_answer(setup):
    discriminator = Discriminator(policy_of(tiny("llama")))
    phase = adversarial_phase(setup, discriminator, setup.policy, 1e-3, 1)
    largest = [phase.largest(prompt).answers for prompt in PROMPTS[:2]]
    assert [len(one) for one in largest[0]] == [3, 4, 4, 4]
    assert largest[0][1] is largest[1][3]  # the stand-in for a rollout is there once
    assert phase.alone and phase.watched and list(phase.rates) == ["policy", "discriminator"]
