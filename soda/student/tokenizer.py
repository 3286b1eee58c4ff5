"""The one place that loads tokenizers: from a folder, and no code. It needs no torch."""

from pathlib import Path
from typing import Any

from soda.errors import ModelError
from soda.student.folder import check_folder, read_json
from soda.student.quiet import quiet

__all__ = ["load_tokenizer"]

# At least one of them is in every folder with a tokenizer.
_VOCABULARIES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tekken.json"),
)


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
        if not options:
            _check_files(folder, name)
        found = f"no {error} in it" if isinstance(error, KeyError) else f"an error: {error}"
        raise ModelError(
            f"{name}: expected a tokenizer that transformers can read, found {found}"
        ) from error


def _check_files(folder: Path, name: str) -> None:
    """Refuse a folder whose tokenizer is missing or is no JSON."""
    if not any((folder / file).is_file() for file in _VOCABULARIES):
        raise ModelError(
            f"{name}: expected a tokenizer, found no tokenizer.json or other vocabulary"
        )
    if (folder / _VOCABULARIES[0]).is_file():
        read_json(folder / _VOCABULARIES[0], name)
