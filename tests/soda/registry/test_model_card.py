"""The card says what was done to which student, and tells the three apart."""

import pytest
import yaml

from soda.registry.model_card import render_card

METRIC = {
    "label": "ROUGE-L",
    "before": {"mean": 0.2},
    "warmed": {"mean": 0.3},
    "after": {"mean": 0.4},
    "change": {"mean": 0.2, "low": 0.1, "high": 0.3},
}
ROWS = {"prompts": 9, "pairs": 7, "drops": {"same_answer": 2}}
FIGURES = {"prompts": 3, "split": "test", "metrics": {"rouge_l": METRIC}, "rows": ROWS}
MODELS = {"before": "base", "warmed": "warmed up", "after": "student"}
DPO = {"name": "dpo", "source": "DPO, Rafailov et al. 2023"}
BEST = {"step": 40, "steps": 60, "chosen_by": "validation log-likelihood", "validation_logp": -1.25}
LAST = {"step": 9, "steps": 9, "chosen_by": "last step", "validation_logp": None}


def training(method, loss=None, checkpoint=LAST, rejected=("llama-aaa",)):
    values = {"method": method, "loss": loss, "epochs": 2, "learning_rate": 5e-6}
    values["rejected_sources"] = [*rejected] if method == "dpo" else []
    return {**values, "batch_size": 32, "train_rows": 14, "checkpoint": checkpoint}


def card(*trainings, warmed=False, teacher="big"):
    weights = {"before": "aaa", "after": "ccc"} | ({"warmed": "bbb"} if warmed else {})
    lineage = {
        "name": "tiny",
        "teacher": {"model": teacher, "licence": "MIT"},
        "trainings": list(trainings),
    }
    models = {name: text for name, text in MODELS.items() if name in weights}
    return render_card({**lineage, "weights": weights}, {**FIGURES, "models": models})


def test_soda_is_two_trainings_and_three_students():
    text = card(training("sft", checkpoint=BEST), training("dpo", DPO), warmed=True)
    assert "SODA (arXiv 2604.03873), in two trainings:" in text
    assert "1. Fine-tuning on the teacher's answers (SFT): the warm-up." in text
    assert "2. Preference training against the student it starts from" in text
    assert "chosen; the untouched base student's own, sampled once\nbefore any training," in text
    assert "The loss is DPO, Rafailov et al. 2023." in text
    assert (
        "It ends with the checkpoint of step\n   40 of 60, chosen by validation log-likelihood "
        "(-1.250 nats a token on validation)."
    ) in text
    for row in (
        "| base, q_0 | `aaa` |",
        "| warmed up, q_w | `bbb` |",
        "| student, q_theta | `ccc`",
    ):
        assert row in text
    assert "| metric | base | warmed up | student | change from base |" in text
    assert "9 prompts gave 7 pairs; dropped: 2 same answer." in text
    assert "The teacher's answers: MIT." in text
    assert "| ROUGE-L | 0.200 | 0.300 | 0.400 | +0.200 (+0.100 to +0.300) |" in text


def test_rejects_of_other_models_are_said_and_are_not_the_paper_s_method():
    others = ("llama-bbb", "<small>")
    text = card(training("sft"), training("dpo", DPO, rejected=others), warmed=True)
    assert "chosen; those of llama-bbb, \\<small\\> are rejected.\nThe loss is DPO" in text
    assert "the untouched base student" not in text and "in two trainings" not in text


@pytest.mark.parametrize(
    ("trainings", "said"),
    [
        ([training("sft")], "1. Fine-tuning on the teacher's answers (SFT), which alone is SeqKD."),
        ([training("dpo", DPO)], "1. Preference training against the student"),
        ([training("gad")], "1. GAD (arXiv 2511.10643): after a warm-up on the teacher's answers"),
        ([], "It is the base student as it was imported."),
    ],
)
def test_other_methods_are_two_students(trainings, said):
    text = card(*trainings)
    assert said in text and "in two trainings" not in text
    assert "| metric | base | student | change from base |" in text
    _, front, _ = text.split("---\n", 2)
    methods = [one["method"] for one in trainings]
    assert yaml.safe_load(front)["tags"] == ["distillation", *(methods or ["untrained"])]


def test_a_teachers_name_is_text_in_the_card():
    text = card(training("dpo", DPO), teacher="<script>x</script> [a](https://evil)\n```\n# b")
    shown = r"\<script\>x\</script\> \[a\](https\://evil) \`\`\` \# b"
    assert f"A small student distilled from {shown}." in text
    assert "<script>" not in text.partition("## Lineage")[0]
    _, fence, lineage = text.rpartition("```json\n")
    assert fence and lineage.count("\n```") == 1  # JSON has no line that would end the block
