import pytest
import torch

from soda.errors import ModelError
from soda.judging.judges import judge_all
from soda.judging.reward_model import RewardModel
from soda.judging.verdicts import SIDES
from tests.fakes.judges import PROMPT, matchup
from tests.fakes.student import save_student, tokenizer


def save_reward_model(folder, *, outputs=1, pad=None):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        num_labels=outputs,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=pad,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pad", [None, 2], ids=["no padding", "padding"])
def test_rewards_are_the_models_own_whatever_else_is_scored(tmp_path, pad):
    judge = RewardModel(save_reward_model(tmp_path / "reward", pad=pad))
    texts = ["Paris.", "It is Paris, the capital of France." * 3, ""]
    together = judge.rewards([(PROMPT, text) for text in texts])
    for text, reward in zip(texts, together, strict=True):
        ids = tokenizer().apply_chat_template(
            [*PROMPT, {"role": "assistant", "content": text}], tokenize=True, return_dict=False
        )
        end = ids.index(tokenizer().eos_token_id, len(ids) - 4) + 1  # without the line's end
        alone = judge._model(torch.tensor([ids[:end]])).logits.item()
        assert reward == pytest.approx(alone, abs=1e-5)


def test_a_verdict_holds_both_rewards_and_no_order_sways_it(tmp_path):
    judge = RewardModel(save_reward_model(tmp_path / "reward", pad=2))
    one, other, same = matchup("1"), matchup("2", "Lyon.", "Paris."), matchup("3", "Rome", "rome ")
    found = list(judge_all(judge, [one, other, same]))
    assert {found[0].score, found[1].score} == {0, 1} and found[2].score == 0.5
    assert found[0].readings[0].text.split() == found[1].readings[0].text.split()[::-1]
    assert found[0].judge == "reward" and found[0].protocol == "reward"
    assert found[0].readings[0].first in SIDES


def test_an_answer_too_long_to_be_read_is_unclear(tmp_path):
    judge = RewardModel(save_reward_model(tmp_path / "reward", pad=2))
    (found,) = judge.judge([matchup("1", "word " * 300, "Paris.")])
    assert found.score is None and "longer than 256 tokens" in found.readings[0].text


def test_what_is_no_reward_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"found none for score\.weight"):
        RewardModel(save_student(tmp_path / "student"))
    with pytest.raises(ModelError, match="expected 1 output, found 3"):
        RewardModel(save_reward_model(tmp_path / "three", outputs=3))
    with pytest.raises(ModelError, match="expected a tokenizer"):
        RewardModel(tmp_path / "nothing")
