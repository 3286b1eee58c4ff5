import random
import re

import pytest

from bench.quality.cells import PRESETS
from bench.quality.journal import write_cell
from bench.quality.table import main

CHANGE = {3e-6: 0.03, 1e-5: -0.2}  # of SODA beside SeqKD of as many passes, by its rate
RIGHT = {3e-6: 0.1, 1e-5: -0.1}


def figures(setting, cell, draw, prompts=50, checkable=1.0):
    """Plant figures of one student: prompts, seeds and chance all move them."""
    of_prompts = random.Random(1)  # some are harder, for all students
    of_seed = draw.gauss(0, 0.01)
    change, right = CHANGE.get(cell.rate, 0.0), 0.5 + RIGHT.get(cell.rate, 0.0)
    hard = [of_prompts.gauss(-1, 0.5) for _ in range(prompts)]
    known = [of_prompts.random() < checkable for _ in range(prompts)]
    return {
        "setting": setting,
        "of": 13,
        "machine": "two cores",
        "right": [int(draw.random() < right) if each else None for each in known],
        "logp": [each + change + of_seed + draw.gauss(0, 0.1) for each in hard],
        "rouge_l": [0.5] * prompts,
        "tokens": [10] * prompts,
        "train_s": 60.0,
        "measure_s": 30.0,
    }


def rows(text):
    """Return the cells of all rows of tables."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    return [row for row in found if set(row) != {"---"}]


def ends(cell):
    return [float(number) for number in re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cell).groups()]


def test_intervals_hold_the_planted_difference(tmp_path, capsys):
    draw, trials = random.Random(0), 40
    for trial in range(trials):
        for cell in PRESETS["cpu"].cells():
            write_cell(tmp_path / "journal", cell, figures(f"cpu {trial}", cell, draw))
    main([str(tmp_path / "journal")])
    found = rows(capsys.readouterr().out)
    held = {"logp": 0, "right": 0}
    for name, rate in (("SODA 3e-6, beta 0.1", 3e-6), ("SODA 1e-5, beta 0.1", 1e-5)):
        own = [row for row in found if row[1] == name]
        assert len(own) == trials
        for row in own:
            middle, low, high = ends(row[5])
            assert low < middle < high
            held["logp"] += low <= CHANGE[rate] <= high
            _, low, high = ends(row[3])
            held["right"] += low <= 100 * RIGHT[rate] <= high
    assert min(held.values()) >= 0.9 * 2 * trials
    # and they are not so wide that they hold anything
    worse = [ends(row[5])[2] < 0 for row in found if row[1] == "SODA 1e-5, beta 0.1"]
    assert sum(worse) > 0.75 * trials


def test_what_nobody_can_check_is_left_out_of_the_share_of_right_answers(tmp_path, capsys):
    for share, name in ((0.3, "some"), (0.0, "none")):
        draw = random.Random(0)
        for cell in PRESETS["free-cpu"].cells():
            told = figures(f"free-cpu {name} 1234", cell, draw, checkable=share)
            told["right"] = [None if each is None else 1 for each in told["right"]]
            write_cell(tmp_path / name, cell, told)
        main([str(tmp_path / name)])
        text = capsys.readouterr().out
        shown = {row[2] for row in rows(text) if row[0] == "128"}
        assert shown == ({"100.0"} if share else {""})
        assert ("100.0 % right" in text) == bool(share)
        assert "student " + name + ", prompts 1234." in text


def test_each_axis_has_a_table_of_its_jobs_beside_seqkd_of_as_many_passes(tmp_path, capsys):
    draw = random.Random(0)
    for cell in PRESETS["free-gpu"].cells():
        if cell.job.seed < 2:
            write_cell(tmp_path / "journal", cell, figures("free-gpu a b", cell, draw, prompts=8))
    main([str(tmp_path / "journal")])
    text = capsys.readouterr().out
    tables = dict(re.findall(r"\n([^\n|]+):\n\n((?:\|.*\n)+)", text))
    values = {
        title.partition(" (")[0]: {row[0] for row in rows(t)[1:]} for title, t in tables.items()
    }
    assert values == {
        "The teacher": {"50%", "75%", "100%"},
        "The number of pairs": {"40", "80", "160", "640", "2560"},
        "The warm-up's epochs": {"1", "3", "6"},
        "DPO's rate and beta": {"160"},
        "Whose answers are rejected": {"160"},
    }
    epochs = rows(next(t for title, t in tables.items() if "epochs (" in title))
    assert epochs[0][3] == "beside equal passes"
    for value, name, _, beside, *_ in epochs[1:]:
        assert (beside == "") == (name == f"SeqKD x{int(value) + 1}")
    assert {row[-1] for t in tables.values() for row in rows(t)[1:]} == {"2"}
    rejects = rows(next(t for title, t in tables.items() if title.startswith("Whose")))
    assert [row[1] for row in rejects[3:]] == [
        "SODA 1e-5, beta 0.1",
        "SODA 1e-5, beta 0.1, rejects: warmed",
        "SODA 1e-5, beta 0.1, rejects: moved",
    ]


def test_only_seeds_of_both_are_compared(tmp_path, capsys):
    for cell in PRESETS["cpu"].cells():
        if cell.method == "sft" and cell.epochs == 4 and cell.job.seed == 0:
            continue
        planted = figures("cpu a", cell, random.Random(cell.job.seed))
        planted["logp"] = [cell.job.seed + (cell.method == "dpo")] * 50
        write_cell(tmp_path / "journal", cell, planted)
    main([str(tmp_path / "journal")])
    [row] = [row for row in rows(capsys.readouterr().out) if row[1].startswith("SODA 3e-6")]
    assert row[-1] == "3"
    assert row[4] == "2.000"
    assert ends(row[5]) == pytest.approx([1, 1, 1])
