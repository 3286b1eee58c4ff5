"""Where SODA beats SeqKD of the same number of passes: one student a cell, many seeds.

    python -m bench.quality.grid --preset cpu --model FOLDER --journal FILE [--seconds 2700]

Each cell's student is trained by the product's own stages from a seed's prompts and a teacher as
good as the cell says; its figures on the same held-out prompts are one line of the journal. Cells
that are in the journal are not run again. `bench.quality.table` reads it.
"""

import argparse
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import soda
from bench.quality.cells import PRESETS, Cell, Job, Preset, jobs_of
from bench.quality.cost import estimate, minutes_left
from bench.quality.free_form import QUICKSTART, FreeForm, read_free_form
from bench.quality.items import Source
from bench.quality.journal import read_journal, write_cell
from bench.quality.tasks import Tasks
from soda.student.chat import ChatFormat

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a worker is told once."""

    preset: Preset
    source: Source
    base: Path
    work: Path
    journal: Path
    deadline: float  # as time.time() gives it
    setting: str  # preset, student and prompts: figures of another one are not these cells'
    estimates: Mapping[Cell, float]  # seconds, of the cells to run
    processes: int


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


def _machine() -> str:
    """Say what the figures were measured on."""
    import torch

    card = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if card else f"{os.cpu_count()} cores"
    return f"{device}, torch {torch.__version__}, transformers {version('transformers')}"


def _run_job(run: Run, job: Job, cells: list[Cell]) -> int:
    """Run a job's cells until the deadline; return how many."""
    from bench.quality.measure import measure
    from bench.quality.students import Students

    students = Students(run.preset, job, run.source, run.base, run.work)
    held_out = run.source.held_out(run.preset.held_out)
    for done, cell in enumerate(cells):
        if time.time() > run.deadline:
            return done
        begin = time.perf_counter()
        _make_room()
        student = students.of(cell)
        trained = time.perf_counter()
        figures: dict[str, Any] = measure(student, held_out, run.preset.answer_tokens)
        ended = time.perf_counter()
        figures |= {"train_s": round(trained - begin, 1), "measure_s": round(ended - trained, 1)}
        told = {"setting": run.setting, "of": len(run.preset.cells()), "machine": _machine()}
        write_cell(run.journal, cell, told | figures)
        _tell(run, cell)
        if cell.method == "dpo" or cell.epochs > job.warm_epochs:
            shutil.rmtree(student)  # of the others, DPO begins with the warmed-up one
    shutil.rmtree(students.folder)
    return len(cells)


def _tell(run: Run, cell: Cell) -> None:
    """Say what a cell took and how long the others take, by all that were run so far."""
    taken = {
        one: figures["train_s"] + figures["measure_s"]
        for one, figures in read_journal(run.journal)
        if figures["setting"] == run.setting and one in run.estimates
    }
    left = minutes_left(run.estimates, taken, run.processes)
    print(
        f"seed {cell.job.seed}, {cell}: {taken[cell]:.0f} s, estimated {run.estimates[cell]:.0f}; "
        f"cells left: {len(run.estimates) - len(taken)}, about {left:.0f} minutes",
        flush=True,
    )


def _run_all(run: Run, threads: int) -> int:
    """Run all jobs, several at once; a job that fails is told of and leaves the others alone.

    Returns:
        How many jobs failed.
    """
    context = multiprocessing.get_context("spawn")
    begin, done, failed = time.time(), 0, 0
    with ProcessPoolExecutor(run.processes, context, _prepare, (threads,)) as pool:
        jobs = jobs_of(run.estimates)
        running = {pool.submit(_run_job, run, job, cells): job for job, cells in jobs.items()}
        for future in as_completed(running):
            error = future.exception()
            failed += error is not None
            done += 0 if error else future.result()
            told = f"failed: {error!r}" if error else f"{future.result()} cells"
            print(f"{time.time() - begin:5.0f} s: {running[future]}: {told}", flush=True)
    print(f"{done} cells in {time.time() - begin:.0f} s, {failed} jobs failed", flush=True)
    return failed


def _within(preset: Preset, source: FreeForm) -> Preset:
    """Leave out numbers of pairs that a file has too few prompts for, and say so.

    Raises:
        DataError: there are too few for the job that all axes leave from.
    """
    source.training(preset.centre.pairs, preset.centre.seed)
    wanted = preset.axes.get("pairs", ())
    fitting = tuple(pairs for pairs in wanted if pairs <= len(source))
    for pairs in wanted:
        if pairs not in fitting:
            print(f"left out: {pairs} pairs; there are {len(source)} prompts to train on")
    return replace(preset, axes={**preset.axes, "pairs": fitting})


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--model", required=True, help="a source as import-student takes it")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument(
        "--prompts", type=Path, help="JSONL of prompts and answers; default: the quickstart's"
    )
    parser.add_argument("--work", type=Path, help="a folder for what is unfinished; it may be lost")
    parser.add_argument("--seconds", type=float, default=2700, help="no cell begins after these")
    parser.add_argument("--processes", type=int, default=1, help="jobs at once, on one device")
    parser.add_argument("--threads", type=int, default=2, help="of each")
    found = parser.parse_args(words)
    if found.prompts and PRESETS[found.preset].prompts == "tasks":
        parser.error(f"--prompts: expected a preset of free-form prompts, found {found.preset}")
    return found


def _plan(arguments: argparse.Namespace, work: Path) -> Run:
    """Import the student, read the prompts, and see which cells the journal lacks."""
    deadline = time.time() + arguments.seconds
    base = soda.run(
        "import-student", inputs={}, config={"source": arguments.model}, out=work / "base"
    )
    assert isinstance(base, soda.Model)
    preset = PRESETS[arguments.preset]
    setting = f"{arguments.preset} {base.weights_digest[:12]}"
    source: Source = Tasks()
    if preset.prompts == "free-form":
        source = read_free_form(arguments.prompts or QUICKSTART, work / "prompts")
        preset = _within(preset, source)
        setting += f" {source.digest[:12]}"
    found = read_journal(arguments.journal)
    kept = {cell for cell, figures in found if figures["setting"] == setting}
    missing = [cell for cell in preset.cells() if cell not in kept]
    estimates = estimate(preset, missing, source, ChatFormat.load(base.path))
    left = minutes_left(estimates, {}, arguments.processes)
    print(
        f"{setting}: {len(kept)} cells are in the journal, {len(missing)} are not; these take "
        f"about {left:.0f} minutes, if each process has two quiet cores and a student of 135M",
        flush=True,
    )
    return Run(
        preset,
        source,
        base.path,
        work,
        arguments.journal,
        deadline,
        setting,
        estimates,
        arguments.processes,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run what the journal lacks; return 1 if a job failed, 2 if nothing could begin."""
    arguments = _arguments(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("SODA_STORE", None)  # what a cell leaves behind is removed
    arguments.journal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            run = _plan(arguments, arguments.work or Path(temporary))
        except soda.SodaError as error:
            print(error, file=sys.stderr)
            return 2
        return int(_run_all(run, arguments.threads) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
