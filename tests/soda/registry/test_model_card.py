"""The card says by which method a student was trained."""

import pytest
import yaml

from soda.registry.model_card import render_card

FIGURES = {"prompts": 3, "split": "test", "metrics": {}}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("soda", "2 epoch(s) of SFT came first. The loss:\nSimPO, Meng et al. 2024"),
        ("seqkd", "with SeqKD: fine-tuning on the teacher's answers."),
        ("gad", "GAD (arXiv 2511.10643). 2 epoch(s) of SFT came first. A discriminator"),
    ],
)
def test_a_card_names_its_method(method, said):
    train = {"method": method, "loss": {"name": "simpo"}, "sft_epochs": 2}
    lineage = {"name": "tiny", "teacher": {"model": "big"}, "train_config": train}
    card = render_card(lineage, FIGURES)
    assert said in card
    _, front, _ = card.split("---\n", 2)
    assert yaml.safe_load(front)["tags"] == ["distillation", method]
