"""Datasets in every form -> prompts with stable ids and a split that never moves."""

import json
import random

import pytest

import soda
from soda.errors import ConfigError, DataError
from soda.stage import load_stage


def prepare(tmp_path, rows, name="data.jsonl", out="out", **config):
    path = tmp_path / name
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return from_file(tmp_path, path, out, **config)


def from_file(tmp_path, path, out="out", **config):
    config = {"dataset": str(path), **config}
    return soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / out)


def test_text_and_chat_prompts_ids_and_expected_are_kept(tmp_path):
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    answered = [*chat, {"role": "assistant", "content": "cut off"}]
    rows = [{"prompt": "a", "expected": 7}, {"messages": answered, "id": 5}, {"prompt": chat[1:]}]
    one, two, three = prepare(tmp_path, rows).rows()
    assert one.messages == [{"role": "user", "content": "a"}] and one.expected == "7"
    assert two.messages == chat and two.id == "5"
    assert three.messages == chat[1:] and len(three.id) == 16


def test_rows_out_and_drops_add_up_to_rows_in(tmp_path):
    only_system = [{"role": "system", "content": "x"}]
    rows = [{"prompt": "a"}, {"prompt": "a"}, {"prompt": " "}, {"prompt": "b"}]
    rows += [{"messages": only_system}, {"prompt": None}]
    made = prepare(tmp_path, rows)
    assert made.manifest.drops == {"duplicate": 1, "empty_prompt": 3}
    assert len(made) + sum(made.manifest.drops.values()) == len(rows)
    drops = (made.path / "drops.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in drops].count("duplicate") == 1


def test_the_split_does_not_move_when_rows_are_added_or_shuffled(tmp_path):
    rows = [{"prompt": f"question {number}"} for number in range(300)]
    before = {row.id: row.split for row in prepare(tmp_path, rows[:200], "a.jsonl", "a").rows()}
    random.Random(0).shuffle(rows)
    after = {row.id: row.split for row in prepare(tmp_path, rows, "b.jsonl", "b").rows()}
    assert before.items() <= after.items()
    counts = {split: list(after.values()).count(split) for split in set(after.values())}
    assert 15 <= counts["test"] <= 45 and 15 <= counts["validation"] <= 45
    salted = prepare(tmp_path, rows, "b.jsonl", "c", split_salt="x").rows()
    assert {row.id: row.split for row in salted} != after


def test_csv_parquet_json_and_jsonl_give_the_same_prompts(tmp_path):
    import pandas

    rows = [{"prompt": "a, b", "expected": "x"}, {"prompt": "line\nbreak", "expected": "y"}]
    table = pandas.DataFrame(rows)
    table.to_csv(tmp_path / "data.csv", index=False)
    table.to_parquet(tmp_path / "data.parquet")
    (tmp_path / "data.json").write_text(json.dumps(rows))
    expected = list(prepare(tmp_path, rows, out="jsonl").rows())
    for form in ("csv", "parquet", "json"):
        assert list(from_file(tmp_path, tmp_path / f"data.{form}", form).rows()) == expected


def test_csv_cells_are_text_as_they_stand(tmp_path):
    table = 'id,prompt,expected\n01,"two\nlines",7\n02,None,\n03,12,NA\n04,,x\n'
    made = prepare(tmp_path, table, "data.csv")
    assert [(row.id, row.messages[0]["content"], row.expected) for row in made.rows()] == [
        ("01", "two\nlines", "7"),  # 7 and not 7.0, though one row has no number
        ("02", "None", None),
        ("03", "12", "NA"),
    ]
    assert made.manifest.drops == {"empty_prompt": 1}


def test_chat_messages_in_a_table(tmp_path):
    import pandas

    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "cut off"}]
    pandas.DataFrame({"messages": [chat]}).to_parquet(tmp_path / "data.parquet")
    assert [row.messages for row in from_file(tmp_path, tmp_path / "data.parquet").rows()] == [
        chat[:1]
    ]


def test_limit_takes_the_first_rows(tmp_path):
    rows = [{"prompt": "a"}, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]
    made = prepare(tmp_path, rows, limit=3.0)  # Kubeflow's 3
    assert [row.messages[0]["content"] for row in made.rows()] == ["a", "b"]
    assert made.manifest.config["limit"] == 3


def test_a_system_prompt_is_put_in_where_there_is_none(tmp_path):
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]
    rows = [{"prompt": "a"}, {"messages": own}]
    one, two = prepare(tmp_path, rows, system_prompt="mine").rows()
    assert one.messages[0] == {"role": "system", "content": "mine"} and two.messages == own


def test_the_same_dataset_elsewhere_gives_the_same_digest(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    one = prepare(tmp_path, [{"prompt": "a"}])
    other = prepare(tmp_path, [{"prompt": "a"}], "elsewhere/other.jsonl", "other")
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"text": "a"}], "row 1: expected a column 'messages' or 'prompt', found 'text'"),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], "found '1' twice"),
        ('{"prompt": "a"}\n{"prom', "data.jsonl:2: expected JSON"),
        ("[1]\n", "data.jsonl:1: expected an object"),
        ([{"messages": [{"role": "robot", "content": "x"}]}], "expected role system, user or"),
        ([{"messages": [{"role": "user"}]}], "expected messages with role and content"),
        ('{"prompt": "\\ud800"}\n', "half a surrogate pair"),
        ('{"prompt": "a", "id": "\\ud800"}\n', "half a surrogate pair"),
        ('{"prompt": "a", "expected": "\\ud800"}\n', "half a surrogate pair"),
        ([{"prompt": 5}], "row 1: expected text or a list of messages, found 5"),
        ([{"prompt": {"text": "a"}}], "expected text or a list of messages, found {'text': 'a'}"),
        ("", "expected prompts, found none"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(tmp_path, rows, problem):
    with pytest.raises(DataError, match=problem):
        prepare(tmp_path, rows)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("data.jsonl", b'{"prompt": "a"}\n{"prompt": "\xe9"}\n', "data.jsonl:2: expected JSON"),
        ("data.csv", b"prompt\n\xe9\n", "data.csv: expected CSV, found"),
        ("data.csv", b'prompt\n"a', "data.csv: expected CSV, found"),
        ("data.csv", b"prompt,id\na,1\nb,2,3\n", "data.csv:3: expected 2 cells"),
        ("data.csv", b"", "expected prompts, found none"),
        ("data.json", b"", "expected prompts, found none"),
        ("data.json", b'[{"prompt": "a"}, {', "data.json: expected json rows"),
        ("data.parquet", b"PAR1", "data.parquet: expected parquet rows"),
        ("data.txt", b"a", "data.txt: expected .jsonl, .json, .parquet, .csv, found '.txt'"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, name, data, problem):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=problem):
        from_file(tmp_path, tmp_path / name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"dataset": "no/such"}, "revision: expected the commit"),
        ({"dataset": "no/such", "revision": "main"}, "revision: expected the commit"),
        ({"dataset": "none.jsonl"}, "expected a dataset file or a hub id"),
        ({"dataset": "DATA", "dataset_digest": "0" * 64}, "expected sha256 000000000000"),
        ({"dataset": "DATA", "prompt_column": "q"}, "expected a column 'q', found 'prompt'"),
        ({"dataset": "DATA", "test_share": 0.5, "validation_share": 0.5}, "below 1"),
    ],
)
def test_wrong_configs_are_refused(tmp_path, config, problem):
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n')
    if config["dataset"] == "DATA":
        config = {**config, "dataset": str(tmp_path / "data.jsonl")}
    with pytest.raises((ConfigError, DataError), match=problem):
        soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pinned_config_holds_the_files_digest(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n')
    config = load_stage("prepare-prompts").config
    parsed = config.parse({"dataset": str(tmp_path / "data.jsonl")})
    assert len(parsed.dataset_digest) == 64
