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
    config, (rate, epochs, _) = setup.config, setup.config.schedule
    if config.method == "dpo":
        return [preference_phase(setup, rate, epochs)]
    if config.method == "sft":
        return [sft_phase(setup, rate, epochs, keeps_best=True)]
    discriminator = Discriminator(load())
    frozen = load().requires_grad_(False)
    if setup.processes.half:
        frozen.bfloat16()
    settings = config.adversarial
    return [
        sft_phase(setup, settings.sft_learning_rate, settings.sft_epochs),
        discriminator_phase(setup, discriminator),
        adversarial_phase(setup, discriminator, frozen, rate, epochs),
    ]
