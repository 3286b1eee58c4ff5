"""Bring the student in: a model folder, a hub model at a revision, or a GGUF file."""

import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from soda import storage
from soda.artifacts.kinds import Model
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.errors import ConfigError, ModelError
from soda.rows import digest
from soda.storage import Place
from soda.storage.packaged import packaged_file
from soda.student.chat import ChatFormat
from soda.student.weights import load_causal_lm, weights_digest

__all__ = ["ImportStudentConfig", "import_student", "look_at_source"]

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_KEPT = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")


class ImportStudentConfig(Config):
    """Which student."""

    aside: ClassVar[tuple[str, ...]] = ("source",)

    source: str = Field(
        description="a folder, a .gguf file, a hub id, or package:NAME/FILE inside a Python package"
    )
    source_digest: str = Field(
        "", description="sha256 of the file, or of the folder's files; filled in if left out"
    )
    revision: str = Field("", description="hub only: the commit, 40 hex digits")

    def pin(self) -> Self:
        """Write the digest of a local source into it."""
        if self.source_digest:
            return self
        path = _local(self.source)
        if path is None:
            return self
        return self.model_copy(update={"source_digest": _digest(path)})


def import_student(*, config: ImportStudentConfig, out: Place) -> Model:
    """Bring the student in as safetensors, with its tokenizer and chat template.

    Refuses what cannot be trained here, and says why: weights that exist only as pickles, models
    that need code of their own, quantised weights, models that are not causal language models, and
    tokenizers without a chat template that ends an answer with a special token.
    """
    path = _local(config.source)
    if path is not None and (found := _digest(path)) != config.source_digest:
        raise ModelError(
            f"{config.source}: expected sha256 {config.source_digest[:12]}..., "
            f"found {found[:12]}..."
        )
    with Model.create(out, config=config, inputs={}) as writer:
        if path is None:
            path = _download(config)
        if path.is_dir():
            _copy_folder(path, writer.path)
        elif path.suffix == ".gguf":
            _convert_gguf(path, writer.path)
        else:
            raise ModelError(f"{path}: expected a folder or a .gguf file, found '{path.suffix}'")
        _check(writer, config.source)
    return Model.open(out)


def look_at_source(config: ImportStudentConfig) -> str:
    """Say what the student is, without fetching its weights.

    Raises:
        SodaError: it is not there, or cannot be trained here.
    """
    if (place := Place.of(config.source)).remote:
        store = place.open()
        names = [entry.name for entry in store.list()]
        text = store.read("config.json")[0] if "config.json" in names else b""
    elif (path := _local(config.source)) is not None:
        if path.is_file():
            return f"a file of {path.stat().st_size / 2**20:,.0f} MiB"
        names = [file.name for file in path.iterdir()]
        file = path / "config.json"
        text = file.read_bytes() if file.is_file() else b""
    else:
        names, text = _hub_files(config)
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"{config.source}: expected safetensors weights, found no such file")
    if not text:
        raise ModelError(f"{config.source}: expected config.json, found no such file")
    return _check_architecture(_parse_json(text, "config.json", config.source), config.source)


def _hub_files(config: ImportStudentConfig) -> tuple[list[str], bytes]:
    _check_hub_name(config)
    from huggingface_hub import HfApi, hf_hub_download

    try:
        names = HfApi().list_repo_files(config.source, revision=config.revision)
        path = hf_hub_download(config.source, "config.json", revision=config.revision)
    except _hub_failures() as error:
        raise ModelError(f"{config.source}: expected a hub model, found: {error}") from error
    return names, Path(path).read_bytes()


def _local(source: str) -> Path | None:
    """Return the path a source names on this machine, or None for a hub id."""
    path = packaged_file(source) or Place.of(source).fetch()
    return path if path.exists() else None


def _digest(path: Path) -> str:
    if path.is_file():
        return storage.file_digest(path)
    files = sorted(file for pattern in _KEPT for file in path.glob(pattern))
    return digest({file.name: storage.file_digest(file) for file in files})


def _download(config: ImportStudentConfig) -> Path:
    _check_hub_name(config)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            config.source, revision=config.revision, allow_patterns=list(_KEPT)
        )
    except _hub_failures() as error:
        raise ModelError(f"{config.source}: expected a hub model, found: {error}") from error
    return Path(folder)


def _hub_failures() -> tuple[type[BaseException], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # Its bases are the HTTP library's: nobody answers. ValueError: a name that no hub model has.
    return (*HfHubHTTPError.__bases__, OSError, ValueError)


def _check_hub_name(config: ImportStudentConfig) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", config.source):
        raise ModelError(f"{config.source}: expected a folder, a file or a hub id, found nothing")
    if not re.fullmatch(r"[0-9a-f]{40}", config.revision):
        raise ConfigError(
            "import-student.revision: expected the commit of a hub model, 40 hex digits, found "
            f"'{config.revision}'"
        )


def _copy_folder(source: Path, target: Path) -> None:
    if not any(source.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in _PICKLED for file in source.glob(pattern))
        raise ModelError(
            f"{source}: expected safetensors weights, found "
            f"{'only pickled ones: ' + ', '.join(pickled) if pickled else 'no weights'}"
        )
    for pattern in _KEPT:
        for file in source.glob(pattern):
            if file.name != "manifest.json":  # of an artifact that is imported again
                shutil.copyfile(file, target / file.name)


def _convert_gguf(source: Path, target: Path) -> None:
    import gguf  # noqa: F401 - for transformers; an import puts its version into the key
    import torch
    from transformers import AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        model = load_causal_lm(
            source.parent,
            torch.float32,
            gguf_file=source.name,
            # without this the weights stay packed, and save_pretrained refuses them
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise ModelError(f"{source}: expected a whole GGUF model, found: {error}") from error
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


def _check(writer: Writer, source: str) -> None:
    """Refuse a model that cannot be trained; complete its generation config if it can."""
    config = _read_json(writer.path / "config.json", source)
    kind = _check_architecture(config, source)
    chat = ChatFormat.load(writer.path, source)
    if len(chat.tokenizer) > config.get("vocab_size", len(chat.tokenizer)):
        raise ModelError(
            f"{source}: expected at most {config['vocab_size']} tokens, the tokenizer has "
            f"{len(chat.tokenizer)}"
        )
    _stop_at(chat.end_of_turn, writer.path / "generation_config.json", source)
    _check_weights(writer.path, source)
    writer.facts.update(
        model_type=kind,
        weights_digest=weights_digest(writer.path),
        template_digest=chat.template_digest,
        end_of_turn=chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn),
    )


def _check_architecture(config: dict[str, Any], source: str) -> str:
    """Refuse what is no causal language model of transformers; return its type."""
    if "auto_map" in config:
        raise ModelError(f"{source}: expected a model of transformers, found one with its own code")
    if "quantization_config" in config:
        raise ModelError(f"{source}: expected plain weights, found quantised ones")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        raise ModelError(f"{source}: expected a model type of transformers, found {kind!r}")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.get("is_encoder_decoder"):
        raise ModelError(f"{source}: expected a causal language model, found '{kind}'")
    return str(kind)


def _check_weights(folder: Path, source: str) -> None:
    """Refuse a file that was cut short, and an index that names a file that is not there."""
    from safetensors import SafetensorError, safe_open

    names = {file.name for file in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names |= set(_read_json(index, source).get("weight_map", {}).values())
    for name in sorted(names):
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{source}: expected weights in {name}, found: {error}") from error


def _read_json(path: Path, source: str) -> dict[str, Any]:
    try:
        return _parse_json(path.read_bytes(), path.name, source)
    except OSError as error:
        raise ModelError(f"{source}: expected {path.name}, found: {error}") from error


def _parse_json(text: bytes, name: str, source: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{source}: expected {name} in JSON, found: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: expected an object in {name}, found {values!r}")
    return values


def _stop_at(token: int, path: Path, source: str) -> None:
    """Make generation stop at the template's end of turn: some folders forget to name it."""
    values = _read_json(path, source) if path.is_file() else {}
    stops = values.get("eos_token_id", [])
    stops = stops if isinstance(stops, list) else [stops]
    if token not in stops:
        values["eos_token_id"] = [*(stop for stop in stops if stop is not None), token]
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")
