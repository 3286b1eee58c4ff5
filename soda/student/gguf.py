"""A GGUF file, whole or split into several, becomes a model folder of safetensors."""

import re
import struct
from pathlib import Path
from typing import Any

from soda.errors import ModelError
from soda.limits import GGUF_PARTS
from soda.student.account import refuse_incomplete
from soda.student.tokenizer import load_tokenizer
from soda.student.weights import load_causal_lm

__all__ = ["convert", "parts_of"]

_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_OWN = ("general.architecture", "split.no", "split.count", "split.tensors.count")


def parts_of(name: str) -> list[str]:
    """Return the names of the files that a GGUF was split into, in order; its own, if it was not.

    Args:
        name: of any one of them, or its address.
    """
    found = _SPLIT.fullmatch(name)
    count = int(found[3]) if found else 1
    if not found or count > GGUF_PARTS:
        return [name]
    return [f"{found[1]}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def convert(path: Path, target: Path, work: Path) -> None:
    """Write a GGUF's model and tokenizer into a folder, in bf16.

    Args:
        path: the file, or any one of its parts.
        target: where the model folder's files go.
        work: where a split file is put together.

    Raises:
        ModelError: it is no whole model.
    """
    import torch
    from transformers import GgufConfig

    whole = _whole(path, work)
    tokenizer = load_tokenizer(whole.parent, str(path), gguf_file=whole.name)
    try:
        model = load_causal_lm(
            whole.parent,
            torch.float32,
            str(path),
            gguf_file=whole.name,
            # without this the weights stay packed, and save_pretrained refuses them
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise ModelError(f"{path}: expected a GGUF that can be trained, found: {error}") from error
    _refuse_unused(whole, model, str(path))
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    if whole != path:
        whole.unlink()


def _whole(path: Path, work: Path) -> Path:
    """Return the file if it is whole, or one that holds all its parts."""
    from gguf import GGUFReader

    parts = parts_of(str(path))
    try:
        readers = [GGUFReader(part) for part in parts]
        counts = [reader.fields.get("split.count") for reader in readers]
        counted = sum(len(reader.tensors) for reader in readers)
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise ModelError(f"{path}: expected a whole GGUF model, found: {error}") from error
    split = int(counts[0].contents()) if counts[0] is not None else 1
    if split != len(parts):
        raise ModelError(
            f"{path}: expected {split} parts, each called NAME-00001-of-{split:05}.gguf, found "
            f"{len(parts)}"
        )
    wanted = readers[0].fields.get("split.tensors.count")
    if wanted is not None and int(wanted.contents()) != counted:
        raise ModelError(f"{path}: expected {wanted.contents()} tensors, found {counted}")
    return path if len(parts) == 1 else _join(readers, work / "whole.gguf")


def _refuse_unused(path: Path, model: Any, source: str) -> None:
    """Refuse tensors that transformers passes over: it reads those that it looks for.

    Where it does not call a weight as gguf does (experts of several kinds), nothing can be said.
    """
    import gguf

    reader = gguf.GGUFReader(path)
    name = reader.fields["general.architecture"].contents()
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    blocks = reader.fields.get(f"{name}.block_count")
    names = gguf.get_tensor_name_map(kind, int(blocks.contents()) if blocks else 0)
    wanted = {names.get_name(each, (".weight", ".bias")) for each in model.state_dict()}
    unused = {tensor.name for tensor in reader.tensors} - wanted
    unused = {each for each in unused if not each.startswith("rope_")}  # in the config, too
    if None not in wanted:
        refuse_incomplete(source, [], [], unused)


def _join(readers: list[Any], target: Path) -> Path:
    """Write parts as one file: the first one's values, everyone's tensors."""
    from gguf import GGUFValueType, GGUFWriter

    first = readers[0]
    architecture = first.fields["general.architecture"].contents()
    writer = GGUFWriter(target, arch=architecture)
    for name, field in first.fields.items():
        if name.startswith("GGUF.") or name in _OWN:
            continue
        kind, inner = field.types[0], field.types[-1]
        sub_type = inner if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub_type)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()
    return target
