import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.quality import table
from bench.quality.cells import PRESETS
from bench.quality.grid import main
from bench.quality.journal import read_journal
from bench.quality.measure import measure
from bench.quality.students import Students
from bench.quality.tasks import Tasks
from tests.fakes.student import save_student

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("student"))


def arguments(preset, model, folder):
    words = {"preset": preset, "model": model, "journal": folder / "journal", "threads": 1}
    return [word for name, value in words.items() for word in (f"--{name}", str(value))]


@contextmanager
def started(words):
    """Run the grid in a process of its own, which is killed where the test leaves it."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.quality.grid", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_killed_in_the_middle_it_runs_what_is_missing_and_nothing_twice(model, tmp_path, capfd):
    journal, work = tmp_path / "journal", tmp_path / "work"
    words = [*arguments("tiny", model, tmp_path), "--work", str(work)]
    with started(words) as first:
        while len(list(read_journal(journal))) < 2:
            assert first.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.communicate()  # its worker ends too, and lets go of the pipe
    cells = PRESETS["tiny"].cells()
    kept = len(list(read_journal(journal)))
    assert 2 <= kept < len(cells)
    with journal.open("a") as file:
        file.write('{"cell":{"seed":0,"good_sh')  # as if it had been killed at this
    before = journal.read_bytes()

    assert main(words) == 0
    told = capfd.readouterr().out
    assert f"{kept} cells are in the journal, {len(cells) - kept} are not" in told
    assert "cells left: 0," in told
    assert journal.read_bytes().startswith(before)
    found = dict(read_journal(journal))
    assert len(list(read_journal(journal))) == len(cells)
    assert found.keys() == set(cells)
    assert not list(work.glob("0-*")), "no job's folder is left"

    # what was trained in two runs is what one would have given
    cell = next(cell for cell in cells if cell.rejects == "moved")
    students = Students(PRESETS["tiny"], cell.job, Tasks(), work / "base", tmp_path / "alone")
    alone = measure(students.of(cell), Tasks().held_out(12), PRESETS["tiny"].answer_tokens)
    assert alone == {name: found[cell][name] for name in alone}


@pytest.mark.slow
def test_free_form_prompts_from_end_to_end(model, tmp_path, capsys):
    assert main(arguments("free-tiny", model, tmp_path)) == 0
    found = dict(read_journal(tmp_path / "journal"))
    assert found.keys() == set(PRESETS["free-tiny"].cells())
    for figures in found.values():
        assert figures["setting"].startswith("free-tiny ")
        assert len(figures["logp"]) == len(figures["right"]) == 12
    table.main([str(tmp_path / "journal")])
    text = capsys.readouterr().out
    assert f"{len(found)} of {len(found)} cells" in text
    assert "Whose answers are rejected" in text


def test_prompts_of_ones_own_are_for_free_form_presets(model, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments("tiny", model, tmp_path), "--prompts", "rows.jsonl"])
    assert stopped.value.code == 2
    expected = "--prompts: expected a preset of free-form prompts, found tiny"
    assert expected in capsys.readouterr().err


def test_a_file_with_too_few_prompts_is_refused_in_one_line(model, tmp_path, capsys):
    rows = [{"prompt": f"Say {n}.", "response": f"{n}!"} for n in range(10)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [*arguments("free-tiny", model, tmp_path), "--prompts", str(file)]
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{file}: expected 16 prompts to train on, found ")
    assert not (tmp_path / "journal").exists()
