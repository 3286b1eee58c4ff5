"""What every test needs: no network, no teacher from outside, a store of its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SODA_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Artifacts from prompts to pairs, made once; tests read them and never write there."""
    from tests.fakes.artifacts import make_pairs
    from tests.fakes.teacher import fake_teacher

    root: Path = tmp_path_factory.mktemp("made")
    with fake_teacher() as teacher:
        yield make_pairs(root, teacher)
