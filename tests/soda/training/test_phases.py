"""Which phases a method is made of."""

import pytest

from soda.training.phases import phases_of
from tests.soda.training.plain import policy_of, setup_of, tiny

METHODS = {
    "dpo": [("dpo", 1)],
    "sft": [("sft", 3)],
    "gad": [("sft", 1), ("discriminator", 1), ("gad", 2)],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_s_phases_and_epochs(tmp_path, method):
    phases = phases_of(setup_of(tmp_path, method=method), lambda: policy_of(tiny()))
    assert [(phase.name, phase.epochs) for phase in phases] == METHODS[method]


def test_the_warm_up_alone_ends_with_its_best_checkpoint(tmp_path):
    for method, best in (("sft", True), ("dpo", False), ("gad", False)):
        phases = phases_of(setup_of(tmp_path, method=method), lambda: policy_of(tiny()))
        assert [phase.keeps_best for phase in phases] == [best] * len(phases)


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
