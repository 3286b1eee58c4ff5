"""The frozen base of every stage's config, and values as people write them."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from soda.errors import ConfigError, found_instead
from soda.escape import shown_value
from soda.limits import RECIPE_BYTES
from soda.yaml_values import explain_yaml_error, read_yaml

__all__ = [
    "Config",
    "Group",
    "assign",
    "group_name",
    "groups_of",
    "parse_assignment",
    "read_mapping",
    "suggest",
    "summary",
    "values_of",
]

# What pydantic's errors expected, in a recipe's words; for others its own words are good.
_EXPECTED = {
    "string_type": "text",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number"
    ),
    "list_type": "a list",
    "invalid_key": "text as a key",
    **dict.fromkeys(("dict_type", "model_type"), "a mapping"),
    "greater_than": "more than {gt:.15g}",
    "greater_than_equal": "{ge:.15g} or more",
    "less_than": "less than {lt:.15g}",
    "less_than_equal": "at most {le:.15g}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}


class Group(BaseModel):
    """Values that belong together: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        """Make text of a number's `true`, which is refused then; pydantic takes it for 1."""
        return (
            {
                key: _found(value) if isinstance(value, bool) and cls._is_number(key) else value
                for key, value in values.items()
            }
            if isinstance(values, dict)
            else values
        )

    @classmethod
    def _is_number(cls, key: str) -> bool:
        kind = cls.model_fields[key].annotation if key in cls.model_fields else None
        kinds = {kind, *get_args(kind)}
        return not kinds.isdisjoint((int, float)) and bool not in kinds


class Config(Group):
    """The few values that can change a stage's result."""

    # Fields that change no result: where something lies, how fast or for how much it is made. They
    # are no part of a key or a digest. A `x_digest` beside a location `x` says what is there.
    aside: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def stage(cls) -> str:
        """Return the stage's name: `PairBuildConfig` belongs to `pair-build`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__.removesuffix("Config")).lower()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check raw values from a recipe, the command line or Kubeflow.

        Kubeflow hands over `3` as `3.0`; an integral float is accepted for an int, `3.5` is not.

        Raises:
            ConfigError: a key is unknown, missing, or has a value of the wrong type or range.
        """
        try:
            return cls.model_validate(values).pin()
        except ValidationError as error:
            raise ConfigError(cls._explain(error)) from error

    def pin(self) -> Self:
        """Return the config with everything outside it that decides the result written into it.

        A stage that reads a file by its path, or the teacher's address from the environment, puts
        the file's digest or the address here, so that every key made from a config can be trusted.
        """
        return self

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide the result, as JSON: all that are not set aside."""
        return self.model_dump(mode="json", exclude=set(self.aside))

    def set_aside(self) -> dict[str, Any]:
        """Return the values that change no result, as JSON."""
        return self.model_dump(mode="json", include=set(self.aside))

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        # an unknown key first: what else is missing or wrong is often the key that was meant
        first, *more = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        where = f"{cls.stage()}.{key}" if key else cls.stage()
        also = f" (and {len(more)} more)" if more else ""
        match first["type"]:
            case "extra_forbidden":
                *path, name = first["loc"]
                known = {name for group in cls._groups_at(path) for name in group.model_fields}
                return f"{where}: unknown key; {suggest(str(name), known)}{also}"
            case "missing":
                return f"{where}: expected a value, found none{also}"
            case "value_error":
                return f"{where}: {first['ctx']['error']}{also}"
        expected = _EXPECTED.get(first["type"], "").format_map(first.get("ctx", {}))
        expected = expected or first["msg"].replace("Input should be ", "").removesuffix(".")
        return f"{where}: expected {expected}, found {_found(first['input'])}{also}"

    @classmethod
    def _groups_at(cls, path: Iterable[int | str]) -> list[type[BaseModel]]:
        """Return the groups that may stand at a path of keys; of named ones, the name is a key."""
        groups: list[type[BaseModel]] = [cls]
        for key in map(str, path):
            fields = [group.model_fields for group in groups]
            named = [group for group in groups if group_name(group) == key]
            inner = [each[key].annotation for each in fields if key in each]
            found = [group for each in inner for group in groups_of(each)]
            groups = named or found or groups  # an index of a list stays where it is
        return groups


def _found(value: object) -> str:
    """Return a value as a message shows it, in YAML's words where they are others than Python's."""
    words = {None: "nothing", True: "true", False: "false"}
    is_word = value is None or isinstance(value, bool)
    return words[value] if is_word else shown_value(value)  # type: ignore[index]


def groups_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the groups that a field may hold: none, one, or several of which each has a name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [group for inner in get_args(annotation) for group in groups_of(inner)]


def group_name(group: type[BaseModel]) -> str | None:
    """Return the name by which a recipe picks a group among several, if it has one."""
    field = group.model_fields.get("name")
    return field.default if field and get_origin(field.annotation) is Literal else None


def values_of(group: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a group's fields but for the name that it is picked by."""
    named = group_name(group) is not None
    return {key: field for key, field in group.model_fields.items() if not named or key != "name"}


def summary(group: type[BaseModel]) -> str:
    """Return the first line of a group's docstring: what it is, and where it is from."""
    return (group.__doc__ or "").partition("\n")[0].removesuffix(".")


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Args:
        path: the file.
        what: what it is, for messages: "a recipe".

    Raises:
        ConfigError: the file is missing, or holds something else.
    """
    try:
        with path.open("rb") as file:  # which may be a pipe, or have no end
            text = file.read(RECIPE_BYTES + 1)
        if len(text) > RECIPE_BYTES:
            raise ConfigError(f"{path}: expected at most {RECIPE_BYTES} bytes, found more")
        found = read_yaml(text.decode())
    except OSError as error:
        raise ConfigError(f"{path}: expected {what}, found {found_instead(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8, found something else") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {explain_yaml_error(error)}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a mapping, found {_found(found)}")
    return found


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `key=value` from the command line; the value is YAML.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set: expected key=value, found {shown_value(text)}")
    try:
        return key, read_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {key}: expected a YAML value, found {shown_value(value)}"
        ) from error


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one of a config's raw values; `group.key` sets one of a group's, beside its others.

    A group that has a name may stand as its name alone.
    """
    group, dot, inner = key.partition(".")
    if not dot:
        values[key] = value
        return
    found = values.get(group)
    named = {"name": found} if isinstance(found, str) else {}
    values[group] = dict(found) if isinstance(found, dict) else named
    assign(values[group], inner, value)
