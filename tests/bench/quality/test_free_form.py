import json

import pytest

from bench.quality.cells import PRESETS
from bench.quality.free_form import QUICKSTART, read_free_form
from soda.errors import SodaError


def prompts(items):
    return [json.dumps(item.messages) for item in items]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return read_free_form(QUICKSTART, tmp_path_factory.mktemp("quickstart"))


def save(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_quickstarts_prompts_are_split_once_and_for_all(quickstart, tmp_path):
    again = read_free_form(QUICKSTART, tmp_path)
    assert again.digest == quickstart.digest
    held_out = prompts(quickstart.held_out(1000))
    assert held_out == prompts(again.held_out(1000))
    assert held_out[:20] == prompts(quickstart.held_out(20))
    training = prompts(quickstart.training(len(quickstart), seed=0))
    assert len(held_out) + len(training) == 264
    assert set(held_out).isdisjoint(training)
    assert 0.2 < len(held_out) / 264 < 0.4


def test_a_seed_draws_its_prompts_and_smaller_numbers_its_first(quickstart):
    drawn = prompts(quickstart.training(100, seed=1))
    assert drawn == prompts(quickstart.training(100, seed=1))
    assert drawn[:30] == prompts(quickstart.training(30, seed=1))
    assert drawn != prompts(quickstart.training(100, seed=2))
    assert len(set(drawn)) == 100


def test_the_presets_find_enough_prompts_in_the_quickstart(quickstart):
    for preset in PRESETS.values():
        if preset.prompts == "free-form":
            assert preset.centre.pairs <= len(quickstart)


def test_only_a_prompt_with_an_expected_answer_can_be_checked(tmp_path):
    rows = [
        {"prompt": f"What is {n} + 1?", "response": f"It is {n + 1}.", "expected": str(n + 1)}
        if n % 2
        else {"prompt": f"Greet {n}.", "response": f"Hello, {n}."}
        for n in range(60)
    ]
    found = read_free_form(save(tmp_path / "rows.jsonl", rows), tmp_path / "work")
    items = [*found.held_out(60), *found.training(len(found), seed=0)]
    assert len(items) == 60
    for item in items:
        checkable = item.messages[-1]["content"].startswith("What")
        assert item.holds(item.answer) is (True if checkable else None)
        assert item.holds("no") is (False if checkable else None)


def test_answers_that_were_cut_off_are_left_out(tmp_path):
    rows = [
        {
            "prompt": f"Count to {n}.",
            "response": "1, 2",
            "finish_reason": "stop" if n % 3 else "length",
        }
        for n in range(60)
    ]
    found = read_free_form(save(tmp_path / "rows.jsonl", rows), tmp_path / "work")
    assert len(found) + len(found.held_out(60)) == 40


def test_too_few_prompts_are_refused(quickstart):
    with pytest.raises(SodaError, match=r"expected 5000 prompts to train on, found \d+"):
        quickstart.training(5000, seed=0)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SodaError, match=r"nowhere\.jsonl"):
        read_free_form(tmp_path / "nowhere.jsonl", tmp_path / "work")
