"""Ask every prompt with distilabel; run by bench.compare_teacher with distilabel's python.

What had to be set: the batch size is the number under way, as distilabel waits for a whole batch
before it begins the next; a key, though the server wants none; a folder for its cache; one logger
off, as distilabel silences httpx but not the httpx2 of today's openai, which logs every request.
"""

import json
import logging
import os
import sys
from pathlib import Path

options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from distilabel.models import OpenAILLM  # noqa: E402 - offline must be set before
from distilabel.pipeline import Pipeline  # noqa: E402
from distilabel.steps import LoadDataFromDicts  # noqa: E402
from distilabel.steps.tasks import TextGeneration  # noqa: E402


def main() -> None:
    """Write one row for each prompt, with no text where it was lost."""
    logging.getLogger("httpx2").setLevel(logging.CRITICAL)
    work = Path(options["work"])
    prompts = [json.loads(line) for line in Path(options["prompts"]).read_text().splitlines()]
    rows = [{"instruction": row["prompt"]} for row in prompts]
    llm = OpenAILLM(
        model="fake-1",
        base_url=options["url"],
        api_key="none",
        timeout=options["timeout"],
        max_retries=options["retries"],
    )
    with Pipeline(name="compare", cache_dir=work / "cache") as pipeline:
        size = options["concurrency"]
        load = LoadDataFromDicts(data=rows, batch_size=size)
        load >> TextGeneration(llm=llm, input_batch_size=size)
    made = pipeline.run(use_cache=True)
    with (work / "rows.jsonl").open("w") as file:
        for row in made["default"]["train"]:
            line = {"prompt": row["instruction"], "text": row["generation"]}
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
