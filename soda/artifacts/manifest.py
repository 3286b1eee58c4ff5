"""The manifest: what an artifact is, what it was made of and what lies in it."""

import dataclasses
import functools
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from soda.errors import ArtifactError, StorageError
from soda.rows import digest
from soda.storage import Content, checked

__all__ = ["FORMAT", "MANIFEST", "Manifest"]

MANIFEST = "manifest.json"
FORMAT: Literal[1] = 1  # raised by every change of the bytes that this room writes

# What a run was given and did that made no difference, and which code did it. A stage whose code
# changed and whose result did not makes no later stage run again.
_ASIDE = ("aside", "account", "soda", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Written last, read first: a folder without one is unfinished."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    kind: str
    format: Literal[1] = FORMAT
    stage: str
    soda: str  # version, and a digest of the stage's code
    key: str  # digest of all that decides the result
    config: dict[str, Any]
    aside: dict[str, Any]  # values of the config that change no result
    account: dict[str, Any]  # what the run did that is no part of the result
    inputs: dict[str, str]  # their digests; of a list, `name.0`, `name.1` and so on
    rows: dict[str, int]  # of each file of rows
    drops: dict[str, int]  # by reason
    facts: dict[str, Any]  # what else the stage says of its result
    files: dict[Annotated[str, AfterValidator(checked)], Content]  # all but the logs

    @classmethod
    def read(cls, data: bytes, where: object) -> "Manifest":
        """Read what `to_bytes` wrote.

        Args:
            where: the file's place, for messages.

        Raises:
            ArtifactError: it is of another format, or a field is missing, unknown or odd.
        """
        try:
            return _adapter().validate_json(data)
        except ValidationError as error:
            raise ArtifactError(f"{where}: {_explain(error)}") from error
        except StorageError as error:
            raise ArtifactError(f"{where}: files: {error}") from error

    def to_bytes(self) -> bytes:
        """Return the manifest as it is written."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True).encode()

    @property
    def digest(self) -> str:
        """The sha256 over what decides a result, and so over every file but the logs."""
        fields = dataclasses.asdict(self)
        return digest({key: value for key, value in fields.items() if key not in _ASIDE})


@functools.cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _explain(error: ValidationError) -> str:
    """Say the first problem, and that of the format before any other."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda one: one["loc"] != ("format",))
    key, found = ".".join(map(str, first["loc"])), repr(first["input"])[:60]
    match first["type"]:
        case "json_invalid":
            return f"expected JSON, found {first['ctx']['error']}"
        case "missing":
            return f"{key}: expected a value, found none"
        case "unexpected_keyword_argument":
            return f"{key}: unknown field"
        case "dataclass_type":
            return f"expected a manifest, found {found}"
    expected = first["msg"].replace("Input should be", "expected")
    return f"{key}: {expected}, found {found}"
