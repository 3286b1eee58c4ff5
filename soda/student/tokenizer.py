"""The one place that loads tokenizers: from a folder, and no code. It needs no torch."""

from pathlib import Path
from typing import Any

from soda.errors import ModelError
from soda.student.folder import check_folder
from soda.student.quiet import quiet

__all__ = ["load_tokenizer"]


def load_tokenizer(folder: Path, name: str = "", **options: Any) -> Any:
    """Return the tokenizer of a folder; refusals call it by `name`.

    Args:
        options: go to `from_pretrained` as they are.

    Raises:
        ModelError: there is none, or it needs code of its own.
    """
    from transformers import AutoTokenizer

    name = name or str(folder)
    check_folder(folder, name, only=options.get("gguf_file"))
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # `tokenizers` has no class of its own for what it raises
        raise ModelError(f"{name}: expected a tokenizer, found: {error}") from error
