"""A judge that is asked over HTTP: verdicts, a journal of its own, and one bill for the run."""

import os
import signal

import pytest

from soda.endpoint.address import Address
from soda.endpoint.budget import Price
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Rules
from soda.endpoint.limits import Limits
from soda.errors import BudgetError, EndpointError
from soda.judging.endpoint import JUDGE, open_judge
from soda.judging.gap import measure_gap
from soda.judging.judges import ChatJudge, judge_all
from soda.judging.protocols import PairwiseProtocol
from soda.judging.verdicts import tally
from soda.storage import Place
from tests.fakes.judges import BiasedAsk, matchup
from tests.fakes.teacher import completion, error, fake_teacher
from tests.fakes.waits import SHORT

BODY = {"model": "org/grader-1", "max_tokens": 20, "temperature": 0}


def grade(body, times):
    """Prefer Paris to Lyon; refuse to speak of Rome, and be down for Bern."""
    text = body["messages"][-1]["content"]
    if "Rome." in text:
        return error(400, "flagged as harmful", "content_filter")
    if "Bern." in text:
        return error(503, "down")
    knows = {"Paris.": 50.0, "Lyon.": 0.0}.get
    return completion(BiasedAsk(knows).reply(body["messages"]))


def judging(store, url, **rules):
    endpoint = Endpoint(JUDGE, Address.parse(url))
    return open_judge(Place.of(store), endpoint, BODY, "all", Rules(waits=SHORT, **rules))


def judged(ask, rows, block=32):
    return list(judge_all(ChatJudge("grader-1", PairwiseProtocol(), ask), rows, block))


def test_a_gap_is_measured_over_http_and_no_verdict_is_paid_for_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_JUDGE_API_KEY", "judges-key-7")
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "teachers-key")
    rows = [matchup(f"m{number}") for number in range(40)]
    with fake_teacher(grade) as server:
        for _ in range(2):
            with judging(tmp_path, server.url) as ask:
                found = measure_gap(judged(ask, rows, block=8))
            assert found.decision == "pass" and server.asked.total() == 80
        assert set(server.keys) == {"Bearer judges-key-7"}
    [folder] = {path.parent for path in (tmp_path / "journal").rglob("*.jsonl")}
    assert folder.parent == tmp_path / "journal" / "judge"
    assert folder.name.startswith("org-grader-1-")


def test_what_the_judge_does_not_answer_is_unclear_and_counted(tmp_path):
    rows = [matchup("good"), matchup("refused", "Rome."), matchup("down", "Bern.")]
    with fake_teacher(grade) as server:
        with judging(tmp_path, server.url, most_failed=4) as ask:
            found = judged(ask, rows)
        assert [one.score for one in found] == [1, None, None]
        assert tally(found).unanswered == 2
        with (
            judging(tmp_path, server.url, most_failed=1) as ask,
            pytest.raises(EndpointError, match=r"no answer to 2 of 6 .*down"),
        ):
            judged(ask, rows)


def test_the_cap_holds_for_all_that_a_run_asks_together(tmp_path):
    """Blocks are asked one after the other; the third would pass the cap."""
    rows = [matchup(f"m{number}") for number in range(8)]
    cost = Price(output=1e6)  # a dollar a token: an answer has one, and may have twenty
    with fake_teacher(grade) as server:
        with (
            judging(tmp_path, server.url, price=cost, limits=Limits(usd=24)) as ask,
            pytest.raises(BudgetError, match=r"judge\.limits\.usd: \$5.* is spent"),
        ):
            judged(ask, rows, block=1)
        assert server.asked.total() == 5


def test_a_judge_that_refuses_the_key_stops_the_run_and_names_its_own_variable(tmp_path):
    with (
        fake_teacher(lambda body, times: error(401, "who?")) as server,
        judging(tmp_path, server.url) as ask,
        pytest.raises(EndpointError, match="the key in SODA_JUDGE_API_KEY was refused"),
    ):
        judged(ask, [matchup()])


def test_a_signal_ends_a_run_in_order_and_the_next_goes_on(tmp_path, capsys):
    rows = [matchup(f"m{number}") for number in range(30)]
    killed = []

    def behaviour(body, times):
        if not killed:
            killed.append(os.kill(os.getpid(), signal.SIGTERM))
        return grade(body, times)

    with fake_teacher(behaviour) as server:
        with judging(tmp_path, server.url) as ask, pytest.raises(SystemExit) as stopped:
            judged(ask, rows)
        assert stopped.value.code == 143 and 0 < server.asked.total() < 60
        assert "judge: Terminated; what was answered is kept" in capsys.readouterr().err
        with judging(tmp_path, server.url) as ask:
            assert {one.score for one in judged(ask, rows)} == {1}
        assert server.asked.total() == 60
