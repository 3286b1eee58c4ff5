"""GAD's parts, beside their formulas written out."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from soda.training.model.examples import Example
from soda.training.model.processes import Processes
from soda.training.objectives.adversarial import Adversarial
from soda.training.objectives.gad import Adversary, Discriminator, advantages, bradley_terry, grpo
from tests.soda.training.plain import PAIRS, gradients, policy_of, tiny

ROLLOUTS = [
    Example.of("a", [5, 6, 7], [9, 10, 1], [11, 12, 13, 14], [15, 1]),
    Example.of("b", [*range(20, 33)], [30, 1], [31, 32, 33, 1], [34]),
]


@pytest.fixture(params=["llama", "gpt2"])
def policy(request):
    return policy_of(tiny(request.param))


def token_logps(model, prompt, answer, temperature):
    ids = torch.tensor([[*prompt.tolist(), *answer.tolist()]])
    logps = F.log_softmax(model(ids, use_cache=False).logits[0] / temperature, -1)
    places = range(len(prompt) - 1, ids.shape[1] - 1)
    return torch.stack(
        [logps[place, token] for place, token in zip(places, answer.tolist(), strict=True)]
    )


def test_advantages_have_mean_0_and_deviation_1_for_every_prompt():
    found = advantages(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    assert found[0].tolist() == pytest.approx([-1, 0, 1], abs=1e-4)
    assert found[1].tolist() == [0, 0, 0]


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


def test_grpo_is_the_policy_gradient_and_the_kl(policy):
    temperature, kl = 0.8, 0.1
    advantage = {"a": torch.tensor([1.0, -1.5, 0.5]), "b": torch.tensor([0.2, 0.3, -0.5])}
    other = policy_of(tiny(policy.model.config.model_type, seed=7))
    frozen = {
        one.id: torch.cat(
            [token_logps(other.model, one.prompt, answer, temperature) for answer in one.answers]
        ).detach()
        for one in ROLLOUTS
    }
    loss, sums = policy(
        policy.micro_batch(ROLLOUTS, temperature), grpo(ROLLOUTS, advantage, frozen, kl)
    )
    loss.backward()
    found = gradients(policy.model)

    tokens = sum(one.answer_tokens for one in ROLLOUTS)
    expected, estimates = torch.zeros(()), torch.zeros(())
    for one in ROLLOUTS:
        start = 0
        for weight, answer in zip(advantage[one.id], one.answers, strict=True):
            logps = token_logps(policy.model, one.prompt, answer, temperature)
            away = frozen[one.id][start : start + len(answer)] - logps
            estimate = (away.exp() - away - 1).sum()
            expected = expected - weight * logps.sum() + kl * estimate
            estimates = estimates + estimate.detach()
            start += len(answer)
    (expected / tokens).backward()
    plain = gradients(policy.model)
    assert found.keys() == plain.keys()
    for name, grad in plain.items():
        assert (found[name] - grad).norm() <= 1e-4 * max(grad.norm(), 1e-4), name
    assert sums["kl"].item() / len(ROLLOUTS) == pytest.approx(float(estimates) / tokens, rel=1e-4)


def adversary(rollout, interrupted=lambda: False):
    policy, frozen = policy_of(tiny("llama")), policy_of(tiny("llama"))
    discriminator = Discriminator(policy_of(tiny("llama", seed=3)))
    optimizer = torch.optim.AdamW(discriminator.parameters(), 1e-2)
    settings = Adversarial(rollouts=3, max_new_tokens=4)
    return Adversary(
        policy, frozen, discriminator, optimizer, Processes(), rollout, settings, 1.0, 64,
        interrupted,
    )  # fmt: skip


PROMPTS = [Example.of(one.id, one.prompt, [60, 61, 1], [62, 1]) for one in ROLLOUTS]


def drawn(policy, prompts, step):
    assert prompts == [one.prompt.tolist() for one in ROLLOUTS]
    return [[answer.tolist() for answer in one.answers] for one in ROLLOUTS]


def test_a_turn_changes_no_weight_until_it_is_finished():
    one = adversary(drawn)
    before = {name: value.clone() for name, value in one.discriminator.state_dict().items()}
    turn = one.turn(0, PROMPTS)
    assert [list(map(len, example.answers)) for example in turn.examples] == [[3, 4, 2], [2, 4, 1]]
    assert turn.temperature == 0.8
    assert float(turn.sums["discriminator_loss"]) == pytest.approx(2 * math.log(2))
    assert float(turn.sums["rollout_tokens"]) == pytest.approx((9 + 7) / 3)
    after = one.discriminator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    _, sums = one.policy(one.policy.micro_batch(turn.examples, 0.8), turn.objective)
    assert sums["kl"].item() == pytest.approx(0, abs=1e-6)  # it is the frozen one still
    turn.finish()
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert all(parameter.grad is None for parameter in one.discriminator.parameters())


def test_an_interrupted_turn_is_none():
    assert adversary(lambda policy, prompts, step: None).turn(0, PROMPTS) is None
    assert adversary(drawn, interrupted=lambda: True).turn(0, PROMPTS) is None
