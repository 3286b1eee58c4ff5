"""Phases one after the other, gone on with after every kind of end."""

import threading

import pytest
import torch

from soda.artifacts.intermediate import Intermediate
from soda.storage import Place
from soda.training.objectives.preference import preference_phase
from soda.training.objectives.sft import sft_phase
from soda.training.run.metrics import CheckFigures, StepFigures, read_rows
from soda.training.run.phase_run import Ending
from soda.training.run.trainer import Trainer
from tests.soda.training.plain import PAIRS, setup_of

VALUES = {
    "batch_size": 3,  # 6 pairs: two steps an epoch
    "check_every_steps": 2,
    "health": {"answers": 0, "chosen_reward": "off", "accuracy": "off"},
}


class KilledError(Exception):
    """Ends a run as a lost machine would: nothing is saved on the way out."""


def phases_of(setup, epochs):
    """A phase that compares has to be the first."""
    return [preference_phase(setup, 1e-3, epochs[0]), sft_phase(setup, 1e-2, epochs[1])]


class Run:
    """One try at a training in a folder."""

    def __init__(self, folder, *, epochs=(1, 2), **changes):
        self.setup = setup_of(folder / "work", validation=PAIRS[:2], **{**VALUES, **changes})
        self.log = folder / "metrics.jsonl"
        self.pushed = []
        references = Intermediate(Place.of(folder / "references"))
        self.trainer = Trainer(self.setup, 100, self.log, self.pushed.append, references)
        self.phases = phases_of(self.setup, epochs)

    def go(self):
        return self.trainer.run(self.phases)

    def weights(self):
        return {name: one.detach().clone() for name, one in self.setup.policy.named_parameters()}

    def likelihood(self):
        """Of the last check, on the teacher's validation answers."""
        rows = [row.figures for row in read_rows(self.log.read_bytes())]
        return [row.chosen_logp for row in rows if isinstance(row, CheckFigures)][-1]

    def steps(self):
        rows = read_rows(self.log.read_bytes())
        return [
            (row.name, row.position.step) for row in rows if isinstance(row.figures, StepFigures)
        ]


STEPS = [("dpo", 1), ("dpo", 2), ("sft", 1), ("sft", 2), ("sft", 3), ("sft", 4)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("undisturbed"))
    assert run.go() == Ending(4, 4, "last step", run.likelihood())
    return run


def test_phases_come_in_their_order_and_each_counts_its_steps(undisturbed):
    assert undisturbed.steps() == STEPS
    assert undisturbed.pushed  # every checkpoint is brought where it outlives the machine


def test_a_phase_without_epochs_is_left_out(tmp_path):
    run = Run(tmp_path, epochs=(0, 1))
    assert run.go().steps == 2
    assert run.steps() == [("sft", 1), ("sft", 2)]


@pytest.mark.parametrize("step", range(6))
def test_killed_in_any_step_it_ends_with_the_same_bits(tmp_path, undisturbed, step, monkeypatch):
    """The kill comes after the weights have changed, before anything is written down."""
    run = Run(tmp_path)
    done = []
    real = torch.optim.AdamW.step

    def dying(self, closure=None):
        real(self, closure)
        done.append(1)
        if len(done) == step + 1:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", dying)
        with pytest.raises(KilledError):
            run.go()
    for thread in threading.enumerate():  # the one that writes: a real end would have taken it
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    again = Run(tmp_path)
    assert again.go().problem is None
    assert again.steps() == STEPS
    expected = undisturbed.weights()
    assert all(torch.equal(one, expected[name]) for name, one in again.weights().items())


def test_sigterm_saves_and_the_next_run_goes_on(tmp_path, undisturbed, capsys):
    run = Run(tmp_path)
    run.setup.interrupt.came = True
    with pytest.raises(SystemExit) as ended:
        run.go()
    assert ended.value.code == 143
    assert "stopped by SIGTERM, saved checkpoint-0-0000000" in capsys.readouterr().err
    assert run.pushed[-1] is True  # at once: the machine goes away
    again = Run(tmp_path)
    again.go()
    assert "train: going on from checkpoint-0-0000000" in capsys.readouterr().err
    expected = undisturbed.weights()
    assert all(torch.equal(one, expected[name]) for name, one in again.weights().items())


def test_what_goes_wrong_in_one_phase_ends_the_training(tmp_path):
    run = Run(tmp_path)
    run.phases[0].rates["policy"] = 1e38
    ending = run.go()
    assert ending.problem.startswith("expected finite numbers, found loss ")
    assert ending.problem.endswith("at dpo step 2; back to checkpoint-0-0000000")
    assert (ending.step, ending.chosen_by) == (0, "health")
    assert run.steps() == [("dpo", 1)]


def test_a_training_that_is_done_is_not_done_again(tmp_path, undisturbed):
    Run(tmp_path).go()
    again = Run(tmp_path)
    assert again.go().step == 4
    expected = undisturbed.weights()
    assert all(torch.equal(one, expected[name]) for name, one in again.weights().items())
