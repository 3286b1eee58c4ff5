"""What fits, on a device whose memory is made up."""

import pytest
import torch

from soda.errors import ModelError
from soda.training.model.device import Device, fit
from soda.training.model.examples import Example
from soda.training.model.micro_batch import pack
from tests.soda.training.plain import Silent

EXAMPLES = [Example.of(str(number), range(100), range(150), range(150)) for number in range(60)]
LONGEST = 400


class Cramped(Silent):
    """A policy that runs out of memory above so many tokens, or, recomputing, above others."""

    def __init__(self, room, recomputing=0):
        super().__init__()
        self.room, self.recomputing = room, recomputing
        self.recomputes = False
        self.device = torch.device("cpu")
        self.tried = []

    def recompute_activations(self):
        self.recomputes = True
        self.room = self.recomputing

    def micro_batch(self, examples):
        return pack(examples, LONGEST)

    def forward(self, batch, objective):
        gradients = 0 if self.weight.grad is None else 64
        tokens = batch.ids_RT.numel()
        self.tried.append(tokens)
        if tokens + gradients > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (self.weight * tokens).sum(), {}


FITS = [  # room, room recomputing -> tokens at once, and whether activations are recomputed
    (20_000, 0, 16_384, False),
    (5000, 0, 4096, False),
    (3000, 12_000, 8192, True),
    (3000, 1100, 1024, True),
    (300, 500, 512, True),
]


@pytest.mark.parametrize(("room", "recomputing", "tokens", "recomputes"), FITS)
def test_tokens_are_halved_then_activations_recomputed(
    room, recomputing, tokens, recomputes, capsys
):
    policy = Cramped(room, recomputing)
    assert fit([policy], EXAMPLES, 16_384, may_recompute=True) == tokens
    assert policy.recomputes == recomputes
    how = "recomputing activations" if recomputes else "keeping activations"
    assert capsys.readouterr().err == f"train: {tokens} tokens at once, {how}\n"
    assert policy.weight.grad is None


def test_the_heaviest_batch_is_tried_twice_as_gradients_take_memory_too():
    short = [Example.of(f"short {number}", [1], [2], [3]) for number in range(100)]
    policy = Cramped(4050, 5000)
    assert fit([policy], short + EXAMPLES, 8192, may_recompute=True) == 4096
    assert policy.recomputes
    # 20 of the longest, then 10: those fit without gradients, but not with them
    assert policy.tried == [8000, 4000, 4000, 8000, 4000, 4000]


def test_where_nothing_fits_it_is_refused():
    with pytest.raises(ModelError, match="expected memory for one example of 400 tokens"):
        fit([Cramped(399, 399)], EXAMPLES, 16_384, may_recompute=True)


def test_without_recomputing_it_is_halved_down_to_one_example():
    policy = Cramped(1100)
    assert fit([policy], EXAMPLES, 16_384, may_recompute=False) == 1024
    assert not policy.recomputes


def test_a_limit_below_the_longest_example_recomputes_too():
    policy = Cramped(300, 500)
    assert fit([policy], EXAMPLES, 100, may_recompute=True) == 100
    assert policy.recomputes


def test_another_error_is_not_taken_for_too_little_memory():
    class Broken(Cramped):
        def forward(self, batch, objective):
            raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        fit([Broken(10)], EXAMPLES, 16_384, may_recompute=True)


def test_what_is_trained_beside_the_policy_takes_memory_too():
    class Second(Cramped):
        """As GAD's discriminator: both models' gradients are held when the policy's is made."""

        def forward(self, batch, objective):
            if policy.weight.grad is not None:
                self.room = 2000
            return super().forward(batch, objective)

    policy = Cramped(5000)
    assert fit([policy, Second(5000)], EXAMPLES, 4096, may_recompute=False) == 1024
    policy, second = Cramped(3000, 5000), Second(3000, 5000)
    fit([policy, second], EXAMPLES, 4096, may_recompute=True)
    assert policy.recomputes and second.recomputes


def test_how_many_tokens_are_wanted():
    assert (Device().tokens("cpu"), Device().tokens("cuda")) == (2048, 16384)
    assert Device(micro_batch_tokens=100).tokens("cuda") == 100
    assert Device(halvings=2).tokens("cpu") == 512
    assert Device(micro_batch_tokens=3, halvings=9).tokens("cpu") == 1
