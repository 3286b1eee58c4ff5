import pytest

from bench.quality.cells import PRESETS
from bench.quality.tasks import TASKS, Tasks, make_items


def test_a_seed_gives_the_same_items():
    assert make_items(60, seed=3) == make_items(60, seed=3)
    assert make_items(60, seed=3) != make_items(60, seed=4)


def test_a_smaller_number_gives_the_first_of_the_larger():
    assert make_items(40, seed=1) == make_items(90, seed=1)[:40]
    assert Tasks().training(40, seed=1) == Tasks().training(90, seed=1)[:40]


def test_all_tasks_come_in_turn_and_no_prompt_twice():
    items = make_items(600, seed=0)
    assert len({item.prompt for item in items}) == 600
    counts = {task: sum(item.task == task for item in items) for task in TASKS}
    assert set(counts.values()) == {100}


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].prompts == "tasks"])
def test_no_training_item_is_held_out(name):
    preset = PRESETS[name]
    held_out = {item.prompt for item in Tasks().held_out(preset.held_out)}
    assert len(held_out) == preset.held_out
    for job in {cell.job for cell in preset.cells() if cell.job.pairs}:
        training = [item.prompt for item in Tasks().training(job.pairs, job.seed)]
        assert len(set(training)) == job.pairs
        assert held_out.isdisjoint(training)


def test_a_good_answer_is_right_and_a_poor_one_is_not():
    for item in make_items(600, seed=7):
        assert item.holds(item.answer), item
        assert not item.holds(item.poor), item


def test_of_several_answers_the_last_counts():
    item = next(item for item in make_items(6, seed=0) if item.task == "lookup")
    other = item.others[0]
    assert item.holds(f"Not {other} but {item.expected}.")
    assert not item.holds(f"Not {item.expected} but {other}.")
    assert not item.holds("I do not know.")
