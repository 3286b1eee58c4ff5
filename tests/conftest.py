"""What every test needs: no network, no teacher from outside, a store of its own."""

import atexit
import inspect
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


ROOT = Path(__file__).parents[1]


def _import_this_checkout() -> None:
    """Let this process and its children import what is here, whatever is installed."""
    links = Path(tempfile.mkdtemp(prefix="soda-tests-"))
    atexit.register(shutil.rmtree, links)
    for name in ("components", "pipelines"):  # their names where they are installed
        (links / f"soda_{name}").symlink_to(ROOT / name)
    sys.path.insert(0, str(links))
    others = filter(None, [os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(links), str(ROOT), *others])


_import_this_checkout()


def _stack(context: int = 0) -> list[inspect.FrameInfo]:
    return [
        inspect.FrameInfo(frame, frame.f_code.co_filename, line, frame.f_code.co_name, None, None)
        for frame, line in traceback.walk_stack(sys._getframe(1))
    ]


# kfp asks for the whole stack at each of a pipeline's many settings. Below pytest's frames, with
# the source lines that nobody reads, that is 7 of the 8 seconds that a pipeline takes to compile.
inspect.stack = _stack


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
