"""A local run as a person sees it: a line a step, and the rest in a file."""

import contextlib
import io
import threading

import pytest
from kfp import dsl, local

from soda_pipelines.display import Display, clock_time

REFUSAL = "soda: prompts.jsonl: expected prompts, found none"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def talk(says: list) -> str:
    for line in says:
        print(line, flush=True)
    if says and says[-1].startswith(("soda: ", "Trace")):
        raise SystemExit(2)
    return "unchanged"


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A second a look: one at a step's start, one at its end, one at each line that soda says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def show(tmp_path):
    """Run steps one after another; return what was seen and what is in the log."""

    def run(*steps, stream=None, clock=None):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
        seen, log = stream or io.StringIO(), io.StringIO()
        display = Display({"comp-talk": "Talk"}, log, seen, clock or Clock())
        with display.showing():
            for step in steps:
                with contextlib.suppress(RuntimeError):
                    talk(**step)
        return seen.getvalue(), log.getvalue(), display.failed

    return run


def test_a_step_is_a_line_with_its_time_and_what_it_returned(show):
    seen, log, failed = show({"says": ["train: on its way"]}, {"says": []})
    assert seen.splitlines() == [
        "Talk                          2.0 s  unchanged",
        "Talk                          1.0 s  unchanged",
    ]
    assert failed == [] and " Talk: train: on its way\n" in log and "KFP Executor" in log


def test_of_a_failing_step_the_refusal_is_shown(show):
    seen, log, failed = show({"says": ["train: noise", REFUSAL]})
    assert seen.splitlines() == ["Talk                          3.0 s  failed", f"    {REFUSAL}"]
    assert failed == ["Talk"] and "noise" in log


def test_of_a_step_that_crashes_the_last_lines_are_shown(show):
    says = [*(f"number {number}" for number in range(30)), "Traceback: the end"]
    seen = show({"says": says})[0].splitlines()
    assert len(seen) == 13 and seen[1] == "    number 19" and seen[-1] == "    Traceback: the end"


def test_a_long_step_says_now_and_then_how_far_it_is(show):
    says = [f"dpo: {n}/9 steps ({n} %), 1 steps/s, 00:01 elapsed, 00:02 left" for n in range(400)]
    *lines, last = show({"says": says})[0].splitlines()
    shown = [int(line.removeprefix("Talk: dpo: ").partition("/")[0]) for line in lines]
    assert shown == [29, 89, 209, 329] and last.startswith("Talk  ")


def test_on_a_terminal_a_bar_moves_and_makes_room_for_the_line(show):
    says = [
        "dpo: 3/4 steps (75 %), 1 steps/s, 00:01 elapsed, 00:02 left, loss=1",
        "report: Html( name=",
    ]
    seen = show({"says": says}, stream=Terminal())[0]
    assert " 75 %|" in seen and "dpo: 3/4 steps, 1 steps/s, 00:02 left, loss=1" in seen
    assert seen.endswith("Talk                          1.0 s  unchanged\n"), seen
    assert "Html(" not in seen


def test_steps_that_overlap_keep_their_lines_apart(tmp_path):
    log, seen = io.StringIO(), io.StringIO()
    display = Display({}, log, seen, Clock())
    both = threading.Barrier(2)

    def step(name):
        with display._step(f"comp-{name}") as shown:
            display.write(f"{name}: begun")
            both.wait(10)
            display.write(" and ended\n")
            shown.is_failed = False

    threads = [threading.Thread(target=step, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line.split(" ", 1)[1] for line in log.getvalue().splitlines()]
    assert sorted(lines) == ["one: one: begun and ended", "two: two: begun and ended"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.2, "1:01"), (3723, "1:02:03")]
)
def test_a_duration_is_short(seconds, text):
    assert clock_time(seconds) == text
