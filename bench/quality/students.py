"""The students of one job: trained by the product's own stages, each made once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soda
from bench.quality.cells import Cell, Job, Preset
from bench.quality.items import Item, Source, moved, teacher_answers
from bench.quality.measure import answers_of
from soda.artifacts.kinds import Model, Prompts, Responses
from soda.rows import Response
from soda.stages.snapshot import SnapshotConfig
from soda.storage import Place
from soda.student.chat import ChatFormat

__all__ = ["WEAK", "Students"]

WEAK = (0.25, 96)  # the poor teacher's share of good answers, and how many answers it gives


class Students:
    """A job's folder, and the artifacts in it; what is there is not made again."""

    def __init__(self, preset: Preset, job: Job, source: Source, base: Path, work: Path):
        self.preset, self.job, self.source, self.base = preset, job, source, base
        self.folder = work / "-".join(f"{value:g}" for value in job)
        self.folder.mkdir(parents=True, exist_ok=True)

    def of(self, cell: Cell) -> Path:
        """Train a cell's student, or return it where it is kept."""
        if cell.method == "base":
            return self.base
        if cell.method == "sft":
            return self._sft(cell.epochs)
        name = f"dpo-{cell.rejects}-{cell.rate:g}-{cell.beta:g}"
        values = {"method": "dpo", "epochs": 1, "learning_rate": cell.rate}
        values["loss"] = {"name": "dpo", "beta": cell.beta}
        return self._train(name, self._pairs(cell.rejects), self._warmed(), **values)

    def _stage(self, name: str, out: str, config: dict[str, Any], **inputs: Path) -> Path:
        """Run a stage of the product; return its artifact's folder."""
        made = soda.run(name, inputs=inputs, config=config, out=self.folder / out)
        return Path(made.path)

    def _teacher(self, name: str, share: float, count: int) -> tuple[Path, Path]:
        """Return prompts, and the answers of a teacher that is good at such a share of them."""
        file = self.folder / f"{name}.jsonl"
        if not file.is_file():
            items = self.source.training(count, self.job.seed)
            texts = teacher_answers(items, share, self.job.seed, self._own)
            lines = [
                {"messages": item.messages, "response": text, "finish_reason": "stop"}
                for item, text in zip(items, texts, strict=True)
            ]
            unfinished = file.with_suffix(".part")
            unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))
            unfinished.replace(file)
        whole = {"dataset": str(file), "validation_share": 0.0, "test_share": 0.0}
        prompts = self._stage("prepare-prompts", f"{name}-prompts", whole)
        # The base student, as a teacher, may say nothing.
        answers = {"answers": str(file), "probe": False, "max_failed_share": 1.0}
        return prompts, self._stage("teacher-gen", f"{name}-answers", answers, prompts=prompts)

    def _own(self, items: Sequence[Item]) -> list[str]:
        """Return the base student's answers as a teacher: other draws than those for rejects."""
        prompts = [item.messages for item in items]
        drawn = answers_of(self.base, prompts, self.preset.answer_tokens, 1000 + self.job.seed)
        return [answer.text for answer in drawn]

    def _train(self, out: str, data: Path, model: Path, **values: Any) -> Path:
        """Train without validation rows: to the last step, and stopped by nothing."""
        config = {
            "batch_size": self.preset.batch,
            "check_every_steps": 100_000,
            "health": {"answers": 0, "first_loss": "warn"},
            "seed": self.job.seed,
            # Compiling costs each process more than it gives in so short a run.
            "device": {"compile": False, "micro_batch_tokens": 4096},
        }
        return self._stage("train", out, {**config, **values}, data=data, model=model)

    def _sft(self, epochs: int) -> Path:
        """Return the student after so many epochs on the teacher's answers."""
        _, teacher = self._teacher("teacher", self.job.good_share, self.job.pairs)
        values = {"method": "sft", "epochs": epochs, "learning_rate": self.job.warm_rate}
        return self._train(f"sft-{epochs}", teacher, self.base, **values)

    def _warmed(self) -> Path:
        """Return q_w."""
        return self._sft(self.job.warm_epochs)

    def _weak(self) -> Path:
        """Return a student that a poor teacher taught a little: the form, and many errors."""
        _, teacher = self._teacher("poor", *WEAK)
        return self._train("weak", teacher, self.base, method="sft", epochs=1)

    def _pairs(self, rejects: str) -> Path:
        """Return pairs of the teacher's answers and the rejected ones."""
        prompts, teacher = self._teacher("teacher", self.job.good_share, self.job.pairs)
        student = self._rejects(rejects, prompts, teacher)
        return self._stage("pair-build", f"pairs-{rejects}", {}, teacher=teacher, student=student)

    def _rejects(self, source: str, prompts: Path, teacher: Path) -> Path:
        """Return the rejected answers as a student's snapshot would hold them."""
        out = self.folder / f"rejects-{source}"
        if out.is_dir():
            return out
        folder = {"warmed": self._warmed, "weak": self._weak}.get(source, lambda: self.base)()
        inputs = {"prompts": Prompts.open(prompts), "model": Model.open(folder)}
        if source == "moved":
            inputs["teacher"] = Responses.open(teacher)
            answers = self._moved(inputs["teacher"])
        else:
            answers = self._sampled(folder, inputs["prompts"])
        config = SnapshotConfig(max_new_tokens=self.preset.answer_tokens, seed=self.job.seed)
        with Responses.create(Place.of(out), config=config, inputs=inputs) as writer:
            for answer in answers:
                Responses.write(writer, answer)
            ChatFormat.load(folder).save(writer.path / Responses.TOKENIZER)
        return out

    def _sampled(self, folder: Path, prompts: Prompts) -> list[Response]:
        rows = list(prompts.rows())
        asked = [row.messages for row in rows]
        drawn = answers_of(folder, asked, self.preset.answer_tokens, self.job.seed)
        return [
            Response(row, one.text, "answered" if one.stopped else "truncated", one.tokens)
            for row, one in zip(rows, drawn, strict=True)
        ]

    def _moved(self, teacher: Responses) -> list[Response]:
        rows = list(teacher.rows())
        items = self.source.training(self.job.pairs, self.job.seed)
        texts = moved(items, [row.text for row in rows])
        return [
            Response(row.prompt, text, "answered") for row, text in zip(rows, texts, strict=True)
        ]
