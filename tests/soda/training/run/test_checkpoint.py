"""A run's state on the disk: there and back, damaged, torn, and of another number of processes."""

import json
import shutil

import pytest
import torch

from soda.errors import ModelError
from soda.training.model.processes import Processes
from soda.training.run.checkpoint import Checkpoints, local_tensors
from soda.training.run.optimizer import make_optimizer
from soda.training.run.position import Position
from tests.soda.training.plain import Silent


class Run:
    """A module in training: its weights, its optimizer, and where it is saved."""

    def __init__(self, folder, *, half):
        torch.manual_seed(0)
        self.module = Silent(8, 8)
        self.optimizer = make_optimizer(self.module, 1e-2, 0.0, half=half)
        self.pushed = []
        self.checkpoints = Checkpoints(folder, Processes(), self.pushed.append)

    def step(self):
        noise = torch.randn(8, 8)  # the random numbers are a part of the state
        (self.module.weight.float() * noise).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @property
    def parts(self):
        return {"policy": self.module}, {"optimizer": self.optimizer}

    def save(self, step, **options):
        tensors = local_tensors(*self.parts)
        self.checkpoints.save(Position(0, step), tensors, b"%d lines" % step, **options)

    def state(self):
        return {name: tensor.clone() for name, tensor in local_tensors(*self.parts).items()}


@pytest.fixture(params=[False, True], ids=["float32", "half"])
def run(request, tmp_path):
    return Run(tmp_path / "work", half=request.param)


@pytest.fixture
def saved(tmp_path):
    """A run with two checkpoints, after steps 1 and 2."""
    run = Run(tmp_path / "work", half=False)
    for step in (1, 2):
        run.step()
        run.save(step)
    run.checkpoints.wait()
    return run


def test_a_restored_run_goes_on_bit_for_bit(run, tmp_path):
    for _ in range(3):
        run.step()
    run.save(3)
    run.checkpoints.wait()
    run.step()
    expected = run.state()

    other = Run(tmp_path / "work", half=expected["policy/weight"].dtype == torch.bfloat16)
    found = other.checkpoints.latest()
    assert (found.position, found.metrics) == (Position(0, 3), b"3 lines")
    found.restore(*other.parts)
    other.step()
    assert other.state().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in other.state().items())


def test_a_state_is_copied_before_training_goes_on(run):
    before = run.state()
    run.save(0)
    run.step()
    run.checkpoints.wait()
    found = run.checkpoints.latest()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in before.items())


def test_a_run_goes_back_to_before_its_first_step(run):
    start = run.state()
    run.save(0, now=True)
    run.step()
    first = run.state()
    run.step()
    run.checkpoints.latest().restore(*run.parts)
    assert torch.equal(run.state()["policy/weight"], start["policy/weight"])
    run.step()  # with the same random numbers and no memory of gradients: the same step
    assert torch.equal(run.state()["policy/weight"], first["policy/weight"])


def test_two_are_kept_and_the_store_is_told(saved, tmp_path):
    saved.save(3, now=True)
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == ["checkpoint-0-0000002", "checkpoint-0-0000003"]
    assert saved.pushed == [False, False, True]
    assert saved.checkpoints.newest == Position(0, 3)


def test_the_best_is_kept_beside_them(saved, tmp_path):
    for step in (3, 4, 5):
        saved.save(step, best=Position(0, 2), now=True)
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == [f"checkpoint-0-{step:07}" for step in (2, 4, 5)]
    found = saved.checkpoints.read(Position(0, 2))
    assert (found.position, found.metrics) == (Position(0, 2), b"2 lines")
    saved.save(6, best=Position(0, 6), now=True)
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == [f"checkpoint-0-{step:07}" for step in (5, 6)]


def test_a_damaged_one_that_is_asked_for_by_name_is_refused(saved, tmp_path):
    truncate(tmp_path / "work" / Position(0, 1).name / "state-00000.safetensors")
    with pytest.raises(ModelError, match=r"expected a whole checkpoint, found .*; remove .*work"):
        saved.checkpoints.read(Position(0, 1))


def test_nothing_saved_is_nothing_found(tmp_path):
    assert Run(tmp_path / "work", half=False).checkpoints.latest() is None


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


DAMAGE = [
    ("state-00000.safetensors", truncate),
    ("state-00000.safetensors", flip),
    ("state-00000.safetensors", remove),
    ("state-00000.safetensors", empty),
    ("checkpoint.json", remove),
    ("checkpoint.json", empty),
    ("checkpoint.json", truncate),
    ("metrics.jsonl", remove),
    ("metrics.jsonl", truncate),
]


@pytest.mark.parametrize(
    ("name", "damage"), DAMAGE, ids=[f"{name}-{damage.__name__}" for name, damage in DAMAGE]
)
def test_a_damaged_one_is_passed_over_and_it_is_said(saved, tmp_path, capsys, name, damage):
    damage(tmp_path / "work" / Position(0, 2).name / name)
    found = saved.checkpoints.latest()
    assert (found.position, found.metrics) == (Position(0, 1), b"1 lines")
    error = capsys.readouterr().err
    assert "train: checkpoint-0-0000002 is damaged (" in error and "the one before" in error
    saved.save(2, now=True)  # it takes the place of the damaged one
    assert saved.checkpoints.latest().position == Position(0, 2)


class OneOfTwo(Processes):
    """A process beside another whose own share of the newest checkpoint is damaged."""

    others = ("its share is cut off",)

    def gather(self, found):
        problems, self.others = self.others, ()
        return [*found, *problems]


def test_all_processes_go_back_where_the_share_of_one_is_damaged(saved, tmp_path, capsys):
    found = Checkpoints(tmp_path / "work", OneOfTwo(), saved.pushed.append).latest()
    assert found.position == Position(0, 1)
    error = capsys.readouterr().err
    assert "train: checkpoint-0-0000002 is damaged (its share is cut off)" in error


def test_where_all_are_damaged_the_run_begins_anew(saved, tmp_path, capsys):
    for step in (1, 2):
        remove(tmp_path / "work" / Position(0, step).name / "checkpoint.json")
    assert saved.checkpoints.latest() is None
    assert capsys.readouterr().err.count("is damaged") == 2


def test_a_writer_that_was_killed_leaves_nothing_that_counts(saved, tmp_path, capsys):
    unfinished = tmp_path / "work" / "unfinished"
    shutil.copytree(tmp_path / "work" / Position(0, 2).name, unfinished)
    truncate(unfinished / "state-00000.safetensors")
    (unfinished / "checkpoint.json").unlink()
    (unfinished / "of another run").write_text("")
    assert saved.checkpoints.latest().position == Position(0, 2)
    assert "damaged" not in capsys.readouterr().err
    saved.save(3, now=True)
    assert not unfinished.exists()
    files = sorted(path.name for path in (tmp_path / "work" / Position(0, 3).name).iterdir())
    assert files == ["checkpoint.json", "metrics.jsonl", "state-00000.safetensors"]


def test_another_number_of_processes_is_refused(saved, tmp_path):
    path = tmp_path / "work" / Position(0, 2).name / "checkpoint.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "processes": 4}))
    with pytest.raises(ModelError, match="expected the 4 processes that saved it, found 1"):
        saved.checkpoints.latest()


def test_what_goes_wrong_in_the_background_is_raised_where_one_waits(tmp_path):
    (tmp_path / "work").write_text("a file where the folder should be")
    run = Run(tmp_path / "work", half=False)
    run.save(1)
    with pytest.raises(OSError):
        run.checkpoints.wait()
    run.checkpoints.wait()  # once


def test_frozen_weights_are_not_saved():
    module = torch.nn.Sequential(Silent(), Silent())
    module[0].requires_grad_(False)
    assert list(local_tensors({"policy": module}, {})) == ["policy/1.weight"]
