"""GRPO, beside the policy gradient and the KL written out."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from soda.training.model.examples import Example
from soda.training.objectives.grpo import advantages, grpo
from tests.soda.training.plain import gradients, policy_of, tiny

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
