"""Name the tests that stand beside what changed, for `make check`: python tests/changed.py [BASE].

What changed is what differs from BASE (a commit, by default HEAD: nothing is committed yet), and
new files. A changed file leads to its mirror, or where it has none to its room's tests.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALWAYS = "tests/test_house_rules.py"
ROOMS = {  # the first part of a path, where tests/ does not repeat it
    "README.md": "tests/test_docs.py",
    "docs": "tests/test_docs.py",
    "Makefile": "tests/test_docs.py",
    "setup.py": "tests/test_wheel.py",
    "pyproject.toml": "tests/test_wheel.py",
}


def beside(paths: Iterable[str]) -> list[str]:
    """Return the test files and folders for changed files, each once."""
    return sorted({ALWAYS, *filter(None, map(_test, paths))})


def _test(name: str) -> str:
    path = Path(name)
    if path.parts[0] in ROOMS:
        return ROOMS[path.parts[0]]
    if path.parts[0] == "tests":
        own = path.name.startswith("test_") and path.suffix == ".py"
        found = path if own else path.parent
        return found.as_posix() if (ROOT / found).exists() and len(path.parts) > 2 - own else ""
    mirror = Path("tests", path).with_name(f"test_{path.stem}.py")
    if path.suffix == ".py" and (ROOT / mirror).exists():
        return mirror.as_posix()
    room = next((each for each in mirror.parents if (ROOT / each).is_dir()), Path("tests"))
    return room.as_posix() if len(room.parts) > 1 else ""


def changed(base: str) -> list[str]:
    """Return the files that differ from a commit, and those that Git does not know yet."""
    names: list[str] = []
    for words in (["diff", "--name-only", base], ["ls-files", "--others", "--exclude-standard"]):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=ROOT)
        names += done.stdout.splitlines()
    return names


if __name__ == "__main__":
    print(" ".join(beside(changed(*sys.argv[1:] or ["HEAD"]))))
