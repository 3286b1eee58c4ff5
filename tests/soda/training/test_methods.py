"""The defaults of the methods: the paper's where it states one."""

import pytest

from soda.training.config import TrainConfig
from soda.training.methods import METHODS, defaults_of

# Of the papers, and of GAD's public scripts: learning rate, epochs, batch size.
STATED = {"sft": (5e-6, 3, 32), "gad": (1e-6, 2, 256)}


@pytest.mark.parametrize("method", STATED)
def test_what_a_source_states_is_the_default(method):
    assert TrainConfig.parse({"method": method}).schedule == STATED[method]
    defaults = METHODS[method]
    for one in (defaults.learning_rate, defaults.epochs, defaults.batch_size):
        assert one.source != "ours"


def test_of_dpo_the_paper_states_epochs_and_beta_alone():
    config = TrainConfig.parse({})
    assert (config.method, config.epochs, config.loss.beta) == ("dpo", 1, 0.1)
    dpo = METHODS["dpo"]
    assert (dpo.epochs.source, dpo.learning_rate.source, dpo.batch_size.source) == (
        "paper", "ours", "ours",
    )  # fmt: skip


def test_gad_clips_at_what_its_scripts_clip_at():
    norms = {name: TrainConfig.parse({"method": name}).optimizer.clipped_at for name in METHODS}
    assert norms == {"dpo": 1.0, "sft": 1.0, "gad": 0.2}


def test_values_of_the_recipe_win():
    values = {"method": "sft", "epochs": 4, "learning_rate": 1e-4, "batch_size": 256}
    values |= {"optimizer": {"max_grad_norm": 0.5}}
    config = TrainConfig.parse(values)
    assert config.schedule == (1e-4, 4, 256) and config.optimizer.clipped_at == 0.5


def test_a_description_names_every_method_s_default_and_its_source():
    assert defaults_of("epochs") == "dpo: 1 (paper), sft: 3 (paper), gad: 2 (GAD's scripts)"
    for key in ("learning_rate", "epochs", "batch_size"):
        assert defaults_of(key) in TrainConfig.model_fields[key].description
