"""Load a model's weights: safetensors from a folder, nothing from the network, no remote code."""

from pathlib import Path
from typing import Any

from soda import storage
from soda.errors import ModelError
from soda.rows import digest

__all__ = ["load_causal_lm", "load_scorer", "weights_digest"]


def weights_digest(folder: Path) -> str:
    """Return the digest of a model folder's weights alone."""
    return digest({path.name: storage.file_digest(path) for path in folder.glob("*.safetensors")})


def load_causal_lm(folder: Path, dtype: Any, **options: Any) -> Any:
    """Return a model in eval mode.

    Args:
        folder: a model folder, or one that holds the `gguf_file` named in the options.
        dtype: a torch dtype.
        options: go to `from_pretrained` as they are.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it takes a second, and its bar has no place in a log
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, **options
    ).eval()


def load_scorer(folder: Path, dtype: Any) -> Any:
    """Return a model with one number for a whole text, such as a reward model, in eval mode.

    Raises:
        ModelError: there is none, or one whose head is not among the weights or has more outputs.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: expected a reward model, found: {error}") from error
    if loaded["missing_keys"]:
        missing = ", ".join(sorted(loaded["missing_keys"]))
        raise ModelError(f"{folder}: expected a reward model, found no weights for {missing}")
    if model.config.num_labels != 1:
        raise ModelError(f"{folder}: expected 1 output, found {model.config.num_labels}")
    return model.eval()
