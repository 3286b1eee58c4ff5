"""Sets that papers report on: definitions are data, rows come from a file or a commit."""

import json

import pytest

from soda.dataset.task_set import TASK_SETS, open_task_set, task_set_digests
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
    before = one.digest
    written(path, [{"prompt": "Other"}])
    assert open_task_set(str(path)).digest != before


def test_a_digest_says_how_a_file_is_read_too(tmp_path):
    """The same file with another definition has other prompts, by another name other ids."""
    path = written(tmp_path / "vicuna-80.jsonl")
    texts = [str(path), f"vicuna-80={path}", f"dolly-500={path}"]
    assert len({open_task_set(text).digest for text in texts}) == 3
    moved = written(tmp_path / "v.jsonl")
    assert open_task_set(f"vicuna-80={moved}").digest == open_task_set(texts[1]).digest


def test_a_set_may_be_named_where_its_file_is_not_to_be_seen(tmp_path):
    found = open_task_set(f"vicuna-80={tmp_path}/later.jsonl")
    assert found.digest == "" and task_set_digests([]) == {}
    with pytest.raises(ConfigError, match="vicuna-80: expected a file, found none at"):
        list(found.tasks())


def test_rows_that_hold_no_prompt_are_told_with_their_reason(tmp_path):
    path = written(tmp_path / "mine.jsonl", [*ROWS, {"prompt": "Three?", "expected": [3, "three"]}])
    path.write_text(path.read_text() + "no JSON\n" + '{"prompt": [{"role": "user"}]}\n')
    dropped = []
    found = list(open_task_set(str(path)).tasks(lambda *told: dropped.append(told)))
    assert [task.id for task in found] == ["mine:1", "mine:2", "mine:4"]
    assert found[-1].expected == [3, "three"] and found[0].expected is None
    assert [(key, reason) for key, reason, _ in dropped] == [
        ("mine:3", "empty_prompt"),
        ("mine:5", "bad_row"),
        ("mine:6", "bad_row"),
    ]
    assert dropped[1][2].startswith("line 5: expected JSON")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vicuna-80", "expected the commit of its hub dataset, vicuna-80@<40 hex digits>"),
        ("vicuna-8", "did you mean 'vicuna-80'?"),
        ("nothing/there", "expected a task set or a file"),
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
