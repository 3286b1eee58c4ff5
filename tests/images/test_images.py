"""The images: what the build files promise, without an engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[2] / "images"
FILE = IMAGES / "Containerfile"
LOCKS = sorted(IMAGES.rglob("*.lock"))


def name(path):
    return path.relative_to(IMAGES).as_posix()


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).parent / "hadolint")
    done = subprocess.run([hadolint, str(FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_image_ends_as_a_user_with_a_number_and_installs_by_hash():
    text = FILE.read_text()
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001:10001"]
    assert "org.opencontainers.image.revision" in text and "sbom.cdx.json" in text
    for line in text.splitlines():
        assert "pip install" not in line or "--require-hashes" in line
        assert "pip --python" not in line or "--require-hashes" in line


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_a_lock_pins_every_package_with_hashes(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ \\\n", entry), entry[:60]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:60]


def pins(path):
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", path.read_text(), re.M)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.mark.parametrize("lock", ["cpu/requirements", "gpu/requirements", "gpu/without-cuda"])
def test_the_images_hold_the_versions_that_the_tests_ran_with(lock):
    """vLLM's lock is its own: vLLM decides which torch it takes."""
    tested = pins(IMAGES.parent / "constraints.txt")
    held = pins(IMAGES / f"{lock}.lock")
    both = {package for package in held if package in tested}
    assert len(both) > 50
    assert {p: held[p].partition("+")[0] for p in both} == {p: tested[p] for p in both}


def test_the_cpu_image_has_no_torch():
    assert "torch" not in pins(IMAGES / "cpu" / "requirements.lock")
