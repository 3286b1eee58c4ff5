"""One phase: when it looks, when it saves, and where it goes back to."""

import pytest
import torch

from soda.artifacts.intermediate import Intermediate
from soda.storage import Place
from soda.training.objectives.preference import preference_phase
from soda.training.run.checkpoint import Checkpoints
from soda.training.run.metrics import Metrics, Row
from soda.training.run.phase_run import PhaseRun
from soda.training.run.position import Position
from tests.soda.training.plain import PAIRS, setup_of

VALUES = {
    "batch_size": 2,  # 6 pairs: three steps an epoch
    "check_every_steps": 2,
    "health": {"answers": 0, "accuracy": "off"},
}


class Run:
    def __init__(self, folder, *, rate=1e-4, epochs=2, validation=tuple(PAIRS[:3]), **changes):
        self.setup = setup_of(folder / "work", validation=validation, **{**VALUES, **changes})
        self.checkpoints = Checkpoints(folder / "work", self.setup.processes, lambda now: None)
        self.metrics = Metrics(folder / "metrics.jsonl", self.before(folder))
        phase = preference_phase(self.setup, rate, epochs)
        self.run = PhaseRun(self.setup, phase, 0, self.checkpoints, self.metrics, 100)
        self.kept = Intermediate(Place.of(folder / "references"))
        self.saved = []
        self.checkpoints.save = self.saving(self.checkpoints.save)

    def before(self, folder):
        latest = Checkpoints(folder / "work", self.setup.processes, lambda now: None).latest()
        return latest.metrics if latest else b""

    def saving(self, save):
        def note(position, *arguments, **options):
            self.saved.append(position.step)
            save(position, *arguments, **options)

        return note

    def go(self):
        self.run.begin(self.checkpoints.latest(), self.kept, first=True)
        return self.go_on()

    def go_on(self):
        return self.run.run()

    def checked(self):
        return list(self.metrics.checks(0))


def test_it_looks_and_saves_before_the_first_step_now_and_then_and_at_the_end(tmp_path):
    run = Run(tmp_path, epochs=1)
    assert run.go() is None
    assert run.checked() == run.saved == [0, 2, 3]


def test_without_validation_examples_it_saves_only(tmp_path):
    run = Run(tmp_path, epochs=1, validation=())
    assert run.go() is None
    assert (run.checked(), run.saved) == ([], [0, 2, 3])


def test_the_first_loss_is_that_of_the_reference(tmp_path):
    run = Run(tmp_path, epochs=1)
    run.go()
    first = run.metrics.checks(0)[0]
    assert first.chosen_reward == pytest.approx(0, abs=1e-5) and first.accuracy is not None


def test_it_goes_back_to_the_last_good_checkpoint(tmp_path):
    run = Run(tmp_path, rate=0.5, loss={"beta": 10.0})
    before = [one.detach().clone() for one in run.setup.policy.parameters()]
    problem = run.go()
    assert "the validation chosen reward fell to" in problem
    assert problem.endswith("at dpo step 2; back to checkpoint-0-0000000")
    assert run.saved == [0]
    assert all(map(torch.equal, before, run.setup.policy.parameters()))


def test_a_warning_is_said_and_it_goes_on(tmp_path, capsys):
    health = {"answers": 0, "chosen_reward": "warn"}
    run = Run(tmp_path, rate=0.5, loss={"beta": 10.0}, health=health)
    assert run.go() is None
    assert "at dpo step 2: going on" in capsys.readouterr().err


def test_what_is_wrong_from_the_start_trains_nothing(tmp_path):
    run = Run(tmp_path, loss={"beta": 10.0})
    before = [one.detach().clone() for one in run.setup.policy.parameters()]
    run.run.begin(None, run.kept, first=True)
    with torch.no_grad():  # after the reference: the first check finds another model
        run.setup.policy.model.get_input_embeddings().weight.mul_(50)
        before[0].mul_(50)
    assert run.go_on().endswith("; nothing was trained")
    assert all(map(torch.equal, before, run.setup.policy.parameters()))


def test_a_check_that_sigterm_cut_short_is_made_by_the_next_run(tmp_path):
    run = Run(tmp_path)
    run.run.begin(None, run.kept, first=True)
    run.setup.interrupt.came = True
    with pytest.raises(SystemExit):
        run.run.run()
    assert (run.checked(), run.saved) == ([], [0])
    again = Run(tmp_path)
    assert again.go() is None
    assert again.checked() == [0, 2, 4, 6]
    assert again.saved == [0, 2, 4, 6]


def test_a_check_that_was_made_is_not_made_again(tmp_path):
    run = Run(tmp_path, epochs=1)
    run.go()
    again = Run(tmp_path, epochs=1)
    again.metrics.write(Row(Position(0, 99), "dpo", again.metrics.checks(0)[3]))
    assert again.go() is None
    assert again.checked() == [0, 2, 3, 99] and again.saved == []
