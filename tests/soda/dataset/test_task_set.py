"""Sets that papers report on: definitions are data, rows come from a file or a commit."""

import json

import pytest

from soda.dataset.task_set import TASK_SETS, open_task_set
from soda.errors import ConfigError, DataError

ROWS = [
    {"instruction": "Sort these.", "input": "b a", "output": "a b"},
    {"instruction": "Say hello.", "input": "", "output": ["hello", "hi"]},
    {"instruction": " ", "output": "nothing was asked"},
]


def written(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", TASK_SETS)
def test_every_definition_reads_a_file_of_ones_own(tmp_path, name, capsys):
    rows = [{"instruction": "Sort these.", "prompt": "Sort these.", "output": "a b"}]
    found = open_task_set(f"{name}={written(tmp_path / 'set.jsonl', rows)}")
    (task,) = found.tasks()
    assert (task.id, task.text, task.reference) == (f"{name}:1", "Sort these.", "a b")
    assert f"{name}: 1 prompts; papers report on" in capsys.readouterr().err


def test_the_papers_sets_are_there():
    assert TASK_SETS == ("dolly-500", "lmsys-500", "self-instruct-252", "vicuna-80")


def test_a_context_goes_below_its_prompt_and_a_row_without_a_prompt_is_left_out(tmp_path):
    found = list(open_task_set(f"dolly-500={written(tmp_path / 'd.jsonl')}").tasks())
    assert [task.text for task in found] == ["Sort these.\n\nb a", "Say hello."]
    assert [task.reference for task in found] == ["a b", "hello"]


def test_a_file_alone_is_a_set_and_its_digest_follows_its_content(tmp_path):
    path = written(tmp_path / "mine.jsonl", [{"messages": [{"role": "user", "content": "Hi"}]}])
    one = open_task_set(str(path))
    assert one.name == "mine" and [task.text for task in one.tasks()] == ["Hi"]
    written(path, [{"prompt": "Other"}])
    assert open_task_set(str(path)).digest != one.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vicuna-80", "expected the commit of its hub dataset, vicuna-80@<40 hex digits>"),
        ("vicuna-8", "did you mean 'vicuna-80'?"),
        ("nothing/there.jsonl", "expected a task set or a file"),
    ],
)
def test_what_is_no_set_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        open_task_set(text)


def test_a_commit_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="40 hex digits"):
        next(open_task_set("vicuna-80@main").tasks())


def test_a_set_without_prompts_is_refused(tmp_path):
    with pytest.raises(DataError, match="mine: expected prompts, found none"):
        list(open_task_set(str(written(tmp_path / "mine.jsonl", [{"other": 1}]))).tasks())
