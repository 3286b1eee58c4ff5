"""Text, numbers and alternatives are each compared as what they are."""

import pytest

from soda.expected import is_right


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("12", "7 + 5 is 12.", True),
        ("12", "It is 120.", False),
        ("07", "7", False),
        ("Mount  Everest", "MOUNT\nEVEREST", True),
        ("Mount Everest", "Mount Everests", False),
        ("東京", "答えは東京です", True),
        (42, "12 + 30 is 42.", True),
        (42, "x = 42.0", True),
        (42, "forty-two", False),
        (42, "It is 42.5 or 142.", False),
        (42, "42 or 43", False),
        (42, "-42", False),
        (42, r"so \boxed{42}, see step 3", True),
        (42, "#### 42\n(7 steps)", True),
        (42, "", False),
        (1000, "1,000 metres", True),
        (1234.5, "1.2345e3", True),
        (-3, "10 - 13 = -3", True),
        (-3, "\u22123", True),
        (-3, "10-3", False),
        (0.1, "0.10", True),
        (0, "0", True),
        (0, "1", False),
        (5, "答えは５です", True),
        ([42, "forty-two"], "Forty-two!", True),
        ([42, "forty-two"], "It is 41.", False),
        ([], "anything", False),
    ],
)
def test_each_kind_of_expected_answer_is_compared_as_what_it_is(expected, answer, right):
    assert is_right(expected, answer) is right


def test_a_number_may_be_off_by_the_tolerance():
    assert is_right(1234.5, "1234.58", tolerance=0.1)
    assert not is_right(1234.5, "1234.7", tolerance=0.1)
