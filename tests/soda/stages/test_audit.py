"""The audit: it stops where the teacher is not better, and says why a pair is dropped."""

import json

import pytest

import soda
from soda.artifacts.kinds import Pairs, Responses
from soda.cli import main
from soda.errors import DataError
from soda.rows import Pair, Prompt, Response
from soda.stages.pair_build import PairBuildConfig
from tests.fakes.judges import shown
from tests.fakes.teacher import completion, fake_teacher

GOOD, BAD = "a good answer, number", "a poor one"
KEY = "canary-judge-key"


def turn(role, text):
    return [{"role": role, "content": text}]


def pair(number, split="train", chosen=None, rejected=None, prompt=None):
    prompt = prompt or f"What is the {number}th word of the book of {number * 7}?"
    chosen = chosen or f"{GOOD} {number}"
    return Pair(
        f"p{number}",
        turn("user", prompt),
        turn("assistant", chosen),
        turn("assistant", rejected or f"{BAD} {number}"),
        True,
        split,
    )


def answers(path, rows, expected=None):
    with Responses.create(path, config=PairBuildConfig(), inputs={}) as writer:
        for row in rows:
            prompt = Prompt(row.id, row.prompt, row.split, (expected or {}).get(row.id))
            Responses.write(writer, Response(prompt, row.chosen[0]["content"], "answered"))
        writer.facts["teacher"] = {"model": "teacher-1"}
    return Responses.open(path)


def made(root, rows, expected=None, drops=("teacher_refused", "same_answer", "bored")):
    """Pairs and answers written by hand; more prompts were dropped before."""
    with Pairs.create(root / "pairs", config=PairBuildConfig(), inputs={}) as writer:
        for row in rows:
            writer.write(f"{row.split}.jsonl", row.to_json())
        for number, reason in enumerate(drops):
            writer.drop(f"d{number}", reason)
    return {"pairs": root / "pairs", "teacher": answers(root / "teacher", rows, expected).path}


def rows(count=60, **changed):
    numbers = range(count)
    return [changed.get(f"p{n}") or pair(n) for n in numbers] + [pair(900, "test")]


def run(root, inputs, out="audited", **config):
    return soda.run("audit", inputs=inputs, config=config, out=root / out)


def judged_by(better):
    """A judge's server: prefers the answer of which `better` says so; both or none is a tie."""

    def reply(body, times):
        first, second = (better(text) for text in shown(body["messages"]))
        return completion(f"[[{'C' if first == second else 'A' if first else 'B'}]]")

    return fake_teacher(reply)


def judge(server, **changed):
    return {"base_url": server.url, "model": "judge-1", "calibration": 8} | changed


@pytest.fixture(autouse=True)
def _key(monkeypatch, tmp_path):
    monkeypatch.setenv("SODA_JUDGE_API_KEY", KEY)


def funnel(found):
    return {step["name"]: step["rows"] for step in found.audit()["funnel"]}


def test_a_better_teacher_passes_and_everything_is_kept(tmp_path):
    inputs = made(tmp_path, rows())
    with judged_by(lambda text: text.startswith(GOOD)) as server:
        found = run(tmp_path, inputs, judge=judge(server))
        asked = sum(server.asked.values())
        again = run(tmp_path, inputs, "again", judge=judge(server), seed=0)
        assert sum(server.asked.values()) == asked and set(server.keys) == {f"Bearer {KEY}"}
    assert len(found) == 61 and found.digest == again.digest
    gap = found.audit()["gap"]
    assert gap["decision"] == "pass" and gap["win_rate"]["low"] >= 0.6 and gap["stopped_early"]
    assert found.manifest.facts["gap"]["decision"] == "pass"
    assert found.manifest.drops == {"teacher_refused": 1, "same_answer": 1, "bored": 1}
    assert funnel(found)["prompts"] == 64 and funnel(found)["kept"] == 61
    for file in found.path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
    page = (found.path / Pairs.PAGE).read_text()
    assert "The teacher is clearly better." in page and "prefers the answer shown first" in page


@pytest.mark.parametrize("better", [lambda text: text.startswith(BAD), lambda text: True])
def test_the_gate_stops_with_one_line_and_writes_nothing(tmp_path, better, capsys):
    inputs = made(tmp_path, rows())
    with judged_by(better) as server:
        config = {"judge": judge(server, calibration=0)}
        with pytest.raises(DataError, match="expected a teacher that is clearly better"):
            run(tmp_path, inputs, **config)
        assert not (tmp_path / "audited").exists()
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(json.dumps({"audit": config}))
        options = [f"--{key}={path}" for key, path in inputs.items()]
        with pytest.raises(SystemExit) as ended:
            main(["audit", *options, "--recipe", str(recipe), "--out", str(tmp_path / "audited")])
    assert ended.value.code == 2 and not (tmp_path / "audited").exists()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("soda: audit: expected a teacher") and "60% is" in last


def test_inverted_and_equal_pairs_are_dropped_and_listed_where_all_are_judged(tmp_path):
    odd = {f"p{n}": pair(n, chosen=f"{BAD} x{n}", rejected=f"{GOOD} x{n}") for n in range(3)}
    odd |= {"p3": pair(3, chosen=f"{GOOD} one", rejected=f"{GOOD} two")}
    inputs = made(tmp_path, rows(**odd))
    with judged_by(lambda text: text.startswith(GOOD)) as server:
        found = run(tmp_path, inputs, judge=judge(server), judged="all")
    dropped = {row["id"]: row["reason"] for row in found.read_rows("drops.jsonl")}
    assert dropped.items() >= {"p0": "inverted", "p2": "inverted", "p3": "judged_equal"}.items()
    steps = funnel(found)
    assert steps["not refused"] - steps["different"] == 2  # one of them before
    assert steps["different"] - steps["not inverted"] == 3 and steps["kept"] == len(found) == 57
    assert {row.id for row in found.rows("train")}.isdisjoint(odd)
    assert found.audit()["inverted"]["share"] == pytest.approx(3 / 60)


def test_without_a_judge_and_with_few_checkable_prompts_it_says_loudly_that_it_did_not_measure(
    tmp_path, capsys
):
    found = run(tmp_path, made(tmp_path, rows(12), {"p1": "good"}))
    assert "THE GAP IS NOT MEASURED: there is no judge, and 1 pairs" in capsys.readouterr().err
    assert len(found) == 13 and found.audit()["gap"]["decision"] == "not measured"
    assert "Not measured:" in (found.path / Pairs.PAGE).read_text()


def test_verifiers_judge_where_enough_prompts_are_checkable(tmp_path):
    inputs = made(tmp_path, rows(), {f"p{n}": "good" for n in range(60)})
    found = run(tmp_path, inputs)
    assert found.audit()["gap"]["decision"] == "pass"
    assert found.audit()["judge"]["name"] == "verifier"
    wrong = made(tmp_path / "w", rows(), {f"p{n}": "nowhere" for n in range(60)})
    with pytest.raises(DataError, match=r"teacher wins 50\.0%"):
        run(tmp_path, wrong, "wrong")


def test_contaminated_sensitive_and_unbalanced_pairs_are_dropped_with_their_reason(tmp_path):
    items = tmp_path / "mine.jsonl"
    items.write_text(json.dumps({"question": "Which river crosses the old town of Bern twice?"}))
    odd = {
        "p0": pair(0, prompt="WHICH river crosses the old town of Bern, twice"),
        "p1": pair(1, prompt=pair(900).prompt[0]["content"].upper()),
        "p2": pair(2, chosen="Write to jane.roe@gmail.com for it."),
    }
    odd |= {f"p{n}": pair(n, chosen=f"{BAD} {n}", rejected=f"{GOOD} {n}") for n in range(10, 20)}
    inputs = made(tmp_path, rows(**odd))
    found = run(tmp_path, inputs, held_out=[str(items)], sensitive="drop", balance_length=True)
    dropped = {row["id"]: row for row in found.read_rows("drops.jsonl")}
    assert {row_id: dropped[row_id]["reason"] for row_id in ("p0", "p1", "p2")} == {
        "p0": "contaminated",
        "p1": "contaminated",
        "p2": "sensitive",
    }
    assert found.manifest.drops["unbalanced"] == 57 - 20
    assert found.audit()["shortcuts"][0] == {
        "feature": "length",
        "auc": 0.5,
        "pairs": 20,
        "warn": False,
    }
    assert (
        dropped["p0"]["detail"] == "mine:1, normalized" and "test:p900" in dropped["p1"]["detail"]
    )
    assert "jane.roe" not in (found.path / Pairs.AUDIT).read_text()
    assert found.audit()["sensitive"] == {"rows": 1, "kinds": {"email": 1}}
    assert funnel(found)["kept"] == len(found) == funnel(found)["prompts"] - len(dropped)


def test_a_recipe_that_drops_everything_is_refused(tmp_path):
    inputs = made(tmp_path, [pair(n) for n in range(4)])
    with pytest.raises(DataError, match=r"found none left; dropped: .*4 unbalanced"):
        run(tmp_path, inputs, balance_length=True)


def test_a_judge_that_cannot_be_asked_is_refused_by_its_own_variable(tmp_path):
    def refuse(body, times):
        return 401, {}, {"error": {"message": f"bad key {KEY}"}}

    with fake_teacher(refuse) as server, pytest.raises(soda.SodaError) as caught:
        run(tmp_path, made(tmp_path, rows()), judge=judge(server))
    assert "SODA_JUDGE_API_KEY" in str(caught.value) and KEY not in str(caught.value)


def test_money_stops_the_judge_over_all_its_blocks(tmp_path):
    inputs = made(tmp_path, rows(300))
    price = {"input": 100.0, "output": 100.0}
    with judged_by(lambda text: text.startswith(GOOD)) as server:
        config = {"judge": judge(server), "price": price, "limits": {"usd": 0.3}}
        with pytest.raises(soda.SodaError, match=r"audit\.limits\.usd: "):
            run(tmp_path, inputs, judged="all", gate="warn", **config)
        assert 64 < sum(server.asked.values()) < 600
