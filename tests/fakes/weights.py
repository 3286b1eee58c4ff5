"""Model folders as they come in the wild: other names, other files, parts that are missing."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

FILE = "model.safetensors"


def rename(folder: Path, change: Callable[[str], str | None]) -> Path:
    """Give a folder's tensors other names; one without is removed."""
    tensors = {change(name): value for name, value in load_file(folder / FILE).items()}
    tensors.pop(None, None)
    save_file(tensors, folder / FILE)
    return folder


def add(folder: Path, **shapes: tuple[int, ...]) -> Path:
    """Put further tensors into a folder's file."""
    more = {name: torch.ones(shape) for name, shape in shapes.items()}
    save_file({**load_file(folder / FILE), **more}, folder / FILE)
    return folder


def convert(folder: Path, kind: torch.dtype) -> Path:
    """Store the weights of the MLPs in another type, without a scale."""
    tensors = {
        name: value.to(kind) if ".mlp." in name else value.clone()
        for name, value in load_file(folder / FILE).items()
    }
    save_file(tensors, folder / FILE)
    return folder


def split(folder: Path, *names: str, index: bool = False) -> Path:
    """Share a folder's tensors out over files of these names."""
    tensors = load_file(folder / FILE)
    (folder / FILE).unlink()
    where = {key: names[number % len(names)] for number, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key in where if where[key] == name}, folder / name)
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def edit_config(folder: Path, name: str = "config.json", **changes: Any) -> Path:
    """Change values of a folder's config."""
    path = folder / name
    values = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**values, **changes}))
    return folder


def save_adapter(base: Path, folder: Path, **options: Any) -> Path:
    """Write a LoRA of a base, whose weights are no zeros."""
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(
        **{"r": 2, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM", **options}
    )
    with warnings.catch_warnings(action="ignore"):  # peft asks transformers by old names
        wrapped = peft.get_peft_model(model, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) / 4)
    with warnings.catch_warnings(action="ignore"):
        wrapped.save_pretrained(folder)
    return folder


def logits(folder: Path, *, adapter: Path | None = None) -> torch.Tensor:
    """Return what a model makes of some tokens: (1, T, V)."""
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        with warnings.catch_warnings(action="ignore"):
            model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(torch.arange(5, 25)[None]).logits


def save_gguf(folder: Path, target: Path, *, drop: str = "", **more: tuple[int, ...]) -> Path:
    """Write the tiny student of a folder as a GGUF file.

    Args:
        drop: the name of a tensor that is left out.
        more: shapes of further tensors.
    """
    import numpy as np
    from gguf import GGUFWriter

    weights = load_file(folder / FILE)
    writer = GGUFWriter(target, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(512)
    words = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(words["model"]["vocab"], key=words["model"]["vocab"].get)
    vocabulary += [f"<unused{number}>" for number in range(512 - len(vocabulary))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    special = {token["content"] for token in words["added_tokens"]}
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(2):
        for ours, theirs in parts.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    for ours, theirs in names.items():
        if theirs != drop:
            writer.add_tensor(theirs, weights[ours].numpy().astype(np.float32))
    for name, shape in more.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def split_gguf(path: Path, count: int) -> list[Path]:
    """Split a GGUF file as llama-gguf-split does: all values in the first, tensors shared out."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    whole = GGUFReader(path)
    files = []
    for number in range(count):
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-{count:05}.gguf")
        writer = GGUFWriter(part, "llama")
        for field in whole.fields.values() if number == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                kind, inner = field.types[0], field.types[-1]
                sub_type = inner if kind == GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(whole.tensors))
        for tensor in whole.tensors[number::count]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files.append(part)
    path.unlink()
    return files
