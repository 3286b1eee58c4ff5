import pytest

from bench.quality.free_form import FreeItem
from bench.quality.items import moved, teacher_answers
from bench.quality.tasks import make_items

FREE = [FreeItem([{"role": "user", "content": f"Say {n}."}], f"{n}!") for n in range(400)]


def never(items):
    raise AssertionError("the base student was asked")


def echo(items):
    return [f"echo: {item.messages[-1]['content']}" for item in items]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.0])
def test_the_teacher_is_right_as_often_as_asked(share):
    items = make_items(3000, seed=5)
    answers = teacher_answers(items, share, 0, never)
    right = sum(item.holds(answer) for item, answer in zip(items, answers, strict=True)) / 3000
    assert right == pytest.approx(share, abs=0.03)  # more than three standard errors


def test_a_good_answer_stays_good_when_the_share_grows():
    items = make_items(600, seed=5)

    def good(share):
        answers = teacher_answers(items, share, 1, never)
        return {place for place, item in enumerate(items) if answers[place] == item.answer}

    assert good(0.3) < good(0.6) < good(1.0)
    assert len(good(1.0)) == 600


def test_seeds_differ_in_which_answers_are_good():
    items = make_items(600, seed=5)
    assert teacher_answers(items, 0.5, 1, never) == teacher_answers(items, 0.5, 1, never)
    assert teacher_answers(items, 0.5, 1, never) != teacher_answers(items, 0.5, 2, never)


def test_where_no_poor_answer_is_written_the_base_student_gives_it():
    answers = teacher_answers(FREE, 0.75, 0, echo)
    own = [place for place, answer in enumerate(answers) if answer.startswith("echo: ")]
    assert len(own) == pytest.approx(100, abs=30)
    assert all(answers[place] == echo([FREE[place]])[0] for place in own)
    kept = set(range(400)) - set(own)
    assert all(answers[place] == FREE[place].answer for place in kept)


def test_a_teacher_that_is_always_good_costs_no_answer_of_the_student():
    assert teacher_answers(FREE, 1.0, 0, never) == [item.answer for item in FREE]


def test_moved_answers_stay_within_their_task():
    items = make_items(60, seed=2)
    answers = [f"{item.task} {place}" for place, item in enumerate(items)]
    found = moved(items, answers)
    assert sorted(found) == sorted(answers)
    for item, own, other in zip(items, answers, found, strict=True):
        assert other != own
        assert other.startswith(item.task)
