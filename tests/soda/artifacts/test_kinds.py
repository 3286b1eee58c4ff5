"""The kinds: what each one's files hold, read back."""

import json

from soda.artifacts.kinds import Pairs, Prompts, Report, Responses
from soda.config import Config
from soda.rows import Pair, Prompt, Response


class ThingConfig(Config):
    @classmethod
    def stage(cls) -> str:
        return "compare"  # a key needs a stage's code


PROMPT = Prompt("a", [{"role": "user", "content": "Say a."}], "train", None)


def create(kind, path):
    return kind.create(path, config=ThingConfig(), inputs={})


def test_prompts_and_responses_are_read_as_they_were_written(tmp_path):
    with create(Prompts, tmp_path / "prompts") as writer:
        writer.write(Prompts.FILE, PROMPT.to_json())
    prompts = Prompts.open(tmp_path / "prompts")
    assert list(prompts.rows()) == [PROMPT] and len(prompts) == 1
    answers = [Response(PROMPT, "a", "answered", 1), Response(PROMPT, "", "failed", detail="no")]
    with create(Responses, tmp_path / "responses") as writer:
        for answer in answers:
            Responses.write(writer, answer)
        writer.write(Responses.SAMPLES, answers[0].to_json())
    responses = Responses.open(tmp_path / "responses")
    assert list(responses.rows()) == answers and list(responses.spares()) == answers[:1]
    assert len(responses) == 2
    assert responses.manifest.facts["outcomes"] == {"answered": 1, "failed": 1}


def test_pairs_lie_in_a_file_a_split(tmp_path):
    turn = [{"role": "assistant", "content": "x"}]
    pair = Pair("a", PROMPT.messages, turn, turn, rejected_stopped=True, split="validation")
    with create(Pairs, tmp_path / "pairs") as writer:
        writer.write("validation.jsonl", pair.to_json())
    pairs = Pairs.open(tmp_path / "pairs")
    assert list(pairs.rows("validation")) == [pair] and list(pairs.rows("train")) == []
    assert len(pairs) == 1


def test_a_report_counts_the_checkable_answers_and_has_logs_or_none(tmp_path):
    right = {"before_right": True, "after_right": False}
    with create(Report, tmp_path / "report") as writer:
        metric = {"before": {"mean": 0.25}, "after": {"mean": 0.5}}
        metric |= {"change": {"mean": 0.25, "low": 0.125, "high": 0.375}}
        figures = {"metrics": {"rouge_l": metric}}
        (writer.path / "report.json").write_text(json.dumps(figures))
        (writer.path / "logs").mkdir()
        (writer.path / "logs" / "cost.json").write_text('{"train_seconds": 3}')
        for row in (right, right, {"before_right": False, "after_right": True}):
            writer.write("samples.jsonl", row)
        writer.write("samples.jsonl", {"before_right": None, "after_right": None})
    report = Report.open(tmp_path / "report")
    assert report.numbers() == {
        "rouge_l": 0.5,
        "rouge_l_before": 0.25,
        "rouge_l_change_low": 0.125,
        "rouge_l_change_high": 0.375,
    }
    assert report.answers_right() == [[0, 2], [1, 0]]
    assert report.log("cost") == {"train_seconds": 3} and report.log("teacher") is None
