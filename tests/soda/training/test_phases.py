"""Which phases a method is made of."""

import pytest

from soda.training.phases import phases_of
from tests.soda.training.plain import policy_of, setup_of, tiny

METHODS = {
    "soda": [("sft", 0), ("dpo", 1)],
    "seqkd": [("sft", 0), ("sft", 1)],
    "gad": [("sft", 1), ("discriminator", 1), ("gad", 1)],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_s_phases_and_epochs(tmp_path, method):
    phases = phases_of(setup_of(tmp_path, method=method), lambda: policy_of(tiny()))
    assert [(phase.name, phase.epochs) for phase in phases] == METHODS[method]


def test_gad_s_models_are_three(tmp_path):
    loaded = []

    def load():
        loaded.append(policy_of(tiny()))
        return loaded[-1]

    setup = setup_of(tmp_path, method="gad")
    *_, phase = phases_of(setup, load)
    discriminator, frozen = loaded
    assert phase.modules["policy"] is setup.policy
    assert phase.modules["discriminator"].body is discriminator
    assert not any(weight.requires_grad for weight in frozen.parameters())
