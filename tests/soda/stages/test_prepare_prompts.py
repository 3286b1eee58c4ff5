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
    assert one.messages == [{"role": "user", "content": "a"}] and one.expected == 7
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


CHAT = [{"role": "user", "content": 'it\'s\n"so"'}, {"role": "assistant", "content": "cut off"}]


@pytest.mark.parametrize("column", ["messages", "prompt"])
@pytest.mark.parametrize("write", [json.dumps, lambda chat: json.dumps(chat, indent=1), repr])
@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.parquet"])
def test_chat_that_is_kept_as_text_is_chat(tmp_path, name, write, column):
    import pandas

    table = pandas.DataFrame({column: [write(CHAT)]})
    if name.endswith("jsonl"):
        table.to_json(tmp_path / name, orient="records", lines=True)
    else:
        getattr(table, f"to_{name[5:]}")(tmp_path / name, index=False)
    [row] = from_file(tmp_path, tmp_path / name).rows()
    assert row.messages == CHAT[:1]


def test_chat_as_numpy_writes_it_into_a_csv_is_chat(tmp_path):
    import pandas

    pandas.DataFrame({"messages": [CHAT, CHAT[:1]]}).to_parquet(tmp_path / "data.parquet")
    pandas.read_parquet(tmp_path / "data.parquet").to_csv(tmp_path / "data.csv", index=False)
    assert "}\n {" in (tmp_path / "data.csv").read_text()
    made = from_file(tmp_path, tmp_path / "data.csv")
    assert [row.messages for row in made.rows()] == [CHAT[:1]]


@pytest.mark.parametrize("text", ["[1, 2]", '[{"a": 1}]', "{'role': 'user'}", "[role, content]"])
def test_text_that_only_looks_a_little_like_chat_is_text(tmp_path, text):
    [row] = prepare(tmp_path, [{"prompt": text}]).rows()
    assert row.messages == [{"role": "user", "content": text}]


def test_parts_of_text_are_one_text(tmp_path):
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    [row] = prepare(tmp_path, [{"messages": [{"role": "user", "content": parts}]}]).rows()
    assert row.messages == [{"role": "user", "content": "a b"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1998-04-07", "1998-04-07"),
        ("07", "07"),
        (" NA ", " NA "),
        (42, 42),
        (42.0, 42),
        (0.5, 0.5),
        (2**70, 2**70),
        (0, 0),
        (True, "true"),
        ([42, "forty-two", None, ""], [42, "forty-two"]),
        ("", None),
        (" \u200b", None),
        ([], None),
        ([""], None),
        (None, None),
        (float("nan"), None),
    ],
)
@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_expected_is_what_the_file_says(tmp_path, name, value, expected):
    rows = [{"prompt": "a", "expected": value}]
    text = json.dumps(rows) if name == "data.json" else json.dumps(rows[0])
    [row] = prepare(tmp_path, text, name).rows()
    assert row.expected == expected and type(row.expected) is type(expected)


def test_a_type_that_changes_after_ten_megabytes_changes_nothing_before(tmp_path):
    long = "x" * 1000
    rows = [{"prompt": f"{n} {long}", "id": n, "expected": "07"} for n in range(11_000)]
    rows.append({"prompt": ["no chat"], "id": 7.5, "expected": {"a": 1}})
    rows.append({"prompt": "last", "id": "x", "expected": [1, "2"]})
    for name, text in (
        ("a.json", json.dumps(rows)),
        ("b.json", "".join(f"{json.dumps(row)}\n" for row in rows)),
    ):
        made = prepare(tmp_path, text, name, name[0])
        assert {str(row.expected) for row in made.rows()} == {"07", "[1, '2']"}
        assert made.manifest.drops == {"bad_row": 1}


def test_parquet_keeps_its_types(tmp_path):
    import datetime
    import decimal

    import pyarrow
    from pyarrow import parquet

    def one(expected, kind=None):
        column = pyarrow.array([expected, None], kind) if kind else pyarrow.array([expected, None])
        table = pyarrow.table({"prompt": ["a", "b"], "expected": column})
        parquet.write_table(table, tmp_path / "data.parquet")
        out = f"out-{len(list(tmp_path.iterdir()))}"
        first, second = from_file(tmp_path, tmp_path / "data.parquet", out).rows()
        assert second.expected is None
        return first.expected

    assert one(42) == 42 and one(["42", "forty-two"]) == ["42", "forty-two"]
    assert one(42.0) == 42 and one(float("nan")) is None
    assert one(0.1, pyarrow.float32()) == 0.1
    assert one(datetime.date(1998, 4, 7)) == "1998-04-07"
    assert one(decimal.Decimal("1.50")) == 1.5 and one(b"old") == "old"
    assert one("1998-04-07") == "1998-04-07"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.csv", b"prompt,id,prompt\na,1,b\n"),
        ("data.tsv", b"prompt\tprompt\na\tb\n"),
        ("data.jsonl", b'{"prompt": "a", "prompt": "b"}\n'),
        ("data.json", b'[{"prompt": "a", "prompt": "b"}]'),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="found 'prompt' twice"):
        from_file(tmp_path, tmp_path / name)


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table([["a"], ["b"]], names=["prompt", "prompt"])
    parquet.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(DataError, match="found 'prompt' twice"):
        from_file(tmp_path, tmp_path / "data.parquet")


def test_one_odd_row_is_a_drop_with_its_line_and_reason(tmp_path):
    lines = [json.dumps({"prompt": f"question {number}", "id": number}) for number in range(300)]
    lines[100] = '{"prompt": "torn'
    lines[200] = json.dumps({"prompt": "again", "id": 7})
    made = prepare(tmp_path, "\n".join(lines))
    assert len(made) == 298 and made.manifest.drops == {"bad_row": 1, "duplicate_id": 1}
    drops = [json.loads(line) for line in (made.path / "drops.jsonl").read_text().splitlines()]
    assert drops[0]["id"] == "line 101"
    assert drops[0]["detail"].startswith("line 101: expected JSON in UTF-8, found: ")
    assert drops[1]["detail"] == "line 201: expected ids that differ, found '7' twice"
    with pytest.raises(DataError, match=r"at most 0.001 .* found 2 of 300: line 101: .*; line 201"):
        prepare(tmp_path, "\n".join(lines), out="strict", max_failed_share=0.001)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('"a"b,1', "expected CSV, found: "),
        ("a", "expected 2 cells, found 1"),
        ("a,b,c", "expected 2 cells, found 3"),
    ],
)
def test_an_odd_row_of_a_csv_is_a_drop(tmp_path, row, problem):
    table = ["id,prompt", *(f"{number},question {number}" for number in range(120))]
    table[60] = row
    made = prepare(tmp_path, "\n".join(table) + "\n", "data.csv")
    assert len(made) == 119
    assert f"line 61: {problem}" in (made.path / "drops.jsonl").read_text()


def test_cells_and_lines_may_be_long_up_to_a_limit(tmp_path, monkeypatch):
    long = "x" * 200_000
    [row] = prepare(tmp_path, f"prompt\n{long}\n", "data.csv").rows()
    assert row.messages[0]["content"] == long
    monkeypatch.setattr("soda.dataset.reading.ROW_BYTES", 100_000)
    with pytest.raises(DataError, match="line 2: expected CSV, found: field larger than field lim"):
        prepare(tmp_path, f"prompt\n{long}\n", "data.csv", "csv")
    rows = [{"prompt": long}, {"prompt": "short"}]
    with pytest.raises(
        DataError, match="found 1 of 2: line 1: expected at most 100000 bytes"
    ) as no:
        prepare(tmp_path, rows, out="jsonl")
    assert len(str(no.value)) < 500
    with pytest.raises(DataError, match="expected a list of objects, found after row 0"):
        prepare(tmp_path, json.dumps(rows), "data.json", out="json")


def test_a_message_about_a_large_value_is_short(tmp_path):
    rows = [{"prompt": ["x" * 5_000_000], "id": 1}]
    with pytest.raises(DataError) as refusal:
        prepare(tmp_path, rows)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.jsonl", b'{"prompt": "a"}\n'),
        ("data.json", b'[\n{"prompt": "a"}\n]\n'),
        ("data.json", b'{"prompt": "a"}\n'),
        ("data.csv", b"prompt\na\n"),
        ("data.tsv", b"prompt\tid\na\t\n"),
    ],
)
def test_marks_and_line_ends_of_windows_are_no_text(tmp_path, name, data, mark, end):
    (tmp_path / name).write_bytes(mark + data.replace(b"\n", end))
    [row] = from_file(tmp_path, tmp_path / name).rows()
    assert row.messages == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.json"])
def test_utf_16_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes("prompt\nä\n".encode("utf-16"))
    with pytest.raises(DataError, match="expected UTF-8, found UTF-16"):
        from_file(tmp_path, tmp_path / name)


def test_a_list_of_many_rows_takes_little_memory(tmp_path):
    import tracemalloc

    from soda.dataset.reading import read_rows

    with (tmp_path / "data.json").open("w") as file:
        file.write("[" + ",\n".join(json.dumps({"prompt": "x" * 200}) for _ in range(20_000)))
        file.write("]")
    tracemalloc.start()
    with (tmp_path / "data.json").open("rb") as file:
        assert sum(not row.problem for row in read_rows(file, ".json", [])) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    tracemalloc.stop()


def test_a_datasets_files_are_read_by_the_same_readers(tmp_path):
    from soda.dataset import hub

    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/train-00000.jsonl").write_text('{"prompt": "1998-04-07", "expected": "07"}\n')
    (tmp_path / "repo/train-00001.jsonl").write_text('{"prompt": "b", "expected": [1, "x"]}\n')
    (tmp_path / "repo/test.jsonl").write_text('{"prompt": "c"}\n')
    rows = [row.values for row in hub.split_rows(str(tmp_path / "repo"), "train", [])]
    assert rows == [
        {"prompt": "1998-04-07", "expected": "07"},
        {"prompt": "b", "expected": [1, "x"]},
    ]
    with pytest.raises(DataError, match="expected the split 'dev', found "):
        list(hub.split_rows(str(tmp_path / "repo"), "dev", []))


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
        ([{"text": "a"}], r"line 1: expected a column 'messages' or 'prompt', found \['text'\]"),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], "found '1' twice"),
        ('{"prompt": "a"}\n{"prom', "line 2: expected JSON"),
        ("[1]\n", "line 1: expected an object"),
        ([{"messages": [{"role": "robot", "content": "x"}]}], "expected role system, user or"),
        ([{"messages": [{"role": "user"}]}], "expected messages with role and content"),
        ('{"prompt": "\\ud800"}\n', "half a surrogate pair"),
        ('{"prompt": "a", "id": "\\ud800"}\n', "half a surrogate pair"),
        ('{"prompt": "a", "expected": "\\ud800"}\n', "half a surrogate pair"),
        ([{"prompt": 5}], "line 1: expected text or a list of messages, found 5"),
        ([{"prompt": {"text": "a"}}], "expected text or a list of messages, found {'text': 'a'}"),
        ("", "expected prompts, found no rows"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(tmp_path, rows, problem):
    with pytest.raises(DataError, match=problem):
        prepare(tmp_path, rows)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("data.jsonl", b'{"prompt": "a"}\n{"prompt": "\xe9"}\n', "line 2: expected JSON"),
        ("data.csv", b"prompt\n\xe9\n", "line 2: expected text, found bytes that are no UTF-8"),
        ("data.csv", b'prompt\n"a', "line 2: expected CSV, found"),
        ("data.csv", b"prompt,id\na,1\nb,2,3\n", "line 3: expected 2 cells, found 3"),
        ("data.csv", b"", "expected prompts, found no rows"),
        ("data.json", b"", "expected prompts, found no rows"),
        ("data.json", b'[{"prompt": "a"}, {', "expected a list of objects, found after row 1"),
        ("data.parquet", b"PAR1", "data.parquet: expected parquet, found"),
        ("data.txt", b"a", "data.txt: expected .*, found '.txt'"),
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
        ({"dataset": "none.jsonl.gz"}, "expected a dataset file or a hub id, found no such file"),
        ({"dataset": "/tmp"}, "expected a dataset file or a hub id, found a folder"),
        ({"dataset": "DATA", "dataset_digest": "0" * 64}, "expected sha256 000000000000"),
        ({"dataset": "DATA", "revision": "main"}, "revision: expected no value, .* found 'main'"),
        ({"dataset": "DATA", "dataset_split": "test"}, "dataset_split: expected no value"),
        ({"dataset": "DATA", "prompt_column": "q"}, r"expected a column 'q', found \['prompt'\]"),
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
