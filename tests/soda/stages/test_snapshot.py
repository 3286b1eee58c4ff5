"""The student's own answers."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import soda
from soda.artifacts.kinds import Responses
from soda.errors import ConfigError, DataError
from soda.rows import Response
from soda.stages.pair_build import PairBuildConfig
from soda.student.chat import ChatFormat
from tests.fakes.artifacts import make_prompts
from tests.fakes.student import save_base_model, save_student


def snapshot(made, out, **config):
    inputs = {"prompts": made["prompts"].path, "model": made["base"].path}
    return soda.run("snapshot", inputs=inputs, config={"max_new_tokens": 8, **config}, out=out)


def test_every_prompt_gets_one_answer_in_its_place(made):
    student = made["student"]
    assert [row.prompt for row in student.rows()] == list(made["prompts"].rows())
    facts = student.manifest.facts
    assert sum(facts["outcomes"].values()) == len(student)
    assert facts["student"]["weights_digest"] == made["base"].weights_digest
    assert facts["student"]["sampling"]["temperature"] == 0.7
    assert (
        ChatFormat.load(student.path / "tokenizer").template_digest
        == (facts["student"]["template_digest"])
    )


def test_greedy_answers_in_batches_are_those_of_one_at_a_time(made, tmp_path):
    together = snapshot(made, tmp_path / "together", temperature=0, batch_size=16)
    alone = snapshot(made, tmp_path / "alone", temperature=0, batch_size=1)
    assert [row.text for row in together.rows()] == [row.text for row in alone.rows()]


def test_another_seed_draws_other_answers(made, tmp_path):
    other = snapshot(made, tmp_path / "other", seed=1)
    assert [row.text for row in other.rows()] != [row.text for row in made["student"].rows()]


def test_too_long_prompts_are_recorded_not_cut(made, tmp_path):
    short = snapshot(made, tmp_path / "short", max_prompt_tokens=1)
    assert {(row.outcome, row.detail) for row in short.rows()} == {("failed", "prompt_too_long")}


def test_prompts_that_the_template_refuses_are_rows_and_then_drops(tmp_path, capfd):
    source = save_student(tmp_path / "source")
    template = (source / "chat_template.jinja").read_text()
    first = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system') }}{% endif %}"
    (source / "chat_template.jinja").write_text(first + template)
    base = soda.run(
        "import-student", inputs={}, config={"source": str(source)}, out=tmp_path / "base"
    )
    system = {"role": "system", "content": "Be brief."}
    rows = [{"messages": [{"role": "user", "content": f"Say {n}."}]} for n in range(6)]
    rows[2]["messages"].insert(0, system)
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"dataset": str(tmp_path / "data.jsonl"), "test_share": 0, "validation_share": 0}
    prompts = soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / "prompts")
    made = {"prompts": prompts, "base": base}
    student = snapshot(made, tmp_path / "student")
    failed = [row for row in student.rows() if row.outcome == "failed"]
    assert len(student) == 6 and [row.prompt.messages[0] for row in failed] == [system]
    assert failed[0].detail.startswith("template_refused: ")
    assert failed[0].detail.endswith("refused a prompt: No system")
    assert "1 of 6 prompts are not asked: template_refused" in capfd.readouterr().err

    with Responses.create(tmp_path / "teacher", config=PairBuildConfig(), inputs={}) as writer:
        for row in prompts.rows():
            Responses.write(writer, Response(row, "A fine answer.", "answered"))
    inputs = {"teacher": tmp_path / "teacher", "student": student.path}
    pairs = soda.run("pair-build", inputs=inputs, config={}, out=tmp_path / "pairs")
    assert pairs.manifest.drops["template_refused"] == 1
    drops = map(json.loads, (pairs.path / "drops.jsonl").read_text().splitlines())
    assert [row["id"] for row in drops if "No system" in row["detail"]] == [failed[0].prompt.id]

    config = {**config, "system_prompt": "Be brief."}
    made["prompts"] = soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / "all")
    with pytest.raises(DataError, match=r"none that can be asked: template_refused: .*No system"):
        snapshot(made, tmp_path / "none")


@pytest.mark.slow
def test_killed_and_started_again_it_draws_the_same_answers(made, tmp_path):
    undisturbed = snapshot(made, tmp_path / "undisturbed" / "student", group_size=2)
    out = tmp_path / "killed" / "student"
    command = [sys.executable, "-m", "soda", "snapshot", "--out", str(out)]
    command += ["--prompts", str(made["prompts"].path), "--model", str(made["base"].path)]
    command += ["--set", "max_new_tokens=8", "--set", "group_size=2"]
    groups = tmp_path / "killed" / ".soda" / "snapshots"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(groups.glob("*/group-*.json"))) < 3:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in groups.glob("*/group-*.json")}
    assert 3 <= len(kept) < 20 and not out.exists()
    subprocess.run(command, capture_output=True, check=True)
    assert soda.Responses.open(out).digest == undisturbed.digest
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())


def test_after_its_shards_the_whole_asks_for_nothing(made, tmp_path, monkeypatch):
    alone = snapshot(made, tmp_path / "elsewhere" / "alone", group_size=6)
    shards = [
        snapshot(made, tmp_path / f"shard-{n}", group_size=6, shard=f"{n}/3") for n in (1, 2, 3)
    ]
    names = [row.prompt.id for shard in shards for row in shard.rows()]
    assert sorted(names) == sorted(row.prompt.id for row in alone.rows())
    monkeypatch.setattr("soda.stages.snapshot._engine", None)  # it would be called to ask
    whole = snapshot(made, tmp_path / "whole", group_size=6)
    assert whole.digest == alone.digest


def test_further_samples_are_spares_for_the_pairs(made, tmp_path):
    drawn = snapshot(made, tmp_path / "student", samples=3)
    assert len(drawn) == len(made["prompts"])
    spares = list(drawn.spares())
    assert [row.prompt.id for row in spares] == [
        row.id for row in made["prompts"].rows() for _ in range(2)
    ]
    assert len({row.text for row in spares}) > len(spares) / 2


@pytest.fixture
def other(tmp_path):
    """A base model of another family, with another tokenizer and no chat template."""
    source = save_base_model(tmp_path / "source")
    config = {"source": str(source), "template": "plain"}
    return soda.run("import-student", inputs={}, config=config, out=tmp_path / "other")


def test_any_model_may_answer_and_its_answers_say_whose_they_are(made, other, tmp_path):
    inputs = {"prompts": made["prompts"].path, "model": other.path}
    config = {"max_new_tokens": 8, "samples": 2}
    drawn = soda.run("snapshot", inputs=inputs, config=config, out=tmp_path / "drawn")
    assert [row.prompt for row in drawn.rows()] == list(made["prompts"].rows())
    name = f"gpt2-{other.weights_digest[:8]}"
    assert {row.source for row in [*drawn.rows(), *drawn.spares()]} == {name}
    own = f"llama-{made['base'].weights_digest[:8]}"
    assert {row.source for row in made["student"].rows()} == {own}
    candidates = [drawn.path, made["student"].path]
    inputs = {"candidates": candidates, "model": made["base"].path}
    config = {"choose": "most_likely"}
    chosen = soda.run("choose-rejects", inputs=inputs, config=config, out=tmp_path / "chosen")
    inputs = {"teacher": made["teacher"].path, "student": chosen.path}
    pairs = soda.run("pair-build", inputs=inputs, config={}, out=tmp_path / "pairs")
    counts = pairs.manifest.facts["rejected_sources"]
    assert counts.keys() == {name, own} and sum(counts.values()) == len(pairs) == 40
    trained = soda.run(
        "train",
        inputs={"data": pairs.path, "model": made["base"].path},
        config={"batch_size": 8, "epochs": 1},
        out=tmp_path / "trained",
    )
    assert trained.trainings[-1]["train_rows"] == len(list(pairs.rows("train")))


def test_a_name_for_the_source_changes_no_answer(made, tmp_path, monkeypatch):
    snapshot(made, tmp_path / "unnamed")
    monkeypatch.setattr("soda.stages.snapshot._engine", None)  # it would be called to ask
    named = snapshot(made, tmp_path / "named", source="small")
    assert {row.source for row in named.rows()} == {"small"}
    assert [row.text for row in named.rows()] == [row.text for row in made["student"].rows()]


def test_a_system_prompt_asks_for_other_answers_to_the_same_prompts(made, tmp_path):
    bad = snapshot(made, tmp_path / "bad", system="Answer badly.")
    assert [row.prompt for row in bad.rows()] == list(made["prompts"].rows())
    assert [row.text for row in bad.rows()] != [row.text for row in made["student"].rows()]


def test_an_endpoint_is_named_with_its_engine_only(made, tmp_path):
    with pytest.raises(ConfigError, match="expected endpoint and endpoint_model with the engine"):
        snapshot(made, tmp_path / "one", engine="endpoint", endpoint="http://localhost")
    with pytest.raises(ConfigError, match="expected endpoint and endpoint_model with the engine"):
        snapshot(made, tmp_path / "one", endpoint="http://localhost")
    with pytest.raises(ConfigError, match="expected a shard such as 2/8, found '3/2'"):
        snapshot(made, tmp_path / "other", shard="3/2")
    with pytest.raises(ConfigError, match="samples: expected at most 1000, found 1000000"):
        snapshot(made, tmp_path / "other", samples=10**6)
    with pytest.raises(ConfigError, match="max_new_tokens: expected at most 131072"):
        snapshot(made, tmp_path / "other", max_new_tokens=10**9)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://me:canary@host/v1", "expected no user or password in the URL, found one"),
        ("host/v1", "expected http:// or https://, found 'host/v1'"),
    ],
)
def test_an_endpoint_is_a_url_without_a_password(made, tmp_path, url, found):
    asked = {"engine": "endpoint", "endpoint": url, "endpoint_model": "student"}
    with pytest.raises(ConfigError, match=found) as caught:
        snapshot(made, tmp_path / "one", **asked)
    assert "canary" not in str(caught.value)


def test_a_kept_group_is_what_is_handed_over(made, tmp_path):
    """On a GPU two runs may differ by rounding: the answers kept first are everybody's."""
    snapshot(made, tmp_path / "first")
    (group,) = (tmp_path / ".soda" / "snapshots").glob("*/group-000000.json")
    answers = json.loads(group.read_bytes())
    answers[next(iter(answers))][0]["text"] = "as another machine wrote it"
    group.write_text(json.dumps(answers))
    texts = [row.text for row in snapshot(made, tmp_path / "second").rows()]
    assert texts.count("as another machine wrote it") == 1


def test_a_new_teacher_leaves_the_snapshot_as_it_is(made, tmp_path, monkeypatch):
    """The pipeline's store gives back the snapshot whatever happened on the teacher's side."""
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    first = snapshot(made, tmp_path / "first")
    assert first.digest == made["student"].digest
    begun = time.monotonic()
    again = snapshot(made, tmp_path / "again")
    assert again.digest == first.digest and time.monotonic() - begun < 1
    assert (first.path / "responses.jsonl").samefile(again.path / "responses.jsonl")


def test_more_prompts_make_another_snapshot(made, tmp_path):
    more = {**made, "prompts": make_prompts(tmp_path, 44)}
    assert snapshot(more, tmp_path / "more").digest != made["student"].digest
