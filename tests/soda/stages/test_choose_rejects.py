"""Whose answer is rejected: by order, by shares, by likelihood; and that no prompt is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch

import soda
from soda.artifacts.kinds import Model, Responses
from soda.cli import main
from soda.errors import ConfigError, DataError
from soda.rows import Prompt, Response
from soda.stages.choose_rejects import ChooseRejectsConfig
from soda.student.chat import ChatFormat
from soda.student.weights import load_causal_lm

PROMPTS = [
    Prompt(f"p{number}", [{"role": "user", "content": f"Say {number}."}], "train")
    for number in range(40)
]


def answers(path, source, texts, *, outcome="answered", more=()):
    """Write one source's answers: prompt number -> text, and further ones a prompt."""
    with Responses.create(path, config=ChooseRejectsConfig(), inputs={}) as writer:
        for number, text in texts.items():
            row = Response(PROMPTS[number], text, outcome if text else "empty", source=source)
            Responses.write(writer, row)
        for number, text in more:
            row = Response(PROMPTS[number], text, "answered", source=source)
            writer.write(Responses.SAMPLES, row.to_json())
    return Responses.open(path)


@pytest.fixture
def choose(made, tmp_path):
    """Run the stage on candidates."""

    def run(*candidates, out="out", model=None, **config):
        inputs = {"candidates": [each.path for each in candidates]}
        inputs["model"] = (model or made["base"]).path
        return soda.run("choose-rejects", inputs=inputs, config=config, out=tmp_path / out)

    return run


@pytest.fixture
def three(tmp_path):
    """Three sources that answer every prompt."""
    return [
        answers(tmp_path / name, name, {n: f"{name} says {n}" for n in range(len(PROMPTS))})
        for name in ("small", "other", "bad")
    ]


def read(made, name):
    return [json.loads(line) for line in (made.path / name).read_text().splitlines()]


def logp_per_token(model, prompt, text, *, stopped=True):
    """The slow way: the model's own logits, one answer alone."""
    chat = ChatFormat.load(model.path)
    asked = chat.prompt_ids(prompt.messages)
    answer = chat.answer_ids(prompt.messages, text.strip(), stopped=stopped)
    net = load_causal_lm(model.path, torch.float32)
    with torch.inference_mode():
        logps = net(torch.tensor([asked + answer])).logits[0].log_softmax(-1)
    places = range(len(asked) - 1, len(asked) + len(answer) - 1)
    found = [float(logps[place, token]) for place, token in zip(places, answer, strict=True)]
    return sum(found) / len(found)


def test_the_first_is_taken_in_the_order_given_and_no_weights_are_read(
    three, choose, made, tmp_path
):
    bare = tmp_path / "bare"
    with Model.create(bare, config=ChooseRejectsConfig(), inputs={}) as writer:
        for file in made["base"].path.iterdir():
            if file.suffix != ".safetensors" and file.name != "manifest.json":
                shutil.copyfile(file, writer.path / file.name)
        writer.facts["weights_digest"] = "none"
    chosen = choose(*three, model=Model.open(bare))
    assert [row.prompt for row in chosen.rows()] == PROMPTS
    assert {row.source for row in chosen.rows()} == {"small"}
    assert [row.source for row in chosen.spares()] == ["other", "bad"] * len(PROMPTS)
    assert chosen.manifest.facts["rejects"]["chosen"] == {"small": len(PROMPTS)}
    assert not (chosen.path / "scores.jsonl").exists()
    inputs = chosen.manifest.inputs
    assert [inputs[f"candidates.{n}"] for n in range(3)] == [each.digest for each in three]


@pytest.mark.parametrize(("choose_by", "pick"), [("least_likely", min), ("most_likely", max)])
def test_the_likelihood_a_token_under_the_model_decides(choose, made, tmp_path, choose_by, pick):
    texts = {
        "a": ["yes", "The capital of France is Paris."],
        "b": ["ÿþ¤¶ÿþ¤¶ÿþ¤¶", "no"],
        "c": ["You are a helpful assistant. " * 9, "zq zq zq"],
    }
    given = [answers(tmp_path / name, name, dict(enumerate(two))) for name, two in texts.items()]
    chosen = choose(*given, choose=choose_by)
    expected = {
        prompt.id: {
            name: logp_per_token(made["base"], prompt, two[n]) for name, two in texts.items()
        }
        for n, prompt in enumerate(PROMPTS[:2])
    }
    for row in chosen.rows():
        found = expected[row.prompt.id]
        assert row.source == pick(found, key=found.get)
    for score in read(chosen, "scores.jsonl"):
        assert score["logp_per_token"] == pytest.approx(
            expected[score["id"]][score["source"]], abs=1e-4
        )
    assert len(read(chosen, "scores.jsonl")) == 6
    sums = {name: found * len(texts[name][0]) for name, found in expected["p0"].items()}
    assert min(sums, key=sums.get) == "c"  # the longest; by the mean it is another
    assert min(expected["p0"], key=expected["p0"].get) != "c"


def test_a_cut_answer_is_scored_without_an_end_of_turn(choose, made, tmp_path):
    cut = answers(tmp_path / "cut", "cut", {0: "half an answ"}, outcome="truncated")
    whole = answers(tmp_path / "whole", "whole", {0: "half an answ"})
    chosen = choose(cut, whole, choose="least_likely")
    found = {row["source"]: row["logp_per_token"] for row in read(chosen, "scores.jsonl")}
    for name, stopped in (("cut", False), ("whole", True)):
        expected = logp_per_token(made["base"], PROMPTS[0], "half an answ", stopped=stopped)
        assert found[name] == pytest.approx(expected, abs=1e-4)


def test_shares_give_each_prompt_to_one_source_whatever_else_is_there(three, choose):
    chosen = choose(*three, shares=[1, 3, 0])
    sources = {row.prompt.id: row.source for row in chosen.rows()}
    counts = Counter(sources.values())
    assert set(counts) == {"small", "other"} and 3 <= counts["small"] <= 17
    assert chosen.manifest.facts["rejects"]["chosen"] == dict(counts)
    assert "bad" not in {row.source for row in chosen.spares()}
    fewer = choose(*three[:2], out="fewer", shares=[0.25, 0.75])
    assert {row.prompt.id: row.source for row in fewer.rows()} == sources
    other = choose(*three, out="again", shares=[1, 3, 0], seed=1)
    assert [row.source for row in other.rows()] != list(sources.values())


def test_the_draw_is_by_the_shares(tmp_path, choose, monkeypatch):
    many = [
        Prompt(f"q{number}", [{"role": "user", "content": "Say."}], "train")
        for number in range(2000)
    ]
    monkeypatch.setattr("tests.soda.stages.test_choose_rejects.PROMPTS", many)
    given = [answers(tmp_path / name, name, dict.fromkeys(range(2000), name)) for name in "abc"]
    found = choose(*given, shares=[0.1, 0.2, 0.7]).manifest.facts["rejects"]["chosen"]
    for name, share in zip("abc", (0.1, 0.2, 0.7), strict=True):
        assert found[name] / 2000 == pytest.approx(share, abs=4 * 0.5 / 2000**0.5)


def test_a_prompt_whose_source_has_no_answer_takes_anothers_and_is_counted(tmp_path, choose):
    half = answers(tmp_path / "half", "half", {n: "mine" if n % 2 else "" for n in range(40)})
    whole = answers(tmp_path / "whole", "whole", dict.fromkeys(range(40), "theirs"))
    before = choose(whole, whole, out="before", shares=[1, 1])
    chosen = choose(half, whole, shares=[1, 1])
    facts = chosen.manifest.facts["rejects"]
    assert [row.prompt for row in chosen.rows()] == PROMPTS == [row.prompt for row in before.rows()]
    assert facts["chosen"].keys() == {"half", "whole"} and sum(facts["chosen"].values()) == 40
    assert facts["unusable"] == {"half": {"empty": 20}}
    assert 0 < facts["instead_of_drawn"] < 20 and facts["prompts_without"] == 0
    for row in chosen.rows():
        assert row.source == "whole" or int(row.prompt.id[1:]) % 2


def test_a_prompt_that_nobody_answers_ends_as_failed(tmp_path, choose):
    one = answers(tmp_path / "one", "one", {0: "", 1: "long " * 90, 2: "good", 3: ""})
    other = answers(tmp_path / "other", "other", {0: "", 3: "good", 4: "only here"})
    chosen = choose(one, other, max_tokens=100, shares=[1, 0], choose="least_likely")
    rows = {row.prompt.id: row for row in chosen.rows()}
    assert list(rows) == ["p0", "p1", "p2", "p3", "p4"]
    assert {key: row.outcome for key, row in rows.items()} == {
        "p0": "failed", "p1": "failed", "p2": "answered", "p3": "failed", "p4": "failed",
    }  # fmt: skip
    facts = chosen.manifest.facts
    assert facts["outcomes"] == {"failed": 4, "answered": 1}
    assert facts["rejects"] == {
        "chosen": {"one": 1},
        "unusable": {"one": {"empty": 2, "too_long": 1}, "other": {"empty": 1}},
        "prompts_without": 4,
        "instead_of_drawn": 0,
    }


def test_several_draws_of_one_model_are_candidates_in_one_artifact_or_in_several(
    made, choose, tmp_path
):
    def snapshot(name, **config):
        inputs = {"prompts": made["prompts"].path, "model": made["base"].path}
        config = {"max_new_tokens": 8, **config}
        return soda.run("snapshot", inputs=inputs, config=config, out=tmp_path / name)

    given = [snapshot("one", samples=2), snapshot("two", seed=1)]
    chosen = choose(*given, choose="least_likely")
    assert len(chosen) == len(made["prompts"]) == 40
    assert len(list(chosen.spares())) <= 80
    scores = read(chosen, "scores.jsonl")
    by_prompt = {row["id"]: [] for row in scores}
    for row in scores:
        by_prompt[row["id"]].append(row["logp_per_token"])
    for row in chosen.rows():
        least = min(by_prompt[row.prompt.id])
        found = logp_per_token(
            made["base"], row.prompt, row.text, stopped=row.outcome == "answered"
        )
        assert found == pytest.approx(least, abs=1e-3)


def test_the_chosen_become_pairs_that_keep_their_source(made, choose, tmp_path):
    chosen = choose(made["teacher"], made["student"], shares=[1, 1])
    inputs = {"teacher": made["teacher"].path, "student": chosen.path}
    pairs = soda.run("pair-build", inputs=inputs, config={}, out=tmp_path / "pairs")
    student = next(made["student"].rows()).source
    rows = [pair for split in ("train", "validation", "test") for pair in pairs.rows(split)]
    # an endpoint's answers serve as well; the teacher's own are the same answer and give way
    assert {pair.rejected_source for pair in rows} == {student}
    assert len(rows) + sum(pairs.manifest.drops.values()) == 40
    assert pairs.manifest.facts["rejected_sources"] == {student: len(rows)}
    assert {row.source for row in chosen.rows()} == {student, "fake"}


def test_scores_are_kept_so_that_no_run_computes_them_again(three, choose, monkeypatch, capsys):
    least = choose(*three, choose="least_likely")
    monkeypatch.setattr("soda.training.model.policy.Policy.answer_logps", None)
    most = choose(*three, out="most", choose="most_likely")
    assert read(most, "scores.jsonl") == read(least, "scores.jsonl")
    assert [row.source for row in most.rows()] != [row.source for row in least.rows()]
    assert "40 reference log-probabilities are of an earlier run" in capsys.readouterr().err


def test_killed_between_two_parts_it_goes_on_after_the_first(three, choose, monkeypatch):
    from soda.training.model.policy import Policy

    expected = choose(*three, choose="least_likely", out="elsewhere/out")
    monkeypatch.setattr("soda.training.objectives.reference._WINDOW", 10)
    real, seen = Policy.answer_logps, []

    def dying(self, examples):
        if len(seen) > 20:
            raise KeyboardInterrupt
        seen.extend(one.id for one in examples)
        return real(self, examples)

    monkeypatch.setattr(Policy, "answer_logps", dying)
    with pytest.raises(KeyboardInterrupt):
        choose(*three, choose="least_likely")
    again = []

    def counting(self, examples):
        again.extend(one.id for one in examples)
        return real(self, examples)

    monkeypatch.setattr(Policy, "answer_logps", counting)
    assert choose(*three, choose="least_likely").digest == expected.digest
    assert len(again) < 40 and set(again) | set(seen) == {prompt.id for prompt in PROMPTS}


@pytest.mark.slow
def test_killed_and_started_again_it_makes_the_same(choose, made, tmp_path, monkeypatch):
    """A process of its own, killed as soon as the first part of the scores is kept."""
    many = [
        Prompt(f"q{number}", [{"role": "user", "content": f"Say {number}."}], "train")
        for number in range(3000)
    ]
    monkeypatch.setattr("tests.soda.stages.test_choose_rejects.PROMPTS", many)
    given = [
        answers(tmp_path / name, name, {n: f"{name} {n}" for n in range(len(many))})
        for name in ("one", "two")
    ]
    words = [word for each in given for word in ("--candidates", str(each.path))]
    words += ["--model", str(made["base"].path), "--set", "choose=least_likely"]
    out = tmp_path / "killed" / "out"
    command = [sys.executable, "-m", "soda", "choose-rejects", *words, "--out", str(out)]
    parts = tmp_path / "killed" / ".soda" / "scores"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(parts.glob("*/*.safetensors")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*/*.safetensors")}
    assert kept and len(kept) < 6 and not out.exists()
    subprocess.run(command, capture_output=True, check=True)
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    expected = choose(*given, choose="least_likely", out="undisturbed/out")
    assert Responses.open(out, verify=True).digest == expected.digest


def test_by_shares_only_a_source_with_several_answers_is_scored(three, choose, tmp_path):
    chosen = choose(*three, shares=[1, 1, 1], choose="least_likely")
    assert not (chosen.path / "scores.jsonl").exists()
    more = answers(tmp_path / "more", "more", {0: "one", 1: "one"}, more=[(0, "two")])
    both = choose(three[0], more, out="both", shares=[0, 1], choose="least_likely")
    assert [(row["id"], row["source"]) for row in read(both, "scores.jsonl")] == [
        ("p0", "more")
    ] * 2


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"shares": [1]}, "choose-rejects.shares: expected one for each of 3 candidates, found 1"),
        ({"shares": [0, 0, 0]}, r"expected a share above 0, found \[0.0, 0.0, 0.0\]"),
        ({"shares": [1, -1, 1]}, "choose-rejects.shares.1: expected 0 or more"),
        ({"choose": "best"}, "choose-rejects.choose: expected 'first', 'least_likely' or"),
    ],
)
def test_values_that_say_nothing_are_refused(three, choose, tmp_path, config, problem):
    with pytest.raises(ConfigError, match=problem):
        choose(*three, **config)
    assert not (tmp_path / "out").exists()


def test_another_prompt_under_the_same_id_is_refused(three, choose, tmp_path, monkeypatch):
    other = [Prompt("p0", [{"role": "user", "content": "Another."}], "train")]
    monkeypatch.setattr("tests.soda.stages.test_choose_rejects.PROMPTS", other)
    wrong = answers(tmp_path / "wrong", "wrong", {0: "mine"})
    with pytest.raises(DataError, match=r"wrong: expected answers to the same prompts .* 'p0'"):
        choose(three[0], wrong)
    assert not (tmp_path / "out").exists()


def test_the_command_makes_what_the_function_makes(three, choose, made, tmp_path, capsys):
    words = [word for each in three for word in ("--candidates", str(each.path))]
    words += ["--model", str(made["base"].path), "--set", "choose=least_likely"]
    with pytest.raises(SystemExit) as done:
        main(["choose-rejects", *words, "--out", str(tmp_path / "command")])
    assert done.value.code == 0, capsys.readouterr().err
    expected = choose(*three, choose="least_likely")
    assert Responses.open(tmp_path / "command", verify=True).digest == expected.digest
