"""A phase says what it trains; what runs it asks for no name."""

from soda.training.run.phase import Phase, Turn
from tests.soda.training.plain import PAIRS, Silent, dpo, setup_of


def test_the_loop_trains_the_first_of_what_a_phase_trains():
    modules = {"policy": Silent(), "second": Silent()}
    phase = Phase("x", 1, modules, {"second": 0.1, "policy": 0.2}, begin=lambda start: None)
    assert phase.trainee is modules["second"] and phase.learning_rate == 0.1
    assert phase.largest(PAIRS[0]) is PAIRS[0]


def test_a_turn_without_more_to_change_changes_nothing():
    turn = Turn(PAIRS[:2], dpo(PAIRS[:2]))
    assert turn.temperature == 1 and turn.sums == {}
    turn.finish()


def test_a_training_of_several_processes_is_left_after_a_step_only(tmp_path):
    setup = setup_of(tmp_path)
    assert not setup.interrupted()
    setup.interrupt.came = True
    assert setup.interrupted()
    setup.processes.count = 2
    assert not setup.interrupted()
