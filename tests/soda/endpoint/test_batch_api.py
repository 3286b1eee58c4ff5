"""The Batch API against a real server on loopback: every answer once, wherever a run stops."""

import json

import pytest

from soda.endpoint.job import Rules
from soda.errors import BudgetError, EndpointError
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from tests.fakes.artifacts import make_prompts
from tests.fakes.batches import answer_all, batch_server
from tests.fakes.teacher import completion, error
from tests.fakes.waits import SHORT

COUNT = 12


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return make_prompts(tmp_path_factory.mktemp("prompts"), COUNT)


def generate(prompts, out, server, size=50_000, **values):
    config = {"base_url": server.url, "model": "big", "batch": True, "probe": False, **values}
    rules = Rules(waits=SHORT, batch_size=size)
    return generate_by(prompts, TeacherGenConfig.parse(config), Place.of(out), rules)


def number(body):
    return int(body["messages"][-1]["content"].rstrip(".").split()[-1])


def test_every_prompt_is_answered_by_one_batch_and_kept(prompts, tmp_path):
    with batch_server() as server:
        made = generate(prompts, tmp_path / "out", server)
        again = generate(prompts, tmp_path / "again", server)
    texts = [row.messages[-1]["content"] for row in prompts.rows()]
    assert [row.text for row in made.rows()] == [f"The answer to: {text}" for text in texts]
    assert again.digest == made.digest and set(server.asked.values()) == {1}
    assert len(server.batches) == 1


def test_many_requests_make_several_batches(prompts, tmp_path):
    with batch_server() as server:
        made = generate(prompts, tmp_path / "out", server, size=5)
    assert len(server.batches) == 3 and set(server.asked.values()) == {1}
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}


def test_an_expired_batch_keeps_what_it_finished_and_the_rest_is_asked_again(prompts, tmp_path):
    def half(body, times):
        return None if number(body) % 2 and times == 0 else answer_all(body, times)

    with batch_server(half) as server:
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert sorted(server.asked.values()) == [1] * 6 + [2] * 6
    assert made.manifest.account["possibly_billed"] == 0


def test_every_way_a_line_can_end_is_a_row(prompts, tmp_path):
    ends = [
        completion("cut", "length"),
        error(400, "not this", "content_filter"),
        error(400, "too long", "context_length_exceeded"),
        error(500, "oops"),
    ]
    with batch_server(
        lambda body, times: ends[number(body)] if number(body) < 4 else answer_all(body, times)
    ) as server:
        with pytest.raises(EndpointError, match=r"no answer to 3 of 12 .*'Say"):
            generate(prompts, tmp_path / "out", server, max_failed_share=0.2)
        made = generate(prompts, tmp_path / "out", server, max_failed_share=0.25)
    outcomes = [row.outcome for row in made.rows()]
    assert outcomes == ["truncated", "refused", "failed", "failed"] + ["answered"] * (COUNT - 4)
    assert list(made.rows())[3].detail == "500 oops"
    assert sorted(server.asked.values()) == [1] * (COUNT - 1) + [6]  # three times a run


@pytest.mark.parametrize("path", ["/files", "/batches"])
@pytest.mark.parametrize("fault", ["lose", error(503, "busy"), error(429, "slow")])
def test_a_call_whose_answer_is_lost_makes_no_second_batch(prompts, tmp_path, path, fault):
    with batch_server(
        fault=lambda method, at, times: fault if (at, times, method) == (path, 0, "POST") else None
    ) as server:
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert len(server.batches) == 1 and set(server.asked.values()) == {1}


STOPS = [
    ("POST", "/files", error(401, "who?")),
    ("POST", "/batches", error(401, "who?")),
    ("GET", "/batches/batch_2", error(401, "who?")),
    ("GET", "/files/file-3/content", error(401, "who?")),
]


@pytest.mark.parametrize(("method", "path", "fault"), STOPS)
def test_a_run_that_was_stopped_goes_on_where_it_was(prompts, tmp_path, method, path, fault):
    def stop_once(used, at, times):
        return fault if (used, at, times) == (method, path, 0) else None

    with batch_server(fault=stop_once) as server:
        with pytest.raises(EndpointError, match="was refused"):
            generate(prompts, tmp_path / "out", server)
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert len(server.batches) == 1 and set(server.asked.values()) == {1}


def test_a_batch_whose_creation_was_never_heard_of_is_found_again(prompts, tmp_path):
    """The server made it, the run died before it knew: a restart takes it, and pays once."""
    broken = {"on": True}

    def fault(method, path, times):
        if not broken["on"]:
            return None
        return "lose" if (method, path) == ("POST", "/batches") else None

    def dead(method, path, times):
        if fault(method, path, times):
            return "lose"
        listing = (method, path) == ("GET", "/batches") and times > 1 and broken["on"]
        return error(401, "who?") if listing else None

    with batch_server(fault=dead) as server:
        with pytest.raises(EndpointError):
            generate(prompts, tmp_path / "out", server)
        broken["on"] = False
        made = generate(prompts, tmp_path / "out", server)
    assert len(server.batches) == 1 and set(server.asked.values()) == {1}
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}


def test_a_failed_batch_says_why(prompts, tmp_path):
    with batch_server() as server:
        server.fails_with = {"code": "invalid_json", "message": "line 3 is no JSON"}
        with pytest.raises(EndpointError, match="batch_2 failed: line 3 is no JSON"):
            generate(prompts, tmp_path / "out", server)
        made = generate(prompts, tmp_path / "out", server, price={"output": 1e6})
    assert made.manifest.account["possibly_billed"] == 0  # it was never begun
    assert made.manifest.account["usd_possibly_billed"] == 0


def test_too_many_tokens_at_once_is_tried_again_later(prompts, tmp_path):
    with batch_server() as server:
        server.fails_with = {"code": "token_limit_exceeded", "message": "too many"}
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT} and len(server.batches) == 2


def test_a_failed_batch_of_an_earlier_process_is_freed_by_its_input_file(prompts, tmp_path):
    def stop_once(method, path, times):
        return error(401, "who?") if (path, times) == ("/batches/batch_2", 0) else None

    with batch_server(fault=stop_once) as server:
        server.fails_with = {"code": "token_limit_exceeded", "message": "too many"}
        with pytest.raises(EndpointError, match="was refused"):
            generate(prompts, tmp_path / "out", server)
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.account["possibly_billed"] == 0 and len(server.batches) == 2


def test_the_cap_holds_for_batches_too_at_half_the_price(prompts, tmp_path):
    values = {
        "price": {"output": 2e6},  # two dollars a token, which is one in a batch
        "sampling": {"max_tokens": 10},
        "limits": {"usd": 55},  # five at a time at most, and each costs eight
    }
    with (
        batch_server(lambda body, times: completion("word " * 8)) as server,
        pytest.raises(BudgetError, match="raise the limit and run again"),
    ):
        generate(prompts, tmp_path / "out", server, **values)
    assert server.asked.total() == 6 and len(server.batches) == 2


def test_a_batch_costs_half(prompts, tmp_path):
    values = {"price": {"input": 2e6, "output": 2e6}}
    with batch_server(lambda body, times: completion("word " * 8)) as server:
        made = generate(prompts, tmp_path / "out", server, **values)
    assert made.manifest.account["usd"] == COUNT * (5 + 8)


def test_refusals_are_rows_and_count_as_unanswered(prompts, tmp_path):
    def work(body, times):
        return error(400, "odd prompt") if number(body) == 3 else answer_all(body, times)

    with batch_server(work) as server:
        with pytest.raises(EndpointError, match="no answer to 1 of 12 prompts"):
            generate(prompts, tmp_path / "out", server)
        made = generate(prompts, tmp_path / "out", server, max_failed_share=0.1)
    row = list(made.rows())[3]
    assert (row.outcome, row.detail) == ("refused", "refused (400): odd prompt")
    assert set(server.asked.values()) == {1}


def test_a_batch_that_is_refused_line_by_line_keeps_none_as_final(prompts, tmp_path):
    with batch_server(lambda body, times: error(400, "no temperature here")) as server:
        expected = "found none to the 12 requests of a batch; the last: refused .400.: no temp"
        with pytest.raises(EndpointError, match=expected):
            generate(prompts, tmp_path / "out", server)
    journal = next((tmp_path / ".soda" / "journal").rglob("*.jsonl")).read_text()
    assert '"received"' not in journal and set(server.asked.values()) == {1}


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id": "request-1", "response": {"status_code": 200, "body": {}}}',
        b'{"custom_id": "' + b"0" * 64 + b'", "response": {"status_code": 200, "body": {}}}',
        b'{"custom_id": "torn',
        b"[]",
        b"3",
        b'{"id": 1}',
    ],
)
def test_a_line_that_is_not_ours_or_torn_is_left_out_and_said(prompts, tmp_path, line, capsys):
    def spoil(method, path, times):
        if path.endswith("/content"):
            for name in server.files:
                server.files[name] += line if b'"response"' in server.files[name] else b""
        return

    with batch_server(fault=spoil) as server:
        made = generate(prompts, tmp_path / "out", server)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert "left out 1 lines: torn, or not ours" in capsys.readouterr().err


def test_answers_of_odd_forms_are_rows_and_kept(prompts, tmp_path):
    odd = [completion("", content=[{"type": "video"}]), completion("half", "abort"),
           completion("half", "what is this")]  # fmt: skip

    def work(body, times):
        return odd[number(body)] if number(body) < len(odd) else answer_all(body, times)

    with batch_server(work) as server:
        made = generate(prompts, tmp_path / "out", server, max_failed_share=0.3)
    assert [row.outcome for row in made.rows()][:4] == ["failed"] * 3 + ["answered"]
    journal = next((tmp_path / ".soda" / "journal").rglob("*.jsonl")).read_text()
    assert sum('"unusable"' in line for line in journal.splitlines()) == 2
    assert json.dumps("video")[1:-1] in journal
