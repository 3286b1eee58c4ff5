"""Load a model's weights: safetensors from a folder, nothing from the network, no remote code."""

from pathlib import Path
from typing import Any

from soda import storage
from soda.rows import digest

__all__ = ["load_causal_lm", "weights_digest"]


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
