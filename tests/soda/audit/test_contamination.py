import tracemalloc

import numpy as np
import pytest

from soda.audit.contamination import HeldOut, measure_recall

LONG = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes "
    "muffins for her friends every day with four. How much does she make at the market?"
)
SHORT = "Who painted the ceiling of the Sistine Chapel?"
TINY = "Who wrote Hamlet?"


def words(draw, count):
    return " ".join(f"w{number}" for number in draw.integers(0, 5_000, size=count))


@pytest.fixture
def held_out():
    return HeldOut([("long", LONG), ("short", SHORT), ("tiny", TINY), ("empty", "")])


@pytest.mark.parametrize(
    ("prompt", "item", "how"),
    [
        (LONG, "long", "exact"),
        (LONG.upper().replace(".", "!"), "long", "normalized"),
        (f"Solve this:\n{LONG}\nShow your work.", "long", "n-gram"),
        (" ".join(LONG.split()[3:20]), "long", "n-gram"),
        ("WHO painted the ceiling - of the Sistine\nchapel", "short", "normalized"),
        (f"Please tell me: {SHORT} Thanks.", "short", "n-gram"),
        ("who wrote hamlet", "tiny", "normalized"),
    ],
)
def test_an_item_is_found_however_it_is_written(held_out, prompt, item, how):
    match = held_out.find(prompt)
    assert (match.item, match.how) == (item, how)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "How do I lay eggs?",
        " ".join(LONG.split()[:9]),
        "Who painted the ceiling of the Vatican?",
        "Tell me who wrote Hamlet and why.",  # too short to be more than chance
    ],
)
def test_other_prompts_are_left_alone(held_out, prompt):
    assert held_out.find(prompt) is None


def test_a_script_without_spaces_has_words_too():
    held_out = HeldOut([("zh", "请用三句话解释一下为什么天空在白天看起来是蓝色的")])
    assert (
        held_out.find("你好!请用三句话解释一下为什么天空在白天看起来是蓝色的?谢谢").how == "n-gram"
    )
    assert held_out.find("请用三句话解释一下为什么海水是咸的") is None


def test_a_benchmarks_own_template_is_no_contamination():
    template = "Read the following question with care and answer with one of the letters A to D"
    draw = np.random.default_rng(0)
    held_out = HeldOut([(str(n), f"{template}: {words(draw, 20)}") for n in range(100)])
    assert held_out.find(f"{template}: is water wet?") is None
    assert held_out.find(f"{template}: {words(np.random.default_rng(0), 20)}").item == "0"


def test_recall_is_measured_on_planted_items():
    draw = np.random.default_rng(1)
    items = {str(n): words(draw, 6 + n % 40) for n in range(120)}
    found = measure_recall(items, count=100)
    assert {way: one["recall"] for way, one in found.items()} == {
        "verbatim": 1.0,
        "reformatted": 1.0,
        "embedded": 1.0,
        "short": 1.0,
    }
    assert found["short"]["planted"] == 21 and found["verbatim"]["planted"] == 100


def test_recall_says_where_items_are_too_short_to_be_found():
    found = measure_recall({"a": TINY, "b": "Who wrote Faust?", "c": SHORT})
    assert found["verbatim"]["recall"] == 1
    assert found["embedded"]["recall"] == found["short"]["recall"] == pytest.approx(1 / 3)


def test_memory_does_not_grow_with_the_prompts():
    draw = np.random.default_rng(2)
    held_out = HeldOut([(str(n), words(draw, 40)) for n in range(500)])

    def peak(count):
        tracemalloc.start()
        found = sum(held_out.find(words(draw, 30)) is not None for _ in range(count))
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found == 0
        return high

    peak(200)  # the words' hashes are kept: as many as there are words, at most 131,072
    assert peak(2_000) < peak(200) + 1_000_000
