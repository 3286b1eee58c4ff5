import itertools
import json

import pytest

from bench.quality.cells import PRESETS, Cell, Job, jobs_of


@pytest.fixture(params=PRESETS)
def preset(request):
    return PRESETS[request.param]


def test_every_axis_leaves_from_the_centre(preset):
    centre = preset.centre
    jobs = {cell.job for cell in preset.cells() if cell.method != "base"}
    walked = {(axis, value) for axis, values in preset.axes.items() for value in values}
    found = set()
    for job in jobs:
        steps = {
            (name, value)
            for name, value in job._asdict().items()
            if name != "seed" and value != getattr(centre, name)
        }
        assert len(steps) <= 1, "one step from the centre"
        found |= steps
    assert found == walked
    assert {job.seed for job in jobs} == set(range(preset.seeds))
    assert len(jobs) == preset.seeds * (1 + len(walked))


def test_every_soda_has_a_seqkd_of_as_many_passes_beside_it(preset):
    cells = set(preset.cells())
    for cell in cells:
        if cell.method == "dpo":
            assert Cell(cell.job, "sft", cell.job.warm_epochs) in cells, "its warm-up"
            assert Cell(cell.job, "sft", cell.job.warm_epochs + 1) in cells


def test_cells_come_once_with_one_base_student(preset):
    cells = preset.cells()
    assert len(cells) == len(set(cells))
    assert sum(cell.method == "base" for cell in cells) == 1


def test_rates_betas_and_rejects_are_walked_at_the_centre_alone(preset):
    usual = {(rate, preset.beta, "student") for rate in preset.rates}
    found = {}
    for cell in preset.cells():
        if cell.method == "dpo":
            found.setdefault(cell.job, set()).add((cell.rate, cell.beta, cell.rejects))
    grid = {(*each, "student") for each in itertools.product(preset.grid_rates, preset.grid_betas)}
    grid |= {(preset.rejects_rate, preset.beta, source) for source in preset.rejects}
    for job, own in found.items():
        at_centre = job._replace(seed=0) == preset.centre
        assert own == (usual | grid if at_centre else usual)


def test_on_two_cores_each_kind_has_a_table_with_seeds_enough_for_an_interval():
    for name in ("cpu", "free-cpu"):
        assert PRESETS[name].seeds >= 3


def test_a_cell_is_the_same_after_json(preset):
    for cell in preset.cells():
        assert Cell.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_jobs_hold_all_cells_seed_after_seed_and_the_longest_first():
    cells = PRESETS["gpu"].cells()
    jobs = jobs_of(reversed(cells))
    assert sorted(map(str, itertools.chain(*jobs.values()))) == sorted(map(str, cells))
    assert all(cell.job == job for job, own in jobs.items() for cell in own)
    seeds = [job.seed for job in jobs]
    assert seeds == sorted(seeds)
    first = [job.pairs for job in jobs if job.seed == 0]
    assert first[0] == max(first) and first[-1] == 0


def test_a_cell_is_named_as_in_a_table():
    job = Job(0, 1.0, 128, 5e-5, 3)
    assert str(Cell(job, "sft", 4)) == "SeqKD x4"
    assert str(Cell(job, "dpo", rejects="student", rate=3e-6, beta=0.1)) == "SODA 3e-6, beta 0.1"
    other = Cell(job, "dpo", rejects="moved", rate=1e-5, beta=0.3)
    assert str(other) == "SODA 1e-5, beta 0.3, rejects: moved"
