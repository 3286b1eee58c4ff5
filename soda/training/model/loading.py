"""A student's folder -> the policy on its device, and back."""

from pathlib import Path
from typing import Any

import torch

from soda.student.weights import load_causal_lm
from soda.training.config import TrainConfig
from soda.training.model.lora import Lora, add_adapters, load_quantized
from soda.training.model.policy import Policy
from soda.training.model.processes import Processes, whole

__all__ = ["load_policy", "trained_model"]


def load_policy(
    folder: Path,
    padding: int,
    longest: int,
    processes: Processes,
    config: TrainConfig,
) -> Policy:
    """Load a student in float32 and put it on the device, shared out over the processes.

    It stays in eval mode: with dropout the first loss would not be ln 2. Layers are compiled where
    the packed path runs on a GPU.

    Args:
        padding: the id that pads rows.
        longest: no prompt with one answer is longer than so many tokens.
        config: its lora, device and seed, which makes adapters the same in every process.
    """
    lora, device = config.lora, config.device
    quantized = lora is not None and lora.quantized
    model = load_quantized(folder) if quantized else load_causal_lm(folder, torch.float32)
    torch.manual_seed(config.seed)
    if lora is not None:
        add_adapters(model, lora)
    policy = Policy(model, padding, longest)
    if device.recompute_activations == "on":
        policy.recompute_activations()
    if device.compile and policy.packed and processes.device.type == "cuda":
        policy.compile_layers()
    processes.place(policy)
    return policy


def trained_model(
    policy: Policy, folder: Path, lora: Lora | None, processes: Processes
) -> Any | None:
    """Return the folder's model with what was trained put in, adapters merged, on the CPU.

    All processes take part; only the main one gets the model, the others None.
    """
    trained = {}
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            tensor = whole(parameter.detach())
            if processes.main:
                trained[name] = tensor.cpu()
    if not processes.main:
        return None
    model = load_causal_lm(folder, torch.float32)
    adapted = add_adapters(model, lora) if lora is not None else None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.copy_(trained[name])
    return model if adapted is None else adapted.merge_and_unload()
