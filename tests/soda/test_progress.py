"""Progress where there is no terminal: lines that a person and a runner can read."""

import pytest

from soda.errors import ConfigError, refuse
from soda.progress import progress, say, share_done


@pytest.fixture
def lines(capsys, monkeypatch):
    monkeypatch.setenv("SODA_PROGRESS_SECONDS", "0")
    return lambda: capsys.readouterr().err.splitlines()


def test_a_line_says_how_far_it_is_and_what_the_work_adds(lines):
    bar = progress("teacher-gen", total=8, unit="prompts", done=2)
    bar.set_postfix_str("5 under way", refresh=False)
    bar.update(2)
    bar.close()
    last = lines()[-1]
    assert last.startswith("teacher-gen: 4/8 prompts (50 %), ")
    assert ", , " not in last and last.endswith(" left, 5 under way")


def test_a_slow_rate_is_a_rate_too(lines):
    bar = progress("snapshot", total=8, unit="answers")
    bar.start_t -= 40
    bar.update(2)
    bar.close()
    assert lines()[-1].startswith("snapshot: 2/8 answers (25 %),  0.05 answers/s, 00:40 elapsed, ")


def test_bytes_are_shown_in_large_units(lines):
    progress("download", total=2_500_000, unit="B", done=1_250_000).close()
    assert lines()[-1].startswith("download: 1.25M/2.50MB (50 %), ")


def test_the_share_is_read_from_every_line_of_progress_and_from_no_other(lines):
    for unit, total in (("B", 4_000), ("answers", 4)):
        bar = progress("eval: before: answers", total=total, unit=unit)
        bar.update(total / 4)
        bar.close()
        assert share_done(lines()[-1]) == 0.25
    say("train: sft step 1/2, validation (50 %) is not so far")
    assert share_done(lines()[-1]) is None


def test_a_work_of_unknown_size_begins_at_nothing(lines):
    progress("teacher-gen: batches", total=0, unit="answers").close()
    assert share_done(lines()[-1]) == 0


def test_nothing_is_drawn_after_a_refusal(lines):
    bar = progress("pair-build", total=8, unit="prompts")
    bar.update(2)
    refuse(ConfigError("wrong"))
    del bar
    *_, drawn, last = lines()
    assert drawn.startswith("pair-build: 2/8 prompts") and last == "soda: wrong"
