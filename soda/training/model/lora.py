"""Low-rank adapters, through peft: a few trained weights beside frozen ones."""

import warnings
from pathlib import Path
from typing import Any

from pydantic import Field

from soda.config import Group
from soda.errors import ConfigError, ModelError
from soda.student.weights import load_causal_lm

__all__ = ["Lora", "add_adapters", "load_quantized"]


class Lora(Group):
    """Hu et al. 2021 (arXiv 2106.09685), on every linear layer but the head."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0, description="adapters are scaled by alpha / rank")
    quantized: bool = Field(
        default=False, description="QLoRA: the frozen weights in 4 bits (NF4); needs a GPU"
    )


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModelError(
            "train.lora: expected the package peft; install soda-distill[gpu]"
        ) from error
    return peft


def add_adapters(model: Any, lora: Lora) -> Any:
    """Freeze a model and put adapters into it, in place; return peft's wrapper of it.

    An adapter begins at zero, so the policy begins as the reference. There is no dropout: the
    first loss would not be ln 2.

    Raises:
        ConfigError: the adapters would be as large as the layers that they stand beside.
    """
    width = model.config.get_text_config().hidden_size
    if lora.rank > width:
        raise ConfigError(
            f"train.lora.rank: expected at most {width}, the student's width, found {lora.rank}"
        )
    peft = _peft()
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        return peft.get_peft_model(model, config)  # it asks transformers by an old name


def load_quantized(folder: Path) -> Any:
    """Load a model with 4-bit weights and bf16 arithmetic (Dettmers et al. 2023, arXiv 2305.14314).

    Raises:
        ModelError: there is no GPU, or no bitsandbytes.
    """
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "train.lora.quantized: expected a GPU and bitsandbytes, found one of them at most"
        )
    import bitsandbytes  # noqa: F401 - for transformers; an import puts its version into the key

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return load_causal_lm(folder, torch.bfloat16, quantization_config=config, device_map={"": 0})
