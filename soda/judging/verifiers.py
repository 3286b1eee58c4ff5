"""Checkable prompts: a right answer is known, so that no opinion is needed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from soda.errors import DataError
from soda.expected import is_right
from soda.judging.sandbox import open_sandbox
from soda.judging.verdicts import Matchup, Reading, Verdict
from soda.rows import Expected

__all__ = [
    "Check",
    "ChoiceCheck",
    "CodeCheck",
    "ExpectedCheck",
    "JsonCheck",
    "RegexCheck",
    "VerifierJudge",
    "parse_check",
]

_REGEX_SECONDS = 1.0
_FENCED = re.compile(r"```[\w+-]*\n(.*?)```", re.DOTALL)


class _Check(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right; None: it could not be found out."""
        raise NotImplementedError


class ExpectedCheck(_Check):
    """The answer is the expected text or number, or one of several: `soda.expected` says when."""

    kind: Literal["expected"]
    expected: Expected
    tolerance: float = Field(0.0, ge=0, description="how far off a number may be, in its own unit")

    @field_validator("expected")
    @classmethod
    def _says_something(cls, expected: Expected) -> Expected:
        if expected in ("", []):
            raise ValueError("expected text, a number or alternatives, found nothing")
        return expected

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right."""
        return is_right(self.expected, answer, self.tolerance)


class ChoiceCheck(_Check):
    """The answer names one of the choices: first of all, after "answer is", or alone of them."""

    kind: Literal["choice"]
    expected: str
    choices: list[str] = ["A", "B", "C", "D"]

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right."""
        choice = "|".join(re.escape(one) for one in self.choices)
        begins = re.match(rf"[\s(*]*({choice})(?=[).:*\s]*$|[).:*]+\s|\s*\n)", answer)
        said = re.findall(rf"(?i:answer(?:\s+is)?)[\s:(*]*({choice})(?!\w)", answer)
        named = set(re.findall(rf"(?<!\w)({choice})(?!\w)", answer))
        if begins:
            return begins[1] == self.expected
        if said:
            return bool(said[-1] == self.expected)
        return named == {self.expected}


class JsonCheck(_Check):
    """The answer is JSON that fits a JSON Schema (draft 2020-12), alone or in a code block."""

    kind: Literal["json"]
    json_schema: dict[str, Any]

    @field_validator("json_schema")
    @classmethod
    def _valid(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"expected a JSON Schema: {error.message}") from error
        return schema

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        return Draft202012Validator(self.json_schema, registry=Registry())  # fetches nothing

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right."""
        from referencing.exceptions import Unresolvable

        try:
            value = json.loads(_block(answer))
        except ValueError:
            return False
        try:
            return bool(self._validator.is_valid(value))
        except Unresolvable:
            return None


class RegexCheck(_Check):
    """A pattern is found in the answer; one that takes too long says nothing."""

    kind: Literal["regex"]
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _valid(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        return pattern

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right."""
        import regex

        try:
            return regex.search(self.pattern, answer, timeout=_REGEX_SECONDS) is not None
        except TimeoutError:
            return None


class CodeCheck(_Check):
    """The answer's last code block, or all of it, passes Python tests in a sandbox."""

    kind: Literal["code"]
    tests: str = Field(description="Python that raises if the code before it is wrong")
    seconds: float = Field(10.0, gt=0)

    def verify(self, answer: str) -> bool | None:
        """Say whether an answer is right."""
        return open_sandbox().passes(_block(answer), self.tests, self.seconds)


Check = Annotated[
    ExpectedCheck | ChoiceCheck | JsonCheck | RegexCheck | CodeCheck,
    Field(discriminator="kind"),
]
_CHECK: TypeAdapter[Any] = TypeAdapter(Check)


def parse_check(value: Mapping[str, Any], where: str) -> Any:
    """Return the check of one prompt.

    Args:
        where: the prompt, for messages.

    Raises:
        DataError: the kind is unknown, or a value is wrong.
    """
    try:
        return _CHECK.validate_python(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ("check", *first["loc"]))
        raise DataError(f"{where}: {key}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class VerifierJudge:
    """Prefers the right answer to the wrong one; both right, or both wrong, is a tie."""

    name: str = "verifier"

    def judge(self, matchups: Iterable[Matchup]) -> Iterator[Verdict]:
        """Return one verdict a matchup, all of which have a check."""
        for matchup in matchups:
            assert matchup.check is not None, "the caller leaves out what is not checkable"
            check = parse_check(matchup.check, matchup.id)
            right = [check.verify(matchup.candidate), check.verify(matchup.baseline)]
            preference = None if None in right else 0.5 + (right[0] - right[1]) / 2
            words = {True: "right", False: "wrong", None: "unknown"}
            text = f"candidate {words[right[0]]}, baseline {words[right[1]]}"
            reading = Reading("candidate", preference, text)
            yield Verdict.of(matchup, self.name, check.kind, [reading])


def _block(answer: str) -> str:
    """Return the last code block, or everything where there is none."""
    blocks = _FENCED.findall(answer)
    return str(blocks[-1] if blocks else answer).strip()
