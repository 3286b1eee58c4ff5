"""What a training is told, method by method."""

import pytest

from soda.errors import ConfigError
from soda.training.config import TrainConfig


def test_groups_keep_what_is_not_set():
    config = TrainConfig.parse({"optimizer": {"weight_decay": 0.1}, "lora": {"rank": 4}})
    assert config.optimizer.warmup_share == 0.1 and config.optimizer.weight_decay == 0.1
    assert config.lora.rank == 4 and config.lora.alpha == 32


def test_how_the_device_is_used_is_no_part_of_the_key():
    device = {"micro_batch_tokens": 100, "compile": False}
    one = TrainConfig.parse({"device": device, "checkpoint_minutes": 1})
    assert one.deciding() == TrainConfig.parse({}).deciding()
    assert one.set_aside()["device"]["micro_batch_tokens"] == 100


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"health": {"lenght": "stop"}}, "train.health.lenght: unknown key; did you mean 'length'"),
        ({"lora": {"ranks": 8}}, "train.lora.ranks: unknown key; did you mean 'rank'?"),
        ({"optimizer": {"lr": 1}}, "train.optimizer.lr: unknown key; known: max_grad_norm"),
        ({"device": {"compiled": 1}}, "train.device.compiled: unknown key; did you mean 'compile'"),
        ({"lora": {"rank": 0}}, "train.lora.rank: expected 1 or more"),
        ({"adversarial": {"rollouts": 1}}, "train.adversarial.rollouts: expected 2 or more"),
        ({"epochs": 10**9}, "train.epochs: expected at most 1000, found 1000000000"),
        ({"adversarial": {"max_new_tokens": 10**9}}, "max_new_tokens: expected at most 131072"),
        ({"seed": -1}, "train.seed: expected 0 or more"),
        ({"method": "gad", "lora": {}}, "expected no lora with gad"),
        ({"method": "soda"}, "train.method: expected 'dpo', 'sft' or 'gad', found 'soda'"),
        ({"checkpoint_minutes": 0}, "train.checkpoint_minutes: expected more than 0"),
    ],
)
def test_wrong_values_are_refused_in_one_line(values, message):
    with pytest.raises(ConfigError) as refused:
        TrainConfig.parse(values)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_gad_trains_in_one_process():
    TrainConfig.parse({}).check_processes(8)
    config = TrainConfig.parse({"method": "gad"})
    config.check_processes(1)
    with pytest.raises(ConfigError, match="gad trains in one process, found 2"):
        config.check_processes(2)


@pytest.mark.parametrize("key", ["sft_epochs", "sft_learning_rate"])
def test_an_old_recipe_is_told_what_to_write_now(key):
    with pytest.raises(ConfigError) as refused:
        TrainConfig.parse({key: 1, "learning_rate": 1e-6})
    assert str(refused.value) == (
        f"train: unknown key '{key}': the warm-up is a run of its own; write 'warm-up: {{method: "
        "sft, epochs: ..., learning_rate: ...}' beside 'train: {method: dpo}'"
    )


def test_gad_has_a_warm_up_of_its_own():
    config = TrainConfig.parse({"method": "gad", "adversarial": {"sft_epochs": 2}})
    assert config.adversarial.sft_epochs == 2 and config.rollout_tokens == 1536
    assert TrainConfig.parse({}).rollout_tokens == 0
