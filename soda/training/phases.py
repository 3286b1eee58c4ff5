"""The phases that each method is made of."""

from collections.abc import Callable

from soda.training.model.policy import Policy
from soda.training.objectives.discriminator import Discriminator, discriminator_phase
from soda.training.objectives.gad import adversarial_phase
from soda.training.objectives.preference import preference_phase
from soda.training.objectives.sft import sft_phase
from soda.training.run.phase import Phase, Setup

__all__ = ["phases_of"]


def phases_of(setup: Setup, load: Callable[[], Policy]) -> list[Phase]:
    """Return the phases of the config's method, in their order.

    Args:
        load: returns the untrained student once more, on the device.
    """
    config = setup.config
    rate, epochs = config.learning_rate, config.epochs
    warm_rate, warm_epochs = config.sft_learning_rate, config.sft_epochs
    assert rate and warm_rate and warm_epochs is not None, "the config is pinned"
    warm_up = sft_phase(setup, warm_rate, warm_epochs)
    if config.method == "soda":
        return [warm_up, preference_phase(setup, rate, epochs)]
    if config.method == "seqkd":
        return [warm_up, sft_phase(setup, rate, epochs)]
    discriminator = Discriminator(load())
    frozen = load().requires_grad_(False)
    if setup.processes.half:
        frozen.bfloat16()
    settings = config.adversarial
    return [
        warm_up,
        discriminator_phase(
            setup,
            discriminator,
            settings.discriminator_learning_rate,
            settings.discriminator_epochs,
        ),
        adversarial_phase(setup, discriminator, frozen, rate, epochs),
    ]
