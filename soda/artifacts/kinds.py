"""The kinds of artifact that stages hand to one another."""

import json
from collections.abc import Iterator
from typing import Any

from soda.artifacts.artifact import Artifact
from soda.artifacts.writer import LOGS, Writer
from soda.rows import Pair, Prompt, Response, Split

__all__ = ["Comparison", "Model", "Pairs", "Prompts", "Registration", "Report", "Responses"]


class Prompts(Artifact):
    """The prompts, in the dataset's order: `prompts.jsonl`."""

    kind = "prompts"
    FILE = "prompts.jsonl"

    def rows(self) -> Iterator[Prompt]:
        """Read the prompts."""
        return map(Prompt.from_json, self.read_rows(self.FILE))

    def __len__(self) -> int:
        return self.count(self.FILE)


class Responses(Artifact):
    """One model's answers, one for each prompt and in the prompts' order: `responses.jsonl`.

    A student's snapshot also holds its tokenizer and chat template, under `tokenizer/`, and further
    answers to the same prompts, if it drew several: `samples.jsonl`. What choose-rejects made has
    the answers that were not chosen there, and its scores in `scores.jsonl`.
    """

    kind = "responses"
    FILE = "responses.jsonl"
    SAMPLES = "samples.jsonl"
    TOKENIZER = "tokenizer"

    def rows(self) -> Iterator[Response]:
        """Read the answers."""
        return map(Response.from_json, self.read_rows(self.FILE))

    def spares(self) -> Iterator[Response]:
        """Read the further answers, several a prompt."""
        return map(Response.from_json, self.read_rows(self.SAMPLES))

    def __len__(self) -> int:
        return self.count(self.FILE)

    @classmethod
    def write(cls, writer: Writer, row: Response) -> None:
        """Append one answer, and count how it ended."""
        writer.write(cls.FILE, row.to_json())
        outcomes = writer.facts.setdefault("outcomes", {})
        outcomes[row.outcome] = outcomes.get(row.outcome, 0) + 1


class Pairs(Artifact):
    """Preference pairs, one file a split: `load_dataset(folder)` reads them, TRL trains on them."""

    kind = "pairs"

    def rows(self, split: Split) -> Iterator[Pair]:
        """Read the pairs of one split."""
        return map(Pair.from_json, self.read_rows(f"{split}.jsonl"))

    def __len__(self) -> int:
        return sum(self.manifest.rows.values())


class Model(Artifact):
    """A model folder that `from_pretrained` loads: safetensors, tokenizer, chat template."""

    kind = "model"

    @property
    def weights_digest(self) -> str:
        """The digest of the weights alone."""
        return str(self.manifest.facts["weights_digest"])

    @property
    def base_weights_digest(self) -> str:
        """The same of the student that was imported, before any training."""
        return str(self.manifest.facts.get("base_weights_digest", self.weights_digest))

    @property
    def trainings(self) -> list[dict[str, Any]]:
        """What was done to the imported student, in order: method, values, rows, checkpoint."""
        return list(self.manifest.facts.get("trainings", []))


class Report(Artifact):
    """Figures before and after training: `report.json`, `.html`, `.md` and `samples.jsonl`."""

    kind = "report"

    def figures(self) -> dict[str, Any]:
        """Read the figures: by name of the metric, before, after and change."""
        figures: dict[str, Any] = json.loads((self.path / "report.json").read_bytes())
        return figures

    def log(self, name: str) -> Any:
        """Read what is no part of the result, `teacher` (a fingerprint) or `cost`; None without."""
        path = self.path / LOGS / f"{name}.json"
        return json.loads(path.read_bytes()) if path.is_file() else None

    def numbers(self) -> dict[str, float]:
        """Return the figures after training by the name of their metric."""
        return {key: metric["after"]["mean"] for key, metric in self.figures()["metrics"].items()}

    def answers_right(self) -> list[list[int]]:
        """Count checkable answers: rows right and wrong before, columns right and wrong after."""
        counts = [[0, 0], [0, 0]]
        for row in self.read_rows("samples.jsonl"):
            if row["before_right"] is not None:
                counts[not row["before_right"]][not row["after_right"]] += 1
        return counts


class Registration(Artifact):
    """What the registry did with a model: its version, and whether it is the champion now."""

    kind = "registration"
    reusable = False
    FILE = "registration.json"
    CARD = "card.md"

    def facts(self) -> dict[str, Any]:
        """Read the registration."""
        facts: dict[str, Any] = json.loads((self.path / self.FILE).read_bytes())
        return facts


class Comparison(Artifact):
    """Several trainings side by side: `comparison.json`, and what they cost in `logs/`."""

    kind = "comparison"
    PAGES = (f"{LOGS}/comparison.html", f"{LOGS}/comparison.md")  # they show times, too
