import pytest

from soda.audit.funnel import STEPS, build_funnel
from soda.errors import ArtifactError

DROPS = {
    "teacher_missing": 3,
    "teacher_truncated": 5,
    "teacher_refused": 2,
    "same_answer": 4,
    "inverted": 10,
    "contaminated": 1,
    "prompt_too_long": 6,
}


def test_each_step_says_what_is_left_and_why_the_others_went():
    found = build_funnel(100, DROPS, 69)
    assert [(step.name, step.rows) for step in found.steps] == [
        ("prompts", 100),
        ("answered", 97),
        ("not truncated", 92),
        ("not refused", 90),
        ("different", 86),
        ("not inverted", 76),
        ("not contaminated", 75),
        ("kept", 69),
    ]
    assert found.kept == 69 and found.steps[-1].lost == {"prompt_too_long": 6}
    assert sum(sum(step.lost.values()) for step in found.steps) == sum(DROPS.values())


@pytest.mark.parametrize("kept", [68, 70])
def test_a_row_without_a_reason_is_an_error(kept):
    with pytest.raises(ArtifactError, match=f"found {kept} pairs"):
        build_funnel(100, DROPS, kept)


def test_a_reason_that_no_step_knows_is_counted_at_the_last():
    found = build_funnel(10, {"bored": 1, "inverted": 2}, 7)
    assert found.steps[-1].lost == {"bored": 1} and found.kept == 7


def test_nothing_lost_is_a_funnel_too():
    assert build_funnel(7, {}, 7).kept == 7
    assert list(STEPS)[-1] == "kept"
