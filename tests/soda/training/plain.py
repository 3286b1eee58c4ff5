"""Tiny models, awkward examples, and DPO written out in full: what the trainer is compared with."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn

from soda.student.chat import ChatFormat
from soda.training.config import TrainConfig
from soda.training.model.examples import Example
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes
from soda.training.objectives.losses import Dpo
from soda.training.objectives.preference import preference
from soda.training.objectives.reference import Reference
from soda.training.run.interrupt import Interrupt
from soda.training.run.phase import Setup
from tests.fakes.student import tokenizer

BETA = 0.1
VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
PAIRS = [  # token 1 is both pad and end of turn, as in SmolLM2
    Example.of("one", [5, 6, 7], [9, 10, 1], [11, 12, 13, 14]),
    Example.of("shorter", [8, 1, 1], [30, 1], [31, 32, 33, 1]),
    Example.of("long prompt", [*range(20, 43)], [43, 44, 1], [45, 46, 1]),
    Example.of("short answers", [40], [1], [41, 42, 43, 44, 45, 1]),
    Example.of("empty rejected", [50, 51], [52, 1], []),
    Example.of("same start", [5, 6, 7], [9, 10, 11, 1], [9, 10, 12, 1]),
]
FROZEN = Reference(  # log-probabilities that no model here has, so that every slope differs
    {pair.id: [-14.0 - 3 * number, -16.0 + 2 * number] for number, pair in enumerate(PAIRS)}
)


def tiny(kind="llama", *, seed=0, **options):
    """Return a random two-layer model in eval mode; its biases and norms are random as well."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**SIZES, **options})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def policy_of(model, longest=64):
    return Policy(model, padding=1, longest=longest)


def setup_of(work, policy=None, *, examples=PAIRS, validation=(), **values):
    """Return what phases share, for a tiny model: values are the config's."""
    chat = ChatFormat(tokenizer(), "student")  # its end of turn is token 1, too
    policy = policy or policy_of(tiny())
    config = TrainConfig.parse(values)
    return Setup(config, policy, chat, Processes(), examples, validation, work, Interrupt())


def dpo(step):
    """Return the objective of a step: DPO against FROZEN."""
    return preference(Dpo(beta=BETA), FROZEN)(step)


def gradients(module):
    """Return every trained parameter's gradient, and forget it."""
    found = {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    module.zero_grad()
    return found


def our_gradients(policy, batches, objective):
    """Return the gradients of a step's batches, added up, by the names in the model."""
    for batch in batches:
        loss, _ = policy(policy.micro_batch(batch), objective)
        loss.backward()
    return gradients(policy.model)


def plain_logp(model, prompt, answer):
    """One row, no padding, the whole softmax, token by token."""
    ids = torch.tensor([[*prompt.tolist(), *answer.tolist()]])
    logps = F.log_softmax(model(ids, use_cache=False).logits[0], -1)
    total = torch.zeros(())
    for number, token in enumerate(answer.tolist()):
        total = total + logps[len(prompt) - 1 + number, token]
    return total


@torch.no_grad()
def plain_logps(model, pairs):
    """Return every answer's log-probability, one row at a time."""
    return torch.stack(
        [plain_logp(model, pair.prompt, answer) for pair in pairs for answer in pair.answers]
    )


def plain_gradients(model, pairs):
    """Return the gradients of the mean DPO loss against FROZEN, one row at a time."""
    losses = []
    for pair in pairs:
        chosen, rejected = (plain_logp(model, pair.prompt, answer) for answer in pair.answers)
        frozen = FROZEN.of([pair], "cpu")
        margin = (chosen - rejected) - (frozen.chosen[0] - frozen.rejected[0])
        losses.append(torch.log(1 + torch.exp(-BETA * margin)))
    torch.stack(losses).mean().backward()
    return gradients(model)


def assert_same_gradients(found, expected, relative):
    """Compare each parameter's gradient by the norm of the difference."""
    assert found.keys() == expected.keys()
    scale = max(grad.norm() for grad in expected.values())
    for name, grad in expected.items():
        error = (found[name] - grad).norm()
        # a gradient that is zero but for rounding, such as a key's bias, has no relative error
        assert error <= relative * max(grad.norm(), 1e-3 * scale), f"{name}: {error / grad.norm()}"


class Silent(nn.Module):
    """A model of one matrix, for what needs parameters only."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape or (4, 4)))
