"""Bring the student in: a model folder, a hub model at a revision, or a GGUF file."""

import datetime
import glob
import importlib.util
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from soda import storage
from soda.artifacts.kinds import Model
from soda.artifacts.writer import Writer
from soda.config import Config
from soda.errors import ConfigError, ModelError
from soda.progress import say
from soda.storage import Place
from soda.student import adapter, gguf
from soda.student.account import Account
from soda.student.chat import ChatFormat
from soda.student.folder import check_folder, read_json, regular_files
from soda.student.layout import INDEX, Weights, find_weights, write_weights
from soda.student.source import KEPT, bucket_sketch, download, hub_sketch, local, source_digest
from soda.student.template import (
    asks_for_date,
    choose_template,
    fix_date,
    plain_template,
    set_thinking,
    write_template,
)
from soda.student.tensors import Headers, read_headers
from soda.student.tokenizer import load_tokenizer
from soda.student.weights import check_weights, load_config, weights_digest

__all__ = ["ImportStudentConfig", "import_student", "look_at_source"]

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Of config.json: which kernels a machine has is its own affair, and which files hold the weights.
_DROPPED = (
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "transformers_weights", "fusion_config"),
)
_TOKENIZER = (
    *("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template"),
    *("additional_chat_templates/", "spiece"),
)
_NOT_COPIED = ("manifest.json", adapter.CONFIG, INDEX)


class ImportStudentConfig(Config):
    """Which student."""

    aside: ClassVar[tuple[str, ...]] = ("source", "base")

    source: str = Field(
        description="a folder, a .gguf file, a hub id, or package:NAME/FILE inside a Python package"
    )
    source_digest: str = Field(
        "", description="sha256 of the file, or of the folder's files; filled in if left out"
    )
    revision: str = Field("", description="hub only: the commit, 40 hex digits")
    base: str = Field("", description="the model of an adapter, as a source: they are merged")
    base_digest: str = Field("", description="as source_digest, of the base")
    base_revision: str = Field("", description="as revision, of the base")
    template: str = Field(
        "",
        description="which of several chat templates, else the default one; plain: headings in "
        "plain text, for a base model without any",
    )
    thinking: bool | None = Field(
        None, description="set the chat template's switch for thinking; null: leave it as it is"
    )
    template_date: str = Field(
        "2024-07-26", description="the day that a chat template with a date takes for today"
    )

    @field_validator("template_date")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError(f"expected a day such as 2024-07-26, found '{value}'")
        datetime.date.fromisoformat(value)
        return value

    def pin(self) -> Self:
        """Write the digests of local sources into it.

        Raises:
            ConfigError: a revision, which only a hub model has, stands beside a local source.
        """
        found = {}
        for name, source, revision in (
            ("source", self.source, "revision"),
            ("base", self.base, "base_revision"),
        ):
            path = local(source) if source and not getattr(self, f"{name}_digest") else None
            if path is None:
                continue
            if given := getattr(self, revision):
                raise ConfigError(
                    f"import-student.{revision}: expected no value, as {source} is on this machine "
                    f"or in a bucket, found '{given}'"
                )
            found[f"{name}_digest"] = source_digest(path)
        return self.model_copy(update=found)


def import_student(*, config: ImportStudentConfig, out: Place) -> Model:
    """Bring the student in as safetensors, with its tokenizer and chat template.

    Every tensor that the architecture wants has to be there, in its shape; what tools have put
    before the names is taken off. A split GGUF is read whole, an adapter merged into its base. What
    is left out, such as the part that sees, is named. Refused, with the reason: weights that exist
    only as pickles or are quantised, models that need code of their own or are no causal language
    models, links, and tokenizers without a chat template that ends an answer with a special token.
    """
    with Model.create(out, config=config, inputs={}) as writer:
        path = _fetched(config.source, config.source_digest, config.revision)
        base = None
        if config.base:
            base = _fetched(config.base, config.base_digest, config.base_revision)
        _bring(path, base, config, writer)
        _check(writer, config)
    return Model.open(out)


def _fetched(source: str, wanted: str, revision: str) -> Path:
    """Return a source as a path, after a look at its digest."""
    path = local(source)
    if path is None:
        return download(source, revision)
    if (found := source_digest(path)) != wanted:
        raise ModelError(f"{source}: expected sha256 {wanted[:12]}..., found {found[:12]}...")
    return path


def _bring(path: Path, base: Path | None, config: ImportStudentConfig, writer: Writer) -> None:
    """Put a whole model into the artifact."""
    if base is None:
        _bring_whole(path, config.source, writer.path, writer)
        return
    if not (path / adapter.CONFIG).is_file():
        raise ModelError(f"{config.source}: expected an adapter beside import-student.base")
    folder = writer.work / "base"
    storage.remove_tree(folder)
    folder.mkdir()
    _bring_whole(base, config.base, folder, writer)
    _copy_small(folder, config.base, writer.path)
    adapter.merge(path, folder, writer.path, config.source)
    if (path / "tokenizer_config.json").is_file():  # the adapter's turns may have tokens of its own
        for file in [each for each in writer.path.iterdir() if each.name.startswith(_TOKENIZER)]:
            file.unlink()
        _copy_small(path, config.source, writer.path, _TOKENIZER)
    storage.remove_tree(folder)
    say(f"import-student: {config.source}: merged into {config.base}")


def _bring_whole(path: Path, source: str, target: Path, writer: Writer) -> None:
    if path.is_dir():
        weights, headers = _weigh(path, source, target)
        write_weights(path, weights, headers, target)
        if weights.account.config.model_type != load_config(target, source).model_type:
            weights.account.config.save_pretrained(target)  # without the parts that are left out
        _note(weights, source, writer)
    elif path.suffix == ".gguf":
        gguf.convert(path, target, writer.work)
    else:
        raise ModelError(f"{path}: expected a folder or a .gguf file, found '{path.suffix}'")


def _weigh(path: Path, source: str, target: Path) -> tuple[Weights, Headers]:
    """Bring a folder's small files, and return which of its files are the weights."""
    files = regular_files(path, source, ("*.safetensors",))
    _sketch(path, source, target, [file.name for file in files])
    headers = read_headers(files, source)
    return find_weights(path, headers, load_config(target, source), source), headers


def _sketch(path: Path, source: str, target: Path, weights: list[str]) -> None:
    """Copy a folder's small files, if by them and the names of its weights it can be trained."""
    check_folder(path, source)
    plain = [name for name in weights if name != adapter.WEIGHTS]
    if (path / adapter.CONFIG).is_file():
        base = adapter.base_named_in(path, source)
        raise ModelError(
            f"{source}: expected whole weights, found an adapter beside them; keep one of the two"
            if plain
            else f"{source}: expected whole weights, found an adapter of {base}; name that model "
            "in import-student.base"
        )
    if not weights:
        pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
        raise ModelError(
            f"{source}: expected safetensors weights, found "
            f"{'only pickled ones: ' + ', '.join(pickled) if pickled else 'no weights'}"
        )
    _check_architecture(read_json(path / "config.json", source), source)
    _copy_small(path, source, target)


def _copy_small(path: Path, source: str, target: Path, names: tuple[str, ...] = ("",)) -> None:
    """Copy what is no weights; of the config, what decides the model."""
    for file in regular_files(path, source, KEPT):
        name = file.relative_to(path)
        if file.suffix == ".safetensors" or name.name in _NOT_COPIED:
            continue
        if not name.as_posix().startswith(names):
            continue
        storage.copy_file(file.resolve(), target / name)  # in a hub's cache it is a link to a blob
    config = target / "config.json"
    if config.is_file():
        values = read_json(config, source)
        kept = {key: value for key, value in values.items() if key not in _DROPPED}
        if kept != values:
            config.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def _note(weights: Weights, source: str, writer: Writer) -> None:
    """Say what was done to the weights, and keep it."""
    account = weights.account
    if account.removed:
        say(f"import-student: {source}: took '{account.removed}' off the tensors' names")
    for part, count in account.left_out.items():
        say(f"import-student: {source}: left out {part}, {count} tensors")
    for name in weights.others:
        say(f"import-student: {source}: left out {name}; {', '.join(weights.files)} is whole")
    writer.facts["tensors"] = _counted(account)


def _counted(account: Account) -> dict[str, Any]:
    return {
        "used": len(account.names),
        "left_out": account.left_out,
        "removed_from_names": account.removed,
    }


def look_at_source(config: ImportStudentConfig) -> str:
    """Say what the student is, from its small files and the headers of its weights.

    Raises:
        SodaError: it is not there, or cannot be trained here.
    """
    if not config.base:
        return _look(config, config.source, config.revision)
    with tempfile.TemporaryDirectory() as folder:
        small, _, headers = _small(config.source, config.revision, Path(folder))
        adapter.check(small, headers(), config.source)
    found = _look(config, config.base, config.base_revision)
    return f"an adapter, merged into {config.base}: {found}"


def _look(config: ImportStudentConfig, source: str, revision: str) -> str:
    path = None if Place.of(source).remote else local(source)
    if path is not None and path.is_file():
        return _look_at_file(path, source)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        small, names, headers = _small(source, revision, target / ".small")
        _sketch(small, source, target, names)
        kind = _check_architecture(read_json(target / "config.json", source), source)
        counted = "its tensors are counted when it is imported"
        if importlib.util.find_spec("torch") is not None:
            weights = find_weights(small, headers(), load_config(target, source), source)
            counted = f"{len(weights.account.names)} tensors"
        if not config.base:
            _check_vocabulary(target, _settle_template(target, config), source)
        return f"{kind}; {counted}"


def _small(
    source: str, revision: str, target: Path
) -> tuple[Path, list[str], Callable[[], Headers]]:
    """Return a folder with a source's small files, its files of weights, and what reads headers."""
    path = None if Place.of(source).remote else local(source)
    if path is not None:
        files = regular_files(path, source, ("*.safetensors",))
        return path, [file.name for file in files], lambda: read_headers(files, source)
    remote = Place.of(source).remote
    small, headers = bucket_sketch(source, target) if remote else hub_sketch(source, revision)
    return small, list(headers), lambda: headers


def _look_at_file(path: Path, source: str) -> str:
    parts = [Path(part) for part in gguf.parts_of(str(path))]
    for part in parts:
        regular_files(part.parent, source, (glob.escape(part.name),))
        with part.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{source}: expected a GGUF file, found another: {part.name}")
    return f"GGUF, {sum(part.stat().st_size for part in parts) / 2**20:,.0f} MiB"


def _check(writer: Writer, config: ImportStudentConfig) -> None:
    """Refuse a model that cannot be trained; complete its generation config if it can."""
    folder, source = writer.path, config.source
    account = check_weights(folder, source)
    writer.facts.setdefault("tensors", _counted(account))
    kind = _check_architecture(read_json(folder / "config.json", source), source)
    chat = _settle_template(folder, config)
    _check_vocabulary(folder, chat, source)
    _stop_at(chat.end_of_turn, folder / "generation_config.json", source)
    writer.facts.update(
        model_type=kind,
        weights_digest=weights_digest(folder),
        template_digest=chat.template_digest,
        end_of_turn=chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn),
    )


def _settle_template(folder: Path, config: ImportStudentConfig) -> ChatFormat:
    """Leave one chat template in the folder, and try it."""
    tokenizer = load_tokenizer(folder, config.source)
    if config.template == "plain":
        template = plain_template(tokenizer, config.source)
    else:
        template = choose_template(tokenizer.chat_template, config.template, config.source)
    if asks_for_date(template):
        day = datetime.date.fromisoformat(config.template_date)
        template = fix_date(template, day, config.source)
        say(f"import-student: {config.source}: the chat template's date is {day} from now on")
    if config.thinking is not None:
        template = set_thinking(template, config.thinking, config.source)
    if template != tokenizer.chat_template:
        write_template(folder, template)
    chat = ChatFormat.load(folder, config.source)
    chat.answer_ids([{"role": "user", "content": "hello"}], "Hello!", stopped=True)
    return chat


def _check_vocabulary(folder: Path, chat: ChatFormat, source: str) -> None:
    rows = load_config(folder, source).get_text_config().vocab_size
    highest = max(chat.tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"{source}: expected at most {rows} tokens, the tokenizer has {highest + 1}"
        )


def _check_architecture(config: dict[str, Any], source: str) -> str:
    """Refuse what is no causal language model of transformers; return its type."""
    if config.get("quantization_config") is not None:
        raise ModelError(f"{source}: expected plain weights, found quantised ones")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        raise ModelError(f"{source}: expected a model type of transformers, found {kind!r}")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.get("is_encoder_decoder"):
        raise ModelError(f"{source}: expected a causal language model, found '{kind}'")
    return str(kind)


def _stop_at(token: int, path: Path, source: str) -> None:
    """Make generation stop at the template's end of turn: some folders forget to name it.

    Raises:
        ModelError: the file would end every later stage that loads the model.
    """
    from transformers import GenerationConfig

    values = read_json(path, source) if path.is_file() else {}
    stops = values.get("eos_token_id", [])
    stops = [stop for stop in (stops if isinstance(stops, list) else [stops]) if stop is not None]
    if not all(isinstance(stop, int) for stop in stops):
        raise ModelError(
            f"{source}: expected token ids as eos_token_id in {path.name}, found {stops}"
        )
    try:
        GenerationConfig(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{source}: expected {path.name} of transformers, found: {error}"
        ) from error
    if token not in stops:
        values["eos_token_id"] = [*stops, token]
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")
