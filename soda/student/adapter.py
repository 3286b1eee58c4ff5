"""An adapter, merged into the base model that it was trained on."""

import re
import warnings
from pathlib import Path
from typing import Any

from soda.errors import ModelError
from soda.student.account import refuse_incomplete
from soda.student.folder import check_folder, read_json, regular_files
from soda.student.quiet import quiet
from soda.student.tensors import Headers, read_headers
from soda.student.weights import load_causal_lm, load_config

__all__ = ["CONFIG", "WEIGHTS", "base_named_in", "check", "merge"]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def base_named_in(folder: Path, source: str) -> str:
    """Return what an adapter calls its base, for messages."""
    named = read_json(folder / CONFIG, source).get("base_model_name_or_path")
    return str(named or "a base it does not name")[:120]


def check(folder: Path, headers: Headers, source: str) -> None:
    """Refuse what can be told of an adapter without its base, from its config and its header.

    Raises:
        ModelError: there are no weights, or one of a pair of them is missing; it has code.
    """
    check_folder(folder, source)
    kind = read_json(folder / CONFIG, source).get("peft_type")
    if not isinstance(kind, str):
        raise ModelError(f"{source}: expected peft_type in {CONFIG}, found {str(kind)[:60]}")
    if WEIGHTS not in headers:
        raise ModelError(f"{source}: expected {WEIGHTS}, found no such file")
    names = headers[WEIGHTS].keys()
    if not names:
        raise ModelError(f"{source}: expected tensors in {WEIGHTS}, found none")
    partners = {"lora_A": "lora_B", "lora_B": "lora_A"}
    wanted = {re.sub("lora_[AB]", lambda one: partners[one[0]], name) for name in names}
    refuse_incomplete(source, wanted - names, [], [])


def merge(adapter: Path, base: Path, target: Path, source: str) -> None:
    """Write the base with the adapter merged into it, in the base's own precision.

    Raises:
        ModelError: it is no adapter of this base, or of a kind that cannot be merged.
    """
    import peft
    import torch

    check(adapter, read_headers(regular_files(adapter, source, (WEIGHTS,)), source), source)
    dtype = load_config(base).dtype or torch.float32
    model = load_causal_lm(base, torch.float32)
    try:
        # peft asks transformers by old names, and warns of tied weights, which are seen to
        with quiet(), warnings.catch_warnings(action="ignore"):
            config = peft.PeftConfig.from_pretrained(str(adapter))
            if config.is_prompt_learning:
                raise ModelError(f"{source}: expected an adapter that merges, found prompt tokens")
            _untie(model, adapter)
            wrapped = peft.get_peft_model(model, config)
            result = wrapped.load_adapter(str(adapter), "default", torch_device="cpu")
            refuse_incomplete(source, result.missing_keys, [], result.unexpected_keys)
            merged: Any = wrapped.merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError, TypeError, LookupError, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"{source}: expected an adapter of {base.name}, found: {why}") from error
    merged.to(dtype).save_pretrained(target)


def _untie(model: Any, adapter: Path) -> None:
    """Give the head its own weights where an adapter changes it: the embedding stays as it was."""
    from safetensors import safe_open
    from torch.nn import Parameter

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return
    names = {name.rpartition(".")[2] for name, one in model.named_modules() if one is head}
    names |= {name.rpartition(".")[2] for name, one in model.named_modules() if one is embedding}
    with safe_open(adapter / WEIGHTS, framework="np") as file:
        if any(names & set(key.split(".")) for key in file.keys()):  # noqa: SIM118
            head.weight = Parameter(head.weight.detach().clone())
            model.config.tie_word_embeddings = False
