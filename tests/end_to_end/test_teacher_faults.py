"""teacher-gen against a server full of faults, and killed again and again: nothing is lost."""

import json
import subprocess
import sys
import time

import pytest

import soda
from soda.endpoint.job import Rules
from soda.endpoint.waits import Waits
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from tests.fakes.faulty_teacher import FAULTS, answer_text, faulty_teacher

pytestmark = pytest.mark.slow

KILLS = 60
SHORT = Waits(longest=0.02, crowd=0.02)
KEY = "canary-7d1f"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", KEY)


def make_prompts(root, count):
    lines = "".join(f'{{"prompt": "Say {number}."}}\n' for number in range(count))
    (root / "data.jsonl").write_text(lines)
    config = {"dataset": str(root / "data.jsonl")}
    return soda.run("prepare-prompts", inputs={}, config=config, out=root / "prompts")


def generate(prompts, out, server, waits=SHORT, **limits):
    config = {
        "base_url": server.url,
        "model": "fake-1",
        "probe": False,
        "limits": {"timeout_seconds": 0.5, **limits},
    }
    return generate_by(prompts, TeacherGenConfig.parse(config), Place.of(out), Rules(waits=waits))


def test_ten_thousand_prompts_through_all_faults_end_as_ten_thousand_rows(tmp_path):
    prompts = make_prompts(tmp_path, 10_000)
    with faulty_teacher(faults=FAULTS) as server:
        # Long enough that a busy machine does not give up on an answer that is already there.
        made = generate(prompts, tmp_path / "out", server, timeout_seconds=3)
        asked, answered = server.asked(), server.answered()
    assert [row.prompt.id for row in made.rows()] == [row.id for row in prompts.rows()]
    assert made.manifest.facts["outcomes"] == {"answered": 10_000}
    assert all(row.text == answer_text(row.prompt.messages[0]["content"]) for row in made.rows())
    assert set(answered.values()) == {1} and len(answered) == 10_000  # none was asked twice
    account = made.manifest.account
    assert account["answered"] == 10_000
    assert sum(account["failed_attempts"].values()) == asked.total() - 10_000 > 2_000
    lost = FAULTS["hang"] + FAULTS["cut"] + FAULTS["garbage"]  # sent, and never answered well
    assert 0.7 * lost < account["possibly_billed"] / asked.total() < 1.3 * lost


def test_with_the_waits_of_real_life_it_is_over_in_time(tmp_path):
    """A fifth of all requests is refused with 429 at once, while answers take their time."""
    prompts = make_prompts(tmp_path, 1_000)
    with faulty_teacher(delay=0.05, faults={"429": 0.2, "500": 0.05}) as server:
        begin = time.monotonic()
        made = generate(prompts, tmp_path / "out", server, Waits())
        assert time.monotonic() - begin < 60
    assert made.manifest.facts["outcomes"] == {"answered": 1_000}


@pytest.mark.parametrize("kind", ["limit", "queue"])
def test_the_endpoints_limit_is_found_whether_it_refuses_or_queues(tmp_path, kind):
    """32 at a time, 20 ms each: 1,600 answers a second are the most that anybody gets."""
    prompts = make_prompts(tmp_path, 6_000)
    with faulty_teacher(delay=0.02, **{kind: 32}) as server:
        begin = time.monotonic()
        generate(prompts, tmp_path / "out", server, Waits(), timeout_seconds=60)
        took = time.monotonic() - begin
        counts = server.get("/counts")
    assert sum(counts["asked"].values()) - 6_000 < 4_000  # refused, which costs nothing
    assert counts["most_under_way"] <= (32 if kind == "limit" else 160)
    assert took < 20


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    """At random moments, in a write, in the journal, while the artifact is made.

    In a process of its own: this one may have threads, and cannot be forked.
    """
    words = ["--prompts", "3000", "--kills", str(KILLS), "--seed", "7", "--folder", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "bench.soak", *words], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["kills"] >= KILLS * 0.8, "the work was over too early to say anything"
    assert found["rows"] == found["prompts"] and found["lost"] == 0 and found["same bytes"]
    assert found["answered twice"] <= found["under way at the kills"]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in ran.stdout + ran.stderr
