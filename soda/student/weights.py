"""The one place that loads configs and weights: from a folder, whole, and no code."""

from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import ModelError
from soda.rows import digest
from soda.student.account import Account, mismatched, refuse_incomplete
from soda.student.folder import check_folder, regular_files
from soda.student.layout import find_weights
from soda.student.quiet import quiet
from soda.student.tensors import read_headers

__all__ = [
    "check_weights",
    "load_causal_lm",
    "load_config",
    "load_scorer",
    "weights_digest",
]

_LOCAL = {"local_files_only": True, "trust_remote_code": False}  # the default asks on the terminal


def weights_digest(folder: Path) -> str:
    """Return the digest of a model folder's weights alone."""
    return digest({path.name: storage.known_digest(path) for path in folder.glob("*.safetensors")})


def check_weights(folder: Path, name: str = "") -> Account:
    """Return the account of a model folder; refuse one that is not whole, without loading it.

    Raises:
        ModelError: as `load_causal_lm`.
    """
    name = name or str(folder)
    config = load_config(folder, name)
    headers = read_headers(regular_files(folder, name, ("*.safetensors",)), name)
    return find_weights(folder, headers, config, name).account


def load_config(folder: Path, name: str = "") -> Any:
    """Return transformers' config of a model folder; refusals call it by `name`.

    Raises:
        ModelError: it needs code of its own, or is none.
    """
    from transformers import AutoConfig

    name = name or str(folder)
    check_folder(folder, name)
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # values of any type and range, checked by code of each family
        raise ModelError(f"{name}: expected a config of transformers, found: {error}") from error


def _load(kind: Any, folder: Path, dtype: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return a model of a class of transformers, and what was amiss, which the caller refuses."""
    with quiet():
        model, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the caller says it, by name
            **_LOCAL,
            **options,
        )
    return model, info


def load_scorer(folder: Path, dtype: Any) -> Any:
    """Return a model with one number for a whole text, such as a reward model, in eval mode.

    Raises:
        ModelError: there is none, or it is not whole, or it has more outputs.
    """
    from transformers import AutoModelForSequenceClassification

    check_folder(folder, str(folder))
    try:
        model, info = _load(AutoModelForSequenceClassification, folder, dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: expected a reward model, found: {error}") from error
    refuse_incomplete(str(folder), info["missing_keys"], mismatched(info), info["unexpected_keys"])
    if model.config.num_labels != 1:
        raise ModelError(f"{folder}: expected 1 output, found {model.config.num_labels}")
    return model.eval()


def load_causal_lm(folder: Path, dtype: Any, name: str = "", **options: Any) -> Any:
    """Return a model in eval mode, all of whose tensors are the folder's.

    Args:
        folder: a model folder, or one that holds the `gguf_file` named in the options.
        dtype: a torch dtype.
        name: what refusals call it.
        options: go to `from_pretrained` as they are.

    Raises:
        ModelError: a tensor is missing, has another shape or no place; an adapter lies beside it.
    """
    from transformers import AutoModelForCausalLM

    name = name or str(folder)
    check_folder(folder, name, only=options.get("gguf_file"))
    if (folder / "adapter_config.json").exists():  # it would be put on top without a word
        raise ModelError(f"{name}: expected whole weights, found an adapter beside them")
    model, info = _load(AutoModelForCausalLM, folder, dtype, **options)
    unknown = info["unexpected_keys"]
    if "gguf_file" in options:
        unknown = {each for each in unknown if not each.startswith("rope_")}  # in the config, too
    refuse_incomplete(name, info["missing_keys"], mismatched(info), unknown)
    return model.eval()
