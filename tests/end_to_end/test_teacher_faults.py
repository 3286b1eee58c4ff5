"""teacher-gen against a server full of faults, and killed again and again: nothing is lost."""

import os
import random
import signal
import time

import pytest

import soda
from soda.stage import load_stage
from tests.fakes.load import FAULTS, load_server

pytestmark = pytest.mark.slow

KILLS = 60
KEY = "canary-7d1f"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("soda.teacher.retry._LONGEST_WAIT_SECONDS", 0.02)
    monkeypatch.setenv("SODA_TEACHER_API_KEY", KEY)


def make_prompts(root, count):
    lines = "".join(f'{{"prompt": "Say {number}."}}\n' for number in range(count))
    (root / "data.jsonl").write_text(lines)
    config = {"dataset": str(root / "data.jsonl")}
    return soda.run("prepare-prompts", inputs={}, config=config, out=root / "prompts")


def generate(prompts, out, server, **limits):
    config = {
        "base_url": server.url,
        "model": "fake-1",
        "probe": False,
        "limits": {"timeout_seconds": 0.5, **limits},
    }
    return soda.run("teacher-gen", inputs={"prompts": prompts.path}, config=config, out=out)


def test_ten_thousand_prompts_through_all_faults_end_as_ten_thousand_rows(tmp_path):
    prompts = make_prompts(tmp_path, 10_000)
    with load_server(faults=FAULTS) as server:
        made = generate(prompts, tmp_path / "out", server)
        asked, answered = server.asked(), server.answered()
    assert [row.prompt.id for row in made.rows()] == [row.id for row in prompts.rows()]
    assert made.manifest["facts"]["outcomes"] == {"answered": 10_000}
    for row in made.rows():
        assert row.text.startswith(f"The answer to: {row.prompt.messages[0]['content']} ")
    assert set(answered.values()) == {1} and len(answered) == 10_000  # none was asked twice
    account = made.manifest["account"]
    assert account["answered"] == 10_000
    assert sum(account["failed_attempts"].values()) == asked.total() - 10_000 > 2_000
    lost = FAULTS["hang"] + FAULTS["cut"] + FAULTS["garbage"]  # sent, and never answered well
    assert 0.7 * lost < account["possibly_billed"] / asked.total() < 1.3 * lost


def killed_after(seconds, work):
    """Do the work in a process of its own and kill it; returns whether it came to its end."""
    child = os.fork()
    if not child:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is what dup2 takes
            os.dup2(nowhere.fileno(), 2)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    """At random moments, in a write, in the journal, while the artifact is made."""
    prompts, random_ = make_prompts(tmp_path, 2_000), random.Random(7)
    load_stage("teacher-gen")  # so that a forked child need not import it
    kills, finished = 0, False
    with load_server(delay=0.02, faults=FAULTS) as server:
        while not finished:
            finished = killed_after(
                random_.uniform(0.02, 0.3) if kills < KILLS else 60,
                lambda: generate(prompts, tmp_path / "killed" / "out", server, concurrency=8),
            )
            kills += not finished
        answered = server.answered()
        server.forget()
        undisturbed = generate(prompts, tmp_path / "alone" / "out", server)
    assert kills >= KILLS * 0.8, "the work was over too early to say anything"
    made = soda.Responses.open(tmp_path / "killed" / "out", verify=True)
    assert made.digest == undisturbed.digest
    for name in made.manifest["files"]:
        assert (made.path / name).read_bytes() == (undisturbed.path / name).read_bytes()
    twice = answered.total() - len(answered)
    assert len(answered) == 2_000 and twice <= 8 * kills  # those under way at a kill
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in everything
