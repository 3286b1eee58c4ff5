"""What one run does for any caller: a judge here, with its own key, name, limits and journal."""

import dataclasses
import json

import pytest

from soda.endpoint.address import Address
from soda.endpoint.budget import Price
from soda.endpoint.caller import Caller
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Job, Rules, Work
from soda.endpoint.limits import Limits
from soda.endpoint.request import Request
from soda.endpoint.upload import open_journal
from soda.errors import BudgetError, ConfigError, EndpointError
from soda.storage import Place
from tests.fakes.artifacts import make_prompts
from tests.fakes.teacher import completion, echo, error, fake_teacher
from tests.fakes.waits import SHORT

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")
BODY = {"model": "grader-1", "max_tokens": 10}


def asked(numbers, where):
    for number in numbers:
        messages = [{"role": "user", "content": f"Grade {number}."}]
        yield Request.of(where, {**BODY, "messages": messages})


class Judge:
    """A judge with a journal of its own in a store."""

    def __init__(self, store, url, count=6, **rules):
        self.store = store
        self.endpoint = Endpoint(JUDGE, Address.parse(url))
        where = self.endpoint.address.identity
        self.work = Work(BODY, lambda: asked(range(count), where), count)
        self.rules = dataclasses.replace(Rules(waits=SHORT), **rules)

    def run(self, at_most=None):
        """Ask; return the answers and the account."""
        with open_journal(Place.of(self.store), "judge/grader-1", "all") as journal:
            job = Job(journal, self.endpoint, self.work, self.rules)
            job.run(at_most)
            return [job.end_of(each) for each in self.work.requests()], job.account()


def test_a_judge_beside_teacher_gen_needs_no_edit(tmp_path, monkeypatch, capsys):
    """One store and one process; nothing of the one is seen in the other."""
    from soda.stages.teacher_gen import TeacherGenConfig, generate

    monkeypatch.setenv("SODA_TEACHER_API_KEY", "teachers-key")
    monkeypatch.setenv("SODA_JUDGE_API_KEY", "judges-key-7")
    prompts = make_prompts(tmp_path, 6)
    with fake_teacher() as teacher, fake_teacher() as grader:
        config = {"base_url": teacher.url, "model": "big", "probe": False}
        made = generate(
            prompts, TeacherGenConfig.parse(config), Place.of(tmp_path / "out"), Rules(waits=SHORT)
        )
        limits = Limits(concurrency=2, usd=0.5)
        judge = Judge(
            tmp_path / ".soda", grader.url, price=Price(input=10, output=20), limits=limits
        )
        answers, account = judge.run()
        assert set(grader.keys) == {"Bearer judges-key-7"}
        assert set(teacher.keys) == {"Bearer teachers-key"}
        again = judge.run()[1]
        assert grader.asked.total() == 6 and again["answered"] == 0
    assert len(made) == 6 and made.manifest.account["answered"] == 6
    assert [answer.text for answer in answers] == [
        f"The answer to: Grade {number}." for number in range(6)
    ]
    assert account["usd"] == pytest.approx(6 * (5 * 10 + 5 * 20) / 1e6)
    journals = {path.parent for path in (tmp_path / ".soda" / "journal").rglob("*.jsonl")}
    names = {folder.relative_to(tmp_path / ".soda" / "journal").parts[0] for folder in journals}
    assert names == {"judge", "teacher-gen"}
    said = capsys.readouterr().err
    assert "judge: 6/6" in said and "teacher-gen: 6/6" in said


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (error(401, "who?"), "the key in SODA_JUDGE_API_KEY was refused"),
        (error(404, "no model grader-1 not found"), "no model 'grader-1' there"),
        (error(429, "later", Retry_After="99999"), r"the grader asks .* judge\.limits\.patience"),
    ],
)
def test_messages_name_the_judge(tmp_path, reply, problem):
    with (
        fake_teacher(lambda body, times: reply) as grader,
        pytest.raises(EndpointError, match=problem) as refused,
    ):
        Judge(tmp_path, grader.url).run()
    assert "teacher" not in str(refused.value).lower()


def test_the_judges_limits_are_its_own(tmp_path):
    with fake_teacher() as grader:
        with pytest.raises(ConfigError, match=r"judge\.limits\.usd: expected judge\.price"):
            Judge(tmp_path, grader.url, limits=Limits(usd=1)).run()
        price = Price(output=1e6)
        with pytest.raises(BudgetError, match=r"judge\.limits\.usd"):
            Judge(tmp_path, grader.url, limits=Limits(usd=1), price=price).run()
        assert not grader.asked


def test_the_first_few_can_be_asked_alone(tmp_path):
    with fake_teacher() as grader:
        judge = Judge(tmp_path, grader.url)
        assert judge.run(at_most=2)[1]["answered"] == 2
        ends, account = judge.run()
    assert account["answered"] == 4 and {end.outcome for end in ends} == {"answered"}


def test_a_row_that_stays_unanswered_says_why_and_is_named_when_there_are_too_many(tmp_path):
    def behaviour(body, times):
        return error(503, "busy") if "3" in body["messages"][0]["content"] else echo(body, times)

    with fake_teacher(behaviour) as grader:
        ends, _ = Judge(tmp_path, grader.url, most_failed=1).run()
        assert (ends[3].outcome, ends[3].detail) == ("failed", "503 busy")
        judge = Judge(tmp_path, grader.url)
        judge.work = dataclasses.replace(judge.work, name_of=lambda request: "grade 3")
        with pytest.raises(EndpointError, match=r"no answer to 1 of 6 .* to grade 3: 503 busy"):
            judge.run()


@pytest.mark.parametrize("code", [None, "content_filter"])
def test_refused_rows_of_earlier_runs_count_too(tmp_path, code):
    """Two runs may not each leave out as many as one may; a known filter is no exception."""

    def behaviour(body, times):
        number = int(body["messages"][0]["content"].split()[1][:-1])
        return error(400, "odd", code) if number in (1, 4) else echo(body, times)

    with fake_teacher(behaviour) as grader:
        first = Judge(tmp_path, grader.url, count=4, most_failed=1)
        assert [end.outcome for end in first.run()[0]].count("refused") == 1
        with pytest.raises(EndpointError, match="no answer to 2 of 6"):
            Judge(tmp_path, grader.url, most_failed=1).run()


# --- a later version reads more


def kept(store):
    path = next(store.rglob("*.jsonl"))
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def test_what_an_earlier_version_could_not_read_is_read_again_and_not_asked_for(tmp_path):
    """The journal as a version left it that knew no lists of parts: paid for, and no answer."""
    odd = completion("", content=[{"type": "video", "text": "seen"}])
    with fake_teacher(lambda body, times: odd if "3" in body["messages"][0]["content"]
                      else echo(body, times)) as grader:  # fmt: skip
        judge = Judge(tmp_path, grader.url, most_failed=1, price=Price(output=1e6))
        ends, account = judge.run()
        assert ends[3].outcome == "failed" and account["usd_possibly_billed"] == 10
        path, _ = kept(tmp_path)
        path.write_text(path.read_text().replace('\\"video\\"', '\\"text\\"'))
        ends, account = judge.run()
        assert (ends[3].outcome, ends[3].text) == ("answered", "seen")
        assert grader.asked["Grade 3."] == 1 and account["answered"] == 0
        assert account["usd_possibly_billed"] == 0


def test_what_this_version_cannot_read_of_an_earlier_ones_answers_is_a_row(tmp_path):
    with fake_teacher() as grader:
        judge = Judge(tmp_path, grader.url, most_failed=1)
        judge.run()
        path, _ = kept(tmp_path)
        path.write_text(path.read_text().replace("choices", "chances", 1))
        ends, account = judge.run()
    [end] = [end for end in ends if end.outcome == "failed"]
    assert "expected a chat completion" in end.detail and account["answered"] == 0


def test_answers_of_another_model_are_asked_for_again_once_the_caller_is_strict(tmp_path):
    served = {"model": "small"}

    def behaviour(body, times):
        status, headers, answer = echo(body, times)
        return status, headers, {**answer, **served}

    def check(answer):
        return None if answer.model == "grader-1" else f"served by {answer.model}"

    with fake_teacher(behaviour) as grader:
        Judge(tmp_path, grader.url).run()
        price = Price(output=1e6)  # a dollar a token
        strict = Judge(tmp_path, grader.url, check=check, strict=True, most_failed=6, price=price)
        ends, _ = strict.run()
        assert {end.detail for end in ends} == {"served by small"}
        served["model"] = "grader-1"
        for _ in range(2):
            ends, account = strict.run()
            assert {end.model for end in ends} == {"grader-1"}
        assert account["usd"] == 2 * 6 * 5  # also what the other model's answers have cost
        assert account["usd_possibly_billed"] == 6 * 10
        assert set(grader.asked.values()) == {3}
        assert {end.model for end in Judge(tmp_path, grader.url).run()[0]} == {"small"}
