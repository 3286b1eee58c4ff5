"""The kinds of artifact that stages hand to one another."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from soda.artifacts.artifact import Artifact
from soda.artifacts.writer import LOGS, Writer
from soda.errors import KindError
from soda.rows import Pair, Prompt, Response, Split
from soda.storage import Location

__all__ = [
    "Comparison",
    "Model",
    "Pairs",
    "Prompts",
    "Registration",
    "Report",
    "Responses",
    "open_any",
]


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
    """Preference pairs, one file a split: `load_dataset(folder)` reads them, TRL trains on them.

    After the audit also `audit.json`, `audit.html`, and what was said of pairs: `verdicts.jsonl`.
    """

    kind = "pairs"
    AUDIT = "audit.json"
    PAGE = "audit.html"
    VERDICTS = "verdicts.jsonl"

    def rows(self, split: Split) -> Iterator[Pair]:
        """Read the pairs of one split."""
        return map(Pair.from_json, self.read_rows(f"{split}.jsonl"))

    def audit(self) -> dict[str, Any] | None:
        """Read what the audit found; None: there was none."""
        path = self.path / self.AUDIT
        return json.loads(path.read_bytes()) if path.is_file() else None

    def __len__(self) -> int:
        return sum(self.count(f"{split}.jsonl") for split in get_args(Split))


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
    """Figures before and after training: `report.json`, `.html`, `.md` and `samples.jsonl`.

    `charts.json` holds the curves of the trainings, as they are drawn; after the judge
    `verdicts.jsonl` all that it said.
    """

    kind = "report"
    FIGURES, CHARTS = "report.json", "charts.json"
    TABLE, PAGE = "report.md", "report.html"
    SAMPLES = "samples.jsonl"
    SCORES = "scores.json"
    VERDICTS = "verdicts.jsonl"

    def figures(self) -> dict[str, Any]:
        """Read the figures: by name of the metric, before, after and change."""
        figures: dict[str, Any] = json.loads((self.path / self.FIGURES).read_bytes())
        return figures

    @property
    def eval_config(self) -> dict[str, Any]:
        """How the figures were measured: the values of eval, whatever stage came after it."""
        return dict(self.manifest.facts.get("eval", {}).get("config", self.manifest.config))

    @property
    def eval_inputs(self) -> dict[str, str]:
        """What was measured: the digests of eval's inputs."""
        return dict(self.manifest.facts.get("eval", {}).get("inputs", self.manifest.inputs))

    def charts(self) -> list[dict[str, Any]]:
        """Read the curves of the trainings, as they are drawn."""
        charts: list[dict[str, Any]] = json.loads((self.path / self.CHARTS).read_bytes())
        return charts

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Read every score: by model (before, warmed, after), metric, and prompt or pair."""
        scores: dict[str, dict[str, dict[str, float]]] = json.loads(
            (self.path / self.SCORES).read_bytes()
        )
        return scores

    def log(self, name: str) -> Any:
        """Read what is no part of the result, `teacher` (a fingerprint) or `cost`; None without."""
        path = self.path / LOGS / f"{name}.json"
        return json.loads(path.read_bytes()) if path.is_file() else None

    def numbers(self) -> dict[str, float]:
        """Return what runs are compared by: of each metric before, after, and the change's ends.

        `rouge_l`, `rouge_l_before`, and the 95 % interval `rouge_l_change_low`, `..._high`.
        """
        found: dict[str, float] = {}
        for key, metric in self.figures()["metrics"].items():
            found |= {key: metric["after"]["mean"], f"{key}_before": metric["before"]["mean"]}
            found |= {f"{key}_change_{end}": metric["change"][end] for end in ("low", "high")}
        return found

    def answers_right(self) -> list[list[int]]:
        """Count checkable answers: rows right and wrong before, columns right and wrong after."""
        counts = [[0, 0], [0, 0]]
        for row in self.read_rows(self.SAMPLES):
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

    def numbers(self) -> dict[str, float]:
        """Return what runs are compared by: the version, whether it is the champion, failures."""
        facts = self.facts()
        return {
            "version": float(facts["version"]),
            "champion": float(facts["champion"]),
            "failed_checks": float(len(facts["failed_checks"])),
        }


class Comparison(Artifact):
    """Several trainings side by side: `comparison.json`, and what they cost in `logs/`."""

    kind = "comparison"
    PAGES = (f"{LOGS}/comparison.html", f"{LOGS}/comparison.md")  # they show times, too


def open_any(location: Location) -> Artifact:
    """Open a finished artifact of whatever kind.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    kinds = Artifact.__subclasses__()
    for kind in kinds[:-1]:
        try:
            return kind.open(location, what="an artifact")
        except KindError:
            continue
    return kinds[-1].open(location, what="an artifact")
