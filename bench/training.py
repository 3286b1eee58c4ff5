"""DPO training beside TRL's DPOTrainer: same pairs, same optimizer, same losses, one run.

    python -m bench.training [--model FOLDER | --size 0.5B 1.5B 3B] [--pairs 8] [--steps 3]

Needs TRL (`pip install trl==1.16.0 -c constraints.txt`; on a GPU liger-kernel too), which soda does
not. Every system runs in a process of its own. The first step warms up and is not timed. Reference
log-probabilities are computed before in all but TRL's defaults; `with reference` counts them too.

MFU: the FLOPs that the work needs (each prompt once, the head on answer tokens only, nothing
recomputed) over the matrix rate that is measured on the same device in the same run.
"""

import argparse
import importlib.util
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import run, table

__all__ = ["SYSTEMS", "make_examples", "measure", "needed_flops"]

# True Qwen2.5 shapes, with random weights.
SIZES = {
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "layers": 24, "heads": 14},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "layers": 28, "heads": 12},
    "3B": {"hidden_size": 2048, "intermediate_size": 11008, "layers": 36, "heads": 16},
}
# TRL's best micro-batch on one 80 GB card, and whether it has to recompute activations.
TRL_BEST = {"0.5B": (32, False), "1.5B": (8, False), "3B": (16, True)}
SYSTEMS = ["soda fast", "soda lean", "trl best", "trl defaults"]


def make_examples(count: int, vocabulary: int, scale: float, seed: int = 1) -> list[Any]:
    """Return pairs of random ids; at scale 1 mean lengths are 183, 424 and 370 tokens."""
    from soda.training.model.examples import Example

    lengths = random.Random(seed)
    ids = np.random.default_rng(seed)

    def draw(mean: float, spread: float, least: float, most: float) -> Any:
        length = min(max(lengths.lognormvariate(math.log(mean), spread), least), most)
        return ids.integers(10, vocabulary, max(2, round(length * scale)))

    return [
        Example.of(
            str(number),
            draw(165, 0.45, 30, 400),
            draw(430, 0.4, 80, 620),
            draw(370, 0.45, 60, 620),
        )
        for number in range(count)
    ]


def needed_flops(config: Any, examples: Sequence[Any]) -> float:
    """Return the least FLOPs of one training step on pairs: forward, and twice that backward."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries = head * config.num_attention_heads
    keys = head * config.num_key_value_heads
    width, layers = config.hidden_size, config.num_hidden_layers
    linear = layers * width * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    total = 0.0
    for example in examples:
        prompt, answers = len(example.prompt), [len(answer) for answer in example.answers]
        seen = prompt * (prompt + 1) / 2
        seen += sum(answer * prompt + answer * (answer + 1) / 2 for answer in answers)
        total += 2 * linear * (prompt + sum(answers))
        total += 2 * width * config.vocab_size * sum(answers)
        total += 4 * queries * layers * seen
    return 3 * total


def matrix_rate(device: str) -> float:
    """Return the FLOPs a second of a large matrix product."""
    import torch

    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = math.inf
    for _ in range(12):
        _synchronize()
        begin = time.perf_counter()
        one @ other
        _synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def make_model(size: str, folder: Path) -> Path:
    """Write a model of true shape and random weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = SIZES[size]
    config = Qwen2Config(
        vocab_size=151936,
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(config)
    model.bfloat16().save_pretrained(folder)
    return folder


class _Clock:
    """The times at which steps ended; a phase's watcher."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def sees(self, position: Any, figures: Any) -> bool:
        self.losses.append(figures.loss)
        return True

    def reached(self, position: Any, figures: Any) -> bool:
        self.tick()
        return True

    def tick(self) -> None:
        _synchronize()
        self.ends.append(time.perf_counter())


def soda_run(folder: Path, examples: list[Any], steps: int, tokens: int, lean: bool) -> Any:
    """Train with our loop."""
    import torch

    from soda.training.config import TrainConfig
    from soda.training.model.loading import load_policy
    from soda.training.model.processes import Processes
    from soda.training.objectives.preference import preference_phase
    from soda.training.objectives.reference import Reference
    from soda.training.run.interrupt import Interrupt
    from soda.training.run.loop import run_phase
    from soda.training.run.optimizer import make_optimizer
    from soda.training.run.phase import Setup, Start

    config = TrainConfig.parse(
        {
            "batch_size": len(examples),
            "optimizer": {"warmup_share": 0.0, "max_grad_norm": 1.0},
            "device": {"recompute_activations": "on" if lean else "off"},
        }
    )
    processes = Processes()
    longest = max(len(one.prompt) + max(map(len, one.answers)) for one in examples)
    policy = load_policy(folder, 0, longest, processes, config)
    optimizer = make_optimizer(policy, 1e-6, 0.0, half=processes.half)
    if processes.half:
        Reference.compute(policy, examples, processes, tokens)  # compiles
    begin = time.perf_counter()
    reference = Reference.compute(policy, examples, processes, tokens)
    _synchronize()
    referring = time.perf_counter() - begin
    chat: Any = None  # nothing is sampled
    setup = Setup(config, policy, chat, processes, examples, [], folder, Interrupt())
    phase = preference_phase(setup, 1e-6, steps)
    clock = _Clock()
    if processes.half:
        torch.cuda.reset_peak_memory_stats()
    run_phase(setup, phase, 0, Start(0, reference, {"policy": optimizer}, tokens), clock)
    return clock, referring


def trl_run(folder: Path, examples: list[Any], steps: int, batch: int, best: bool, gc: bool) -> Any:
    """Train with TRL, on pairs that are tokenized already."""
    import torch
    import trl.trainer.dpo_trainer
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    trl.trainer.dpo_trainer.hash_module = lambda model: "bench"  # not what is timed here
    cuda = torch.cuda.is_available()
    clock, referring = _Clock(), [0.0]

    class Ticks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **others: Any) -> None:
            clock.tick()

        def on_log(self, *arguments: Any, logs: dict[str, Any], **others: Any) -> None:
            if "loss" in logs:
                clock.losses.append(float(logs["loss"]))

        def on_train_begin(self, *arguments: Any, **others: Any) -> None:
            if cuda:
                torch.cuda.reset_peak_memory_stats()

    class Trainer(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *arguments: Any, **others: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *arguments: Any, **others: Any) -> Any:
            begin = time.perf_counter()
            found = super()._precompute_ref_logps(*arguments, **others)
            _synchronize()
            referring[0] = time.perf_counter() - begin
            return found

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [(one.prompt.tolist(), *(a.tolist() for a in one.answers)) for one in examples]
    dataset = Dataset.from_list(
        [
            {**dict(zip(names, row, strict=True)), "length": len(row[0]) + max(map(len, row[1:]))}
            for row in rows
        ]
    )
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>"
    )
    found = importlib.util.find_spec("flash_attn") is not None
    attention = "flash_attention_2" if cuda and best and found else "sdpa"
    print(f"attention: {attention}", file=sys.stderr)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    )
    reference = None
    if not best:
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings: dict[str, Any] = {}
    if best:
        settings = {
            "precompute_ref_log_probs": True,
            "precompute_ref_batch_size": batch,
            "use_liger_kernel": cuda,
            "gradient_checkpointing": gc,
            "train_sampling_strategy": "group_by_length",
        }
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=len(examples) // batch,
        num_train_epochs=steps,
        learning_rate=1e-6,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        max_length=None,
        bf16=cuda,
        use_cpu=not cuda,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        **settings,
    )
    trainer = Trainer(
        model=model,
        ref_model=reference,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[Ticks()],
    )
    trainer.train()
    return clock, referring[0]


def measure(system: str, arguments: argparse.Namespace, size: str) -> dict[str, Any]:
    """Run one system in this process."""
    import torch
    from transformers import AutoConfig

    from soda.training.run.metrics import peak_memory_gib

    cuda = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(size) if size not in SIZES else make_model(size, Path(temporary))
        config = AutoConfig.from_pretrained(folder)
        examples = make_examples(arguments.pairs, config.vocab_size, arguments.scale)
        rate = matrix_rate("cuda" if cuda else "cpu")
        batch, recompute = TRL_BEST.get(size, (arguments.trl_batch, False))
        tokens = arguments.micro_batch_tokens or (16384 if cuda else 2048)
        if system.startswith("soda"):
            lean = system.endswith("lean")
            ran = soda_run(folder, examples, arguments.steps + 1, tokens, lean)
        elif system == "trl best":
            ran = trl_run(folder, examples, arguments.steps + 1, batch, True, recompute)
        else:
            ran = trl_run(folder, examples, arguments.steps + 1, min(8, len(examples)), False, True)
    clock, referring = ran
    seconds = (clock.ends[-1] - clock.ends[0]) / arguments.steps
    return {
        "pairs_per_second": len(examples) / seconds,
        "with_reference": len(examples) / (seconds + referring),
        "peak_gib": peak_memory_gib(),
        "mfu": needed_flops(config, examples) / seconds / rate,
        "losses": clock.losses,
    }


def main() -> None:
    """Print a table for each size or model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a model folder")
    parser.add_argument("--size", nargs="*", choices=list(SIZES), default=[])
    parser.add_argument("--pairs", type=int, default=8, help="in one step; on a GPU 64")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.2, help="of the lengths; on a GPU 1")
    parser.add_argument("--micro-batch-tokens", type=int)
    parser.add_argument("--trl-batch", type=int, default=8)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.child:
        print(json.dumps(measure(*arguments.child[:1], arguments, arguments.child[1])))
        return
    for size in [*arguments.size, *([arguments.model] if arguments.model else [])]:
        command = [sys.executable, "-m", "bench.training", *sys.argv[1:], "--child"]
        found = {system: run([*command, system, size]).result for system in arguments.systems}
        best = found.get("trl best", found[arguments.systems[0]])
        print(f"\n{Path(size).name}, {arguments.pairs} pairs a step\n")
        table(
            ["system", "pairs/s", "to TRL best", "with reference", "peak GiB", "MFU", "losses"],
            [
                [
                    system,
                    f"{one['pairs_per_second']:.2f}",
                    f"{one['pairs_per_second'] / best['pairs_per_second']:.2f}",
                    f"{one['with_reference']:.2f}",
                    f"{one['peak_gib']:.1f}",
                    f"{one['mfu']:.0%}",
                    " ".join(f"{loss:.4f}" for loss in one["losses"]),
                ]
                for system, one in found.items()
            ],
        )


if __name__ == "__main__":
    main()
