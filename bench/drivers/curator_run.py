"""Ask every prompt with bespokelabs-curator; run by bench.compare_teacher with curator's python.

What had to be set: telemetry off; a key, though the server wants none; limits a minute by hand, as
curator asks the server for them and takes a low default where it names none;
`require_all_responses` off, or one failed row leaves no dataset; the encoding that litellm carries,
as tiktoken would fetch it from the network.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

options = json.loads(sys.argv[1])
os.environ["TELEMETRY_ENABLED"] = "false"
os.environ["CURATOR_DISABLE_RICH_DISPLAY"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
litellm = importlib.util.find_spec("litellm")
assert litellm is not None and litellm.origin is not None
tokenizers = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
os.environ["TIKTOKEN_CACHE_DIR"] = os.environ["CUSTOM_TIKTOKEN_CACHE_DIR"] = str(tokenizers)

from bespokelabs import curator  # noqa: E402 - it reads the environment when it is imported


class Teacher(curator.LLM):
    """The prompt as it is, the answer as it is."""

    def prompt(self, row):
        """Return the prompt of a row."""
        return row["prompt"]

    def parse(self, row, response):
        """Return the row that comes out."""
        return {"prompt": row["prompt"], "text": response}


def main() -> None:
    """Write one row for each answer."""
    params = {
        "base_url": options["url"],
        "api_key": "none",
        "max_concurrent_requests": options["concurrency"],
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 1_000_000_000_000,
        "max_retries": options["retries"],
        "request_timeout": options["timeout"],
        "require_all_responses": False,
        "seconds_to_pause_on_rate_limit": 1,
    }
    teacher = Teacher(model_name="fake-1", backend="openai", backend_params=params)
    work = Path(options["work"])
    prompts = [json.loads(line) for line in Path(options["prompts"]).read_text().splitlines()]
    made = teacher(prompts, working_dir=str(work / "cache"))
    with (work / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in made.dataset)


if __name__ == "__main__":
    main()
