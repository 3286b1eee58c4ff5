"""One phase: when it looks, when it saves, which weights it ends with."""

import pytest
import torch

from soda.artifacts.intermediate import Intermediate
from soda.storage import Place
from soda.training.model.examples import Example
from soda.training.model.processes import Processes
from soda.training.objectives.preference import preference_phase
from soda.training.objectives.reference import Reference
from soda.training.objectives.sft import sft_phase
from soda.training.run.checkpoint import Checkpoints
from soda.training.run.metrics import Metrics
from soda.training.run.phase_run import Ending, PhaseRun
from tests.soda.training.plain import PAIRS, setup_of

VALUES = {
    "batch_size": 2,  # 6 pairs: three steps an epoch
    "check_every_steps": 2,
    "health": {"answers": 0, "accuracy": "off"},
}
WARN = {"health": {**VALUES["health"], "chosen_reward": "warn"}}


class Run:
    """A preference phase on tiny pairs; or another one, made of its setup."""

    def __init__(self, folder, *, validation=tuple(PAIRS[:3]), phase=None, number=0, **changes):
        changes = {"learning_rate": 1e-4, "epochs": 1, **VALUES, **changes}
        self.setup = setup = setup_of(folder / "work", validation=validation, **changes)
        self.checkpoints = Checkpoints(folder / "work", setup.processes, lambda now: None)
        self.latest = self.checkpoints.latest()
        self.metrics = Metrics(
            folder / "metrics.jsonl", self.latest.metrics if self.latest else b""
        )
        rate, epochs, _ = setup.config.schedule
        phase = (phase or preference_phase)(setup, rate, epochs)
        self.minutes = 0.0
        self.run = PhaseRun(setup, phase, number, self.checkpoints, self.metrics, 100, self.clock)
        self.kept = Intermediate(Place.of(folder / "references"))
        self.saved = []
        self.checkpoints.save = self.noting(self.checkpoints.save)

    def clock(self):
        return 60 * self.minutes

    def noting(self, save):
        def note(position, *arguments, **options):
            self.saved.append(position.step)
            save(position, *arguments, **options)

        return note

    def go(self):
        self.run.begin(self.latest, self.kept)
        return self.run.run()

    def weights(self):
        return [one.detach().clone() for one in self.setup.policy.parameters()]

    def checks(self):
        return {at.step: figures for at, figures in self.metrics.checks(0).items()}


def best_sft(setup, rate, epochs):
    return sft_phase(setup, rate, epochs, keeps_best=True)


def same(some, others):
    return all(map(torch.equal, some, others))


def test_it_looks_and_saves_before_the_first_step_now_and_then_and_at_the_end(tmp_path):
    run = Run(tmp_path)
    logp = run.go().chosen_logp
    assert list(run.checks()) == run.saved == [0, 2, 3]
    assert logp == run.checks()[3].chosen_logp


def test_without_validation_examples_it_saves_only(tmp_path):
    run = Run(tmp_path, validation=())
    assert run.go() == Ending(3, 3, "last step")
    assert (run.checks(), run.saved) == ({}, [0, 2, 3])


def test_the_first_check_is_that_of_the_reference(tmp_path):
    run = Run(tmp_path)
    run.go()
    first = run.checks()[0]
    assert first.chosen_reward == pytest.approx(0, abs=1e-5) and first.accuracy is not None


def test_it_saves_after_some_minutes_whatever_the_steps(tmp_path):
    run = Run(tmp_path, check_every_steps=100, epochs=2, checkpoint_minutes=10)
    reached = run.run.reached

    def taking_4_minutes(position, figures):
        run.minutes += 4
        return reached(position, figures)

    run.run.reached = taking_4_minutes
    run.go()
    assert run.saved == [0, 3, 6] and list(run.checks()) == [0, 6]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_saved_by_the_clock_and_killed_it_ends_with_the_same_bits(tmp_path, step):
    whole = Run(tmp_path / "whole", check_every_steps=100, epochs=2)
    whole.go()
    run = Run(tmp_path / "killed", check_every_steps=100, epochs=2)
    reached = run.run.reached

    def killed(position, figures):
        run.minutes += 11 * (position.step == step)
        going_on = reached(position, figures)
        if position.step == step:
            raise KeyboardInterrupt
        return going_on

    run.run.reached = killed
    with pytest.raises(KeyboardInterrupt):
        run.go()
    run.checkpoints.wait()
    again = Run(tmp_path / "killed", check_every_steps=100, epochs=2)
    assert again.latest.position.step == step
    again.go()
    assert same(again.weights(), whole.weights())
    assert again.checks() == whole.checks()


def test_it_goes_back_to_the_last_good_checkpoint(tmp_path):
    run = Run(tmp_path, learning_rate=0.5, loss={"beta": 10.0})
    before = run.weights()
    ending = run.go()
    assert "the validation chosen reward fell to" in ending.problem
    assert ending.problem.endswith("at dpo step 2; back to checkpoint-0-0000000")
    assert (ending.step, ending.chosen_by, run.saved) == (0, "health", [0])
    assert same(before, run.weights())


def test_a_warning_is_said_and_it_goes_on(tmp_path, capsys):
    run = Run(tmp_path, learning_rate=0.5, loss={"beta": 10.0}, **WARN)
    assert run.go().problem is None
    assert "at dpo step 2: going on" in capsys.readouterr().err


def test_what_is_wrong_from_the_start_trains_nothing(tmp_path):
    run = Run(tmp_path, loss={"beta": 10.0})
    run.run.begin(None, run.kept)
    with torch.no_grad():  # after the reference: the first check finds another model
        run.setup.policy.model.get_input_embeddings().weight.mul_(50)
    before = run.weights()
    assert run.run.run().problem.endswith("; nothing was trained")
    assert same(before, run.weights())


def test_what_was_not_trained_has_lost_no_bits_to_bf16(tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "half", True)  # as on one GPU
    run = Run(tmp_path, loss={"beta": 10.0})
    before = run.weights()
    run.run.begin(None, run.kept)
    run.run._reference = Reference({pair.id: [0.0, 0.0] for pair in PAIRS})  # another model's
    assert run.run.run().problem.endswith("; nothing was trained")
    assert same(before, run.weights())


def test_a_later_phase_that_begins_badly_does_not_go_back_to_the_one_before(tmp_path):
    Run(tmp_path, phase=best_sft).go()
    run = Run(tmp_path, number=1, phase=best_sft)
    run.latest = None
    with torch.no_grad():
        run.setup.policy.model.get_input_embeddings().weight.fill_(torch.nan)
    ending = run.go()
    assert (ending.step, ending.chosen_by) == (0, "health")
    assert ending.problem.endswith("; nothing was trained")


def test_a_check_that_sigterm_cut_short_is_made_by_the_next_run(tmp_path):
    run = Run(tmp_path, epochs=2)
    run.setup.interrupt.came = True
    with pytest.raises(SystemExit):
        run.go()
    assert (run.checks(), run.saved) == ({}, [0])
    again = Run(tmp_path, epochs=2)
    again.go()
    assert list(again.checks()) == again.saved == [0, 2, 4, 6]


def test_a_check_that_was_made_is_not_made_again(tmp_path):
    run = Run(tmp_path)
    ending = run.go()
    again = Run(tmp_path)
    assert again.go() == ending
    assert again.saved == [] and again.checks() == run.checks()


# The best checkpoint of the warm-up.

OVERSHOOTS = {"learning_rate": 0.01, "epochs": 6, "optimizer": {"warmup_share": 0.0}}
APART = tuple(  # answers that become likelier first, and less so as PAIRS are learned by heart
    Example(pair.id, pair.prompt, pair.answers[1:]) for pair in PAIRS if len(pair.answers[1])
)


def test_it_ends_where_validation_was_best(tmp_path, capsys):
    run = Run(tmp_path, validation=APART, phase=best_sft, **OVERSHOOTS)
    ending = run.go()
    checks = {step: figures.chosen_logp for step, figures in run.checks().items()}
    best = max(checks, key=checks.get)
    assert 0 < best < 18  # neither the start nor the end: it learned, and then too much
    assert ending == Ending(best, 18, "validation log-likelihood", checks[best])
    assert (
        f"train: keeping the checkpoint of step {best} of 18: the best" in capsys.readouterr().err
    )
    kept = {path.name for path in (tmp_path / "work").glob("checkpoint-*")}
    assert kept == {f"checkpoint-0-{step:07}" for step in (best, 16, 18)}
    state = run.checkpoints.latest()
    assert state.position.step == 18 and not torch.equal(
        state.tensors["policy/model.lm_head.weight"], run.setup.policy.model.lm_head.weight
    )


def test_killed_after_its_best_checkpoint_it_ends_with_the_same_bits(tmp_path):
    whole = Run(tmp_path / "whole", validation=APART, phase=best_sft, **OVERSHOOTS)
    ending = whole.go()
    run = Run(tmp_path / "killed", validation=APART, phase=best_sft, **OVERSHOOTS)
    reached = run.run.reached

    def killed(position, figures):
        if position.step == 15:
            raise KeyboardInterrupt
        return reached(position, figures)

    run.run.reached = killed
    with pytest.raises(KeyboardInterrupt):
        run.go()
    run.checkpoints.wait()
    again = Run(tmp_path / "killed", validation=APART, phase=best_sft, **OVERSHOOTS)
    assert again.go() == ending
    assert same(again.weights(), whole.weights())


def test_where_training_only_harms_the_start_is_the_best(tmp_path):
    run = Run(tmp_path, phase=best_sft, learning_rate=50.0)
    before = run.weights()
    assert run.go().step == 0
    assert same(before, run.weights())


def test_without_validation_rows_it_is_the_last_one_and_the_log_says_so(tmp_path, capsys):
    run = Run(tmp_path, validation=(), phase=best_sft)
    assert run.go() == Ending(3, 3, "last step")
    said = "keeping the checkpoint of step 3 of 3: without validation rows, the last one"
    assert said in capsys.readouterr().err
