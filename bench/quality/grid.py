"""Where SODA beats SeqKD of the same number of passes: trainings on checkable tasks, many seeds.

    python -m bench.quality.grid --preset cpu --model FOLDER --journal FILE [--seconds 5000]

Each cell is a student, trained by the product's own stages from a seed's prompts and a teacher that
is right as often as the cell says; its figures on the same held-out prompts are one line of the
journal. Cells that are in the journal are not run again. `bench.quality.table` reads it.
"""

import argparse
import fcntl
import gc
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soda
from bench.quality.cells import PRESETS, Cell, Job, Preset, jobs_of
from bench.quality.tasks import Item, make_items, teacher_answer

__all__ = ["main", "read_journal"]

_WEAK = (0.25, 96)  # the poor teacher's right share, and how many answers it gives


@dataclass(frozen=True, slots=True)
class Run:
    """What a worker is told once."""

    preset: Preset
    model: Path
    work: Path
    journal: Path
    deadline: float  # as time.time() gives it
    setting: str  # preset and student: figures of another one are not these cells'


def read_journal(path: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield the cells that are done, and their figures; a line cut off by a kill is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        yield Cell.from_json(found.pop("cell")), found


def _write(journal: Path, cell: Cell, figures: dict[str, Any]) -> None:
    line = json.dumps({"cell": cell.to_json(), **figures}, separators=(",", ":"))
    with journal.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"\n{line}\n")  # what a kill cut off stays a line of its own


class _Bench:
    """One job's folder, and the artifacts in it; what is there is not made again."""

    def __init__(self, run: Run, job: Job):
        self.run, self.job = run, job
        name = f"{job.seed}-{job.right_share:g}-{job.pairs}-{job.warm_rate:g}"
        self.folder = run.work / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, out: str, config: dict[str, Any], **inputs: Path) -> Path:
        """Run a stage of the product; return its artifact's folder."""
        made = soda.run(name, inputs=inputs, config=config, out=self.folder / out)
        return Path(made.path)

    def items(self, count: int) -> list[Item]:
        """Return the seed's first training items, none of them among the held-out ones."""
        held_out = {item.prompt for item in make_items(self.run.preset.held_out, seed=0)}
        drawn = make_items(count + len(held_out), seed=1000 + self.job.seed)
        return [item for item in drawn if item.prompt not in held_out][:count]

    def teacher(self, name: str, share: float, count: int) -> tuple[Path, Path]:
        """Return prompts, and the answers of a teacher that is right so often."""
        # A right answer stays right when the share grows: one random number an item.
        draw = random.Random(self.job.seed)
        lines = [
            {"prompt": item.prompt, "response": teacher_answer(item, share, draw)}
            for item in self.items(count)
        ]
        file = self.folder / f"{name}.jsonl"
        text = "".join(json.dumps({**line, "finish_reason": "stop"}) + "\n" for line in lines)
        file.write_text(text, encoding="utf-8")
        whole = {"dataset": str(file), "validation_share": 0.0, "test_share": 0.0}
        prompts = self.stage("prepare-prompts", f"{name}-prompts", whole)
        answers = {"answers": str(file), "probe": False}
        return prompts, self.stage("teacher-gen", f"{name}-answers", answers, prompts=prompts)

    def train(self, out: str, data: Path, model: Path, **values: Any) -> Path:
        """Train without validation rows: to the last step, and stopped by nothing."""
        config = {
            "batch_size": self.run.preset.batch,
            "check_every_steps": 100_000,
            "health": {"answers": 0, "first_loss": "warn"},
            "seed": self.job.seed,
            # Compiling costs each process more than it gives in so short a run.
            "device": {"compile": False, "micro_batch_tokens": 4096},
        }
        return self.stage("train", out, {**config, **values}, data=data, model=model)

    def sft(self, epochs: int) -> Path:
        """Return the student after so many epochs on the teacher's answers."""
        _, teacher = self.teacher("teacher", self.job.right_share, self.job.pairs)
        values = {"method": "sft", "epochs": epochs, "learning_rate": self.job.warm_rate}
        return self.train(f"sft-{epochs}", teacher, self.run.model, **values)

    def warmed(self) -> Path:
        """Return q_w."""
        return self.sft(self.run.preset.warm_epochs)

    def weak(self) -> Path:
        """Return a student that a poor teacher taught a little: the form, and many errors."""
        _, teacher = self.teacher("poor", *_WEAK)
        return self.train("weak", teacher, self.run.model, method="sft", epochs=1)

    def pairs(self, source: str) -> Path:
        """Return pairs of the teacher's answers and the source's."""
        prompts, teacher = self.teacher("teacher", self.job.right_share, self.job.pairs)
        rejects = self._rejects(source, prompts, teacher)
        return self.stage("pair-build", f"pairs-{source}", {}, teacher=teacher, student=rejects)

    def _rejects(self, source: str, prompts: Path, teacher: Path) -> Path:
        from bench.quality.measure import answers_of
        from soda.artifacts.kinds import Model, Prompts, Responses
        from soda.rows import Response
        from soda.stages.snapshot import SnapshotConfig
        from soda.storage import Place
        from soda.student.chat import ChatFormat

        out = self.folder / f"rejects-{source}"
        if out.is_dir():
            return out
        base = self.run.model
        folder = {"warmed": self.warmed, "weak": self.weak}.get(source, lambda: base)()
        rows = list(Prompts.open(prompts).rows())
        most, seed = self.run.preset.answer_tokens, self.job.seed
        if source == "moved":
            texts = self._moved([row.text for row in Responses.open(teacher).rows()])
            answers = [
                Response(row, text, "answered") for row, text in zip(rows, texts, strict=True)
            ]
        else:
            drawn = answers_of(folder, [row.messages[-1]["content"] for row in rows], most, seed)
            answers = [
                Response(row, one.text, "answered" if one.stopped else "truncated", one.tokens)
                for row, one in zip(rows, drawn, strict=True)
            ]
        inputs = {"prompts": Prompts.open(prompts), "model": Model.open(folder)}
        if source == "moved":
            inputs["teacher"] = Responses.open(teacher)
        config = SnapshotConfig(max_new_tokens=most, seed=seed)
        with Responses.create(Place.of(out), config=config, inputs=inputs) as writer:
            for answer in answers:
                Responses.write(writer, answer)
            ChatFormat.load(folder).save(writer.path / Responses.TOKENIZER)
        return out

    def _moved(self, texts: list[str]) -> list[str]:
        """Return for each prompt the teacher's answer to the next one of the same task."""
        places: dict[str, list[int]] = {}
        for place, item in enumerate(self.items(len(texts))):
            places.setdefault(item.task, []).append(place)
        found = list(texts)
        for own in places.values():
            for place, other in zip(own, own[1:] + own[:1], strict=True):
                found[place] = texts[other]
        return found

    def student(self, cell: Cell) -> Path:
        """Train a cell's student, or return it where it is kept."""
        if cell.method == "base":
            return self.run.model
        if cell.method == "sft":
            return self.sft(cell.epochs)
        name = f"dpo-{cell.rejects}-{cell.rate:g}-{cell.beta:g}"
        values = {"method": "dpo", "epochs": 1, "learning_rate": cell.rate}
        values["loss"] = {"name": "dpo", "beta": cell.beta}
        return self.train(name, self.pairs(cell.rejects), self.warmed(), **values)


def _prepare(threads: int) -> None:
    """Set a worker up."""
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Checkpoints are synced to the disk, 3 GB a training; nothing here has to survive a power cut.
    os.fsync = lambda file: None


def _end_with_parent() -> None:
    """End a worker whose parent was killed: it would go on, and keep its pipes open."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _make_room() -> None:
    """Let go of the models of the cell before, and give their memory to the other processes."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _run_job(run: Run, job: Job, cells: list[Cell]) -> int:
    """Run a job's cells until the deadline; return how many."""
    from bench.quality.measure import measure

    bench, held_out = _Bench(run, job), make_items(run.preset.held_out, seed=0)
    for done, cell in enumerate(cells):
        if time.time() > run.deadline:
            return done
        begin = time.perf_counter()
        _make_room()
        student = bench.student(cell)
        trained = time.perf_counter()
        figures: dict[str, Any] = measure(student, held_out, run.preset.answer_tokens)
        ended = time.perf_counter()
        figures |= {"train_s": round(trained - begin, 1), "measure_s": round(ended - trained, 1)}
        _write(run.journal, cell, {"setting": run.setting, **figures})
        if cell.method == "dpo" or cell.epochs > run.preset.warm_epochs:
            shutil.rmtree(student)  # of the others, DPO begins with the warmed-up one
    shutil.rmtree(bench.folder)
    return len(cells)


def _run_all(run: Run, jobs: dict[Job, list[Cell]], processes: int, threads: int) -> None:
    """Run all jobs, several at once; a job that fails is told of and leaves the others alone."""
    context = multiprocessing.get_context("spawn")
    begin, done, failed = time.time(), 0, 0
    with ProcessPoolExecutor(processes, context, _prepare, (threads,)) as pool:
        running = {pool.submit(_run_job, run, job, cells): job for job, cells in jobs.items()}
        for future in as_completed(running):
            error = future.exception()
            failed += error is not None
            done += 0 if error else future.result()
            told = f"failed: {error!r}" if error else f"{future.result()} cells"
            print(f"{time.time() - begin:5.0f} s: {running[future]}: {told}", flush=True)
    print(f"{done} cells in {time.time() - begin:.0f} s, {failed} jobs failed", flush=True)


def main() -> None:
    """Run what the journal lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--model", required=True, help="a source as import-student takes it")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="a folder for what is unfinished; it may be lost")
    parser.add_argument("--seconds", type=float, default=5000, help="no cell begins after these")
    parser.add_argument("--processes", type=int, default=1, help="jobs at once, on one device")
    parser.add_argument("--threads", type=int, default=2, help="of each")
    arguments = parser.parse_args()
    deadline = time.time() + arguments.seconds
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("SODA_STORE", None)  # what a cell leaves behind is removed
    work = arguments.work or Path(tempfile.mkdtemp())
    base = soda.run(
        "import-student", inputs={}, config={"source": arguments.model}, out=work / "base"
    )
    assert isinstance(base, soda.Model)
    preset = PRESETS[arguments.preset]
    setting = f"{arguments.preset}-{base.weights_digest[:12]}"
    run = Run(preset, base.path, work, arguments.journal, deadline, setting)
    arguments.journal.parent.mkdir(parents=True, exist_ok=True)
    kept = {cell for cell, figures in read_journal(run.journal) if figures["setting"] == setting}
    missing = [cell for cell in preset.cells() if cell not in kept]
    print(f"{setting}: {len(kept)} cells are in the journal, {len(missing)} are not", flush=True)
    _run_all(run, jobs_of(missing), arguments.processes, arguments.threads)


if __name__ == "__main__":
    main()
