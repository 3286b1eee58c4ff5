"""The snapshot's ways of answering beside plain batched `generate`: same prompts, greedy.

    python -m bench.snapshot --model FOLDER [--prompts 128] [--tokens 256] [--rows 64]

Prompts are the quickstart's; answers end where they end, so their lengths are mixed.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import table
from soda.student.chat import ChatFormat
from soda.student.continuous import Draws, continuous
from soda.student.generate import Sampling, _in_batches, load_model, paged, stop_ids

__all__ = ["main"]

PROMPTS = Path("pipelines/distill/quickstart/teacher.jsonl")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model folder")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=256, help="where answers are cut")
    parser.add_argument("--rows", type=int, default=64, help="at once")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    chat, model = ChatFormat.load(arguments.model), load_model(arguments.model)
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()[: arguments.prompts]
    rows = map(json.loads, lines)
    asked = [row.get("messages") or [{"role": "user", "content": row["prompt"]}] for row in rows]
    prompts = [chat.prompt_ids(messages) for messages in asked]
    sampling = Sampling(0, 1, arguments.tokens, 0, arguments.rows)
    seeds, stops = [[0]] * len(prompts), stop_ids(model, chat)
    draws = Draws(0, 1, arguments.tokens)
    on_cpu = {"num_blocks": 2048, "page_size": 32, "max_batch_tokens": 512}
    settings = {} if model.device.type == "cuda" else on_cpu
    ways: dict[str, Iterator[tuple[int, list[int]]]] = {  # the last changes the model's attention
        "plain generate": _in_batches(model, chat, prompts, sampling, seeds, stops),
        "continuous (soda)": continuous(model, prompts, draws, seeds, stops, arguments.rows),
        "paged (transformers)": paged(model, chat, prompts, sampling, seeds, stops, **settings),
    }
    found, rates = {}, {}
    for name, answers in ways.items():
        begin = time.perf_counter()
        found[name] = dict(answers)
        tokens = sum(map(len, found[name].values()))
        rates[name] = tokens / (time.perf_counter() - begin)
    plain = "plain generate"
    same = {
        name: sum(found[name][place] == ids for place, ids in found[plain].items()) for name in ways
    }
    table(
        ["way", "tokens/s", "to plain", "same greedy answers"],
        [
            [name, f"{rate:.0f}", f"{rate / rates[plain]:.2f}", f"{same[name]} of {len(prompts)}"]
            for name, rate in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
