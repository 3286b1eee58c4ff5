"""Asking the teacher: every prompt once, whatever happens, and nothing secret on the disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

import soda
from soda.cli import main
from soda.endpoint.job import Rules
from soda.errors import ArtifactError, ConfigError, DataError, EndpointError, StorageError
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from tests.fakes.artifacts import make_prompts
from tests.fakes.teacher import completion, echo, error, fake_teacher
from tests.fakes.waits import SHORT

COUNT = 12
SECRET = "canary-3f9a"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return make_prompts(tmp_path_factory.mktemp("prompts"), COUNT)


@pytest.fixture(scope="module")
def texts(prompts):
    return [row.messages[-1]["content"] for row in prompts.rows()]


def config(teacher, **values):
    return {"base_url": getattr(teacher, "url", teacher), "model": "big", **values}


def generate(prompts, out, values):
    return generate_by(prompts, TeacherGenConfig.parse(values), Place.of(out), Rules(waits=SHORT))


def command(prompts, out, values):
    sets = [f"--set={key}={json.dumps(value)}" for key, value in values.items()]
    return ["teacher-gen", "--prompts", str(prompts.path), "--out", str(out), *sets]


def refused(prompts, out, values, capsys):
    """Run the command line, expect a refusal, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        main(command(prompts, out, values))
    lines = [line for line in capsys.readouterr().err.splitlines() if " elapsed, " not in line]
    assert ended.value.code == 2 and not out.exists() and len(lines) == 1
    return lines[0]


def asked_number(body):
    return int(body["messages"][-1]["content"].rstrip(".").split()[-1])


# --- what it makes


def test_every_prompt_ends_as_one_row_in_order_and_is_counted(prompts, tmp_path):
    endings = [
        completion("cut", "length"),
        completion("", refusal="no"),
        completion(""),
        error(400, "too long", "context_length_exceeded"),
    ]

    def behaviour(body, times):
        number = asked_number(body)
        time.sleep(0.02 * (COUNT - number) / COUNT)  # the first answers come last
        return endings[number] if number < len(endings) else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher, max_failed_share=0.1))
    rows = list(made.rows())
    assert [row.prompt for row in rows] == list(prompts.rows())
    ends = ["truncated", "refused", "empty", "failed"]
    assert [row.outcome for row in rows] == ends + ["answered"] * (COUNT - 4)
    assert all(row.text.endswith(row.prompt.messages[-1]["content"]) for row in rows[4:])
    assert [row.detail for row in rows[:5]] == [
        None,
        "no",
        None,
        "context_length_exceeded: too long",
        None,
    ]
    facts = made.manifest.facts
    assert facts["outcomes"] == {"answered": COUNT - 4} | dict.fromkeys(ends, 1)
    assert facts["teacher"]["served"] == ["fake-1"] and len(made) == COUNT
    assert set(teacher.asked.values()) == {1}


def test_the_request_is_the_prompt_the_model_and_the_sampling(prompts, tmp_path):
    bodies = []

    def behaviour(body, times):
        bodies.append(body)
        return echo(body, times)

    sampling = {"temperature": 0.7, "max_tokens": 9, "stop": ["\n"]}
    with fake_teacher(behaviour) as teacher:
        generate(prompts, tmp_path / "out", config(teacher, sampling=sampling))
    expected = [{"model": "big", "messages": row.messages, **sampling} for row in prompts.rows()]
    key = json.dumps
    assert sorted(bodies, key=key) == sorted(expected, key=key)


def test_a_system_prompt_goes_before_every_prompt_and_into_no_row(prompts, tmp_path):
    bodies = []

    def behaviour(body, times):
        bodies.append(body["messages"])
        return echo(body, times)

    with fake_teacher(behaviour) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher, system="Answer badly."))
        named = generate(
            prompts, tmp_path / "named", config(teacher, system="Answer badly.", source="bad")
        )
    assert {row.source for row in named.rows()} == {"bad"}
    assert [row.prompt for row in made.rows()] == list(prompts.rows())
    assert {row.source for row in made.rows()} == {"big"}
    told = [
        [{"role": "system", "content": "Answer badly."}, *row.messages] for row in prompts.rows()
    ]
    assert sorted(map(json.dumps, bodies)) == sorted(map(json.dumps, told))


def test_a_second_run_elsewhere_asks_for_nothing_and_makes_the_same(prompts, tmp_path):
    with fake_teacher() as teacher:
        first = generate(prompts, tmp_path / "first", config(teacher))
        second = generate(prompts, tmp_path / "second", config(teacher))
    assert first.digest == second.digest
    assert teacher.asked.total() == COUNT


def test_another_model_sampling_or_endpoint_asks_again(prompts, tmp_path):
    with fake_teacher() as teacher, fake_teacher() as other:
        generate(prompts, tmp_path / "a", config(teacher))
        generate(prompts, tmp_path / "b", config(teacher, model="bigger"))
        generate(prompts, tmp_path / "c", config(teacher, sampling={"max_tokens": 7}))
        assert set(teacher.asked.values()) == {3}
        generate(prompts, tmp_path / "d", config(other))
        assert set(other.asked.values()) == {1}


def test_numbers_from_kubeflow_make_the_same_request(prompts, tmp_path):
    with fake_teacher() as teacher:
        ours = {"max_tokens": 7, "temperature": 0.5, "logit_bias": {"5": -100}}
        theirs = {"max_tokens": 7.0, "temperature": 0.5, "logit_bias": {"5": -100.0}}
        first = generate(prompts, tmp_path / "a", config(teacher, sampling=ours))
        second = generate(prompts, tmp_path / "b", config(teacher, sampling=theirs))
    assert first.digest == second.digest
    assert teacher.asked.total() == COUNT


def test_half_a_character_in_an_answer_is_replaced(prompts, tmp_path):
    with fake_teacher(lambda body, times: completion("cut \ud83d", "length")) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher))
    assert {row.text for row in made.rows()} == {"cut \ufffd"}


def test_the_environment_wins_over_the_recipe_and_is_recorded(prompts, tmp_path, monkeypatch):
    with fake_teacher() as teacher:
        monkeypatch.setenv("SODA_TEACHER_BASE_URL", teacher.url)
        monkeypatch.setenv("SODA_TEACHER_MODEL", "biggest")
        made = generate(prompts, tmp_path / "out", config("http://127.0.0.1:1/v1"))
    for place in (made.manifest.config, made.manifest.facts["teacher"]):
        assert place["model"] == "biggest"
    assert made.manifest.config["base_url"] == teacher.url
    assert made.manifest.facts["teacher"]["endpoint"] == teacher.url


# --- shards, money, the teacher's fingerprint


def rows_of(made):
    return (made.path / "responses.jsonl").read_bytes()


def test_shards_ask_each_prompt_once_and_the_whole_after_them_asks_none(prompts, tmp_path):
    with fake_teacher() as teacher:
        shards = [
            generate(prompts, tmp_path / f"shard{number}", config(teacher, shard=f"{number}/3"))
            for number in (1, 2, 3)
        ]
        assert teacher.asked.total() == COUNT and set(teacher.asked.values()) == {1}
        whole = generate(prompts, tmp_path / "whole", config(teacher))
        assert teacher.asked.total() == COUNT
        alone = generate(prompts, tmp_path / "alone" / "whole", config(teacher))
    assert sorted(row.prompt.id for made in shards for row in made.rows()) == sorted(
        row.id for row in prompts.rows()
    )
    assert rows_of(whole) == rows_of(alone) and whole.digest == alone.digest


def test_a_shard_beyond_the_last_prompt_has_no_rows(prompts, tmp_path):
    with fake_teacher() as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher, shard="40/50"))
    assert list(made.rows()) == [] and len(made) == 0 and not teacher.probed


def test_shards_of_one_store_run_at_the_same_time(prompts, tmp_path):
    def slow(body, times):
        time.sleep(0.05)
        return echo(body, times)

    with fake_teacher(slow) as teacher:
        running = [
            start(prompts, tmp_path / f"shard{number}", config(teacher, shard=f"{number}/3"))
            for number in (1, 2, 3)
        ]
        assert all(one.communicate(timeout=60) and one.returncode == 0 for one in running)
        generate(prompts, tmp_path / "whole", config(teacher))
    assert set(teacher.asked.values()) == {1} and teacher.asked.total() == COUNT


def test_two_runs_of_one_shard_do_not_meet(prompts, tmp_path):
    def slow(body, times):
        time.sleep(0.3)
        return echo(body, times)

    with fake_teacher(slow) as teacher:
        values = config(teacher, limits={"concurrency": 2})
        one = start(prompts, tmp_path / "one", values)
        while not teacher.asked:
            time.sleep(0.01)
        with pytest.raises(StorageError, match="another run is at work on this"):
            generate(prompts, tmp_path / "two", {**values, "max_failed_share": 0.5})
        assert one.communicate(timeout=60) and one.returncode == 0
    assert set(teacher.asked.values()) == {1}


def test_what_it_cost_is_in_the_manifest_and_makes_no_other_artifact(prompts, tmp_path):
    priced = {"price": {"input": 1.0, "output": 10.0}, "limits": {"usd": 1}}
    with fake_teacher() as teacher:
        one = generate(prompts, tmp_path / "one", config(teacher, **priced))
        two = generate(prompts, tmp_path / "two", config(teacher))
    tokens = sum(row.tokens for row in one.rows())
    account = one.manifest.account
    probes = (12 * 5 + 10 * 12 * 3) / 1e6  # five tokens in and three out, each
    assert account["usd"] == pytest.approx((COUNT * 5 + 10 * tokens) / 1e6 + probes)
    assert account["answered"] == COUNT and account["possibly_billed"] == 0
    assert two.manifest.account["answered"] == 0 and one.digest == two.digest


def test_a_teacher_that_changed_behind_its_name_is_seen(prompts, tmp_path, capsys):
    with fake_teacher() as teacher:
        made = generate(prompts, tmp_path / "a", config(teacher, shard="1/3"))
        generate(prompts, tmp_path / "b", config(teacher, shard="2/3"))
        assert "has changed" not in capsys.readouterr().err
        teacher.says = "another model's answer"
        generate(prompts, tmp_path / "c", config(teacher, shard="3/3"))
    assert "the teacher has changed since its earlier answers" in capsys.readouterr().err
    fingerprint = made.manifest.account["fingerprint"]
    assert fingerprint["model"] == "fake-1" and fingerprint["fingerprint"] == "fp"
    assert fingerprint["answers"] == [["a probe's answer"] * 2] * 6
    assert set(teacher.probed.values()) == {6}


def test_a_run_that_asks_nothing_probes_nothing(prompts, tmp_path):
    with fake_teacher() as teacher:
        for name in ("a", "b"):
            generate(prompts, tmp_path / name, config(teacher))
        generate(prompts, tmp_path / "new" / "c", config(teacher, probe=False))
    assert set(teacher.probed.values()) == {2}


# --- thinking, other models, one address


def thinking(body, times):
    return completion(f"<think>hm {times}</think>\n\nThe answer.")


def test_thoughts_are_dropped_or_kept_beside_the_answer_without_asking_again(prompts, tmp_path):
    with fake_teacher(thinking) as teacher:
        dropped = generate(prompts, tmp_path / "a", config(teacher))
        kept = generate(prompts, tmp_path / "b", config(teacher, thoughts="keep"))
    assert {(row.text, row.thoughts) for row in dropped.rows()} == {("The answer.", None)}
    assert {(row.text, row.thoughts) for row in kept.rows()} == {("The answer.", "hm 0")}
    assert set(teacher.asked.values()) == {1} and dropped.digest != kept.digest
    assert b"thoughts" not in (dropped.path / "responses.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("says", "why"),
    [("", "empty"), ("<think>hm, and so on", "thoughts only")],
)
def test_a_teacher_that_says_nothing_is_seen_by_six_probes_before_the_bill(
    prompts, tmp_path, says, why
):
    with fake_teacher(lambda body, times: completion(says)) as teacher:
        teacher.says = says
        with pytest.raises(EndpointError, match=f"to a probe prompt, found none: {why}"):
            generate(prompts, tmp_path / "out", config(teacher))
        assert not teacher.asked and teacher.probed.total() == 6
        with pytest.raises(EndpointError, match="found none to the first 8 requests"):
            values = config(teacher, probe=False, limits={"concurrency": 1})
            generate(prompts, tmp_path / "out", values)
        assert teacher.asked.total() == 8


def falling_back(body, times):
    """Answer every third prompt as another model."""
    status, headers, answer = echo(body, times)
    return status, headers, {**answer, "model": "small" if asked_number(body) % 3 == 0 else "big"}


def test_another_model_in_the_place_of_the_asked_one_is_said(prompts, tmp_path, capsys):
    with fake_teacher(falling_back) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher))
    assert made.manifest.facts["teacher"]["served"] == ["big", "small"]
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert capsys.readouterr().err.count("asked for 'big', and 'small' answers") == 1


def test_another_model_is_not_taken_where_the_recipe_says_so(prompts, tmp_path):
    with fake_teacher(falling_back) as teacher:
        values = config(teacher, served="as_asked", probe=False)
        with pytest.raises(EndpointError, match="served by 'small', asked for 'big'"):
            generate(prompts, tmp_path / "out", values)
        made = generate(prompts, tmp_path / "out", {**values, "max_failed_share": 0.5})
        assert [row.outcome for row in made.rows()][:4] == ["failed", *["answered"] * 2, "failed"]
        assert next(made.rows()).detail == "served by 'small', asked for 'big'"
        anybody = generate(prompts, tmp_path / "any", {**values, "served": "any"})
        assert anybody.manifest.facts["outcomes"] == {"answered": COUNT}
    assert all(teacher.asked[f"Say {word}."] for word in ("sky 0", "sea 1"))


def test_one_address_however_it_is_written_is_one_journal(prompts, tmp_path):
    with fake_teacher() as teacher:
        urls = [teacher.url, f"{teacher.url}/", teacher.url.replace("/v1", "//v1")]
        urls += [teacher.url.replace("127.0.0.1", "localhost"), teacher.url.replace("http", "HTTP")]
        urls.append(f"{teacher.url}/chat/completions")
        digests = {
            generate(prompts, tmp_path / f"out{number}", config(teacher, base_url=url)).digest
            for number, url in enumerate(urls)
        }
    assert len(digests) == 1 and set(teacher.asked.values()) == {1}


def test_a_query_stays_in_its_place(prompts, tmp_path):
    with fake_teacher() as teacher:
        values = config(teacher, base_url=f"{teacher.url}/?api-version=2024-10-21")
        made = generate(prompts, tmp_path / "out", values)
        assert set(teacher.paths) == {"/v1/chat/completions?api-version=2024-10-21"}
    assert made.manifest.config["base_url"] == f"{teacher.url}?api-version=2024-10-21"


def test_headers_come_from_the_environment_and_are_nowhere_on_the_disk(
    prompts, tmp_path, monkeypatch
):
    monkeypatch.setenv("AZURE_KEY", SECRET)
    with fake_teacher() as teacher:
        made = generate(prompts, tmp_path / "a", config(teacher, headers={"api-key": "AZURE_KEY"}))
        plain = generate(prompts, tmp_path / "b", config(teacher))
        assert teacher.headers[0]["api-key"] == SECRET
    assert made.digest == plain.digest
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


# --- refusals


def test_one_refused_prompt_is_a_row_with_the_servers_words_and_is_kept(prompts, tmp_path):
    def behaviour(body, times):
        moderated = error(403, "Your input was flagged for 'violence'")
        return moderated if asked_number(body) == 5 else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        values = config(teacher, max_failed_share=0.1)
        made = generate(prompts, tmp_path / "a", values)
        again = generate(prompts, tmp_path / "b", values)
        row = list(made.rows())[5]
        assert (row.outcome, row.text) == ("refused", "")
        assert row.detail == "refused (403): Your input was flagged for 'violence'"
        assert made.digest == again.digest and set(teacher.asked.values()) == {1}
        with pytest.raises(EndpointError, match=r"1 of 12 prompts, the last time to 'Say .* 5.'"):
            generate(prompts, tmp_path / "c", config(teacher))


def test_an_account_that_is_closed_half_way_makes_no_refusal_final(prompts, tmp_path):
    closed = {"after": 4}

    def behaviour(body, times):
        return error(403, "Forbidden") if asked_number(body) >= closed["after"] else echo(
            body, times
        )  # fmt: skip

    with fake_teacher(behaviour) as teacher:
        values = config(teacher, max_failed_share=0.3, limits={"concurrency": 1})
        with pytest.raises(EndpointError, match="no answer to 4 of 12 prompts"):
            generate(prompts, tmp_path / "out", values)
        closed["after"] = 99
        made = generate(prompts, tmp_path / "out", values)
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}


def test_an_answer_of_unknown_end_is_no_chosen_one(prompts, tmp_path):
    ends = ["abort_because", None, "SAFETY", "MAX_TOKENS", "STOP"]

    def behaviour(body, times):
        number = asked_number(body)
        return completion("half a sen", ends[number]) if number < len(ends) else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher))
    rows = list(made.rows())[:5]
    assert [row.outcome for row in rows] == [
        "failed", "failed", "refused", "truncated", "answered"
    ]  # fmt: skip
    assert rows[0].detail == "finish_reason 'abort_because': not known to end a whole answer"
    assert rows[1].detail == "no finish_reason: not known to end a whole answer"


def test_what_usage_says_wrongly_makes_no_money_wrong(prompts, tmp_path):
    odd = [{"prompt_tokens": -5, "completion_tokens": -7}, "usage", {"completion_tokens": 1e999}]

    def behaviour(body, times):
        status, headers, answer = echo(body, times)
        number = asked_number(body)
        return status, headers, {**answer, "usage": odd[number]} if number < 3 else answer

    values = {"price": {"output": 1e6}, "sampling": {"max_tokens": 100}, "probe": False}
    with fake_teacher(behaviour) as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher, **values))
    tokens = [row.tokens for row in made.rows()]
    assert tokens[:3] == [None] * 3
    assert made.manifest.account["usd"] == 3 * 100 + sum(tokens[3:])


# --- what it survives


def start(prompts, out, values):
    return subprocess.Popen(
        [sys.executable, "-m", "soda", *command(prompts, out, values)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answers_in(folder):
    """Return the texts that the journals below a folder hold."""
    files = (folder / ".soda" / "journal").rglob("*.jsonl")
    lines = [line for path in files for line in path.read_text().splitlines()]
    bodies = [json.loads(line)["received"]["body"] for line in lines if "received" in line[74:90]]
    texts = {json.loads(body)["choices"][0]["message"]["content"] for body in bodies}
    return {text for text in texts if text.startswith("The answer to")}


def test_a_killed_run_goes_on_and_asks_for_no_kept_answer_again(tmp_path):
    prompts = make_prompts(tmp_path, 40)
    out = tmp_path / "run" / "out"

    def slow(body, times):
        time.sleep(0.03)
        return echo(body, times)

    with fake_teacher(slow) as teacher:
        slowly = config(teacher, limits={"concurrency": 2})
        running = start(prompts, out, slowly)
        deadline = time.monotonic() + 30
        while len(answers_in(out.parent)) < 10:
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert not out.exists()
        kept = answers_in(out.parent)
        time.sleep(0.1)  # the server ends what it was asked
        before = Counter(teacher.asked)
        assert 10 <= len(kept) < 40

        resumed = start(prompts, out, slowly)
        assert "going on" in resumed.communicate(timeout=60)[1] and resumed.returncode == 0
        again = teacher.asked - before
        assert not kept & {f"The answer to: {text}" for text in again}
        assert len(again) + len(kept) == 40 and set(again.values()) == {1}
        undisturbed = generate(prompts, tmp_path / "other" / "out", config(teacher))
    assert soda.Responses.open(out, verify=True).digest == undisturbed.digest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_end(prompts, tmp_path, number):
    def slow(body, times):
        time.sleep(0.5)
        return echo(body, times)

    with fake_teacher(slow) as teacher:
        values = config(teacher, limits={"concurrency": 3})
        running = start(prompts, tmp_path / "out", values)
        while teacher.asked.total() < 3:
            time.sleep(0.01)
        running.send_signal(number)
        errors = running.communicate(timeout=20)[1]
        assert running.returncode == 128 + number and "run again to go on" in errors
        assert teacher.asked.total() == 3 and "Traceback" not in errors
        assert len(answers_in(tmp_path)) == 3
        generate(prompts, tmp_path / "out", values)
    assert set(teacher.asked.values()) == {1}


def test_an_error_that_stops_the_run_loses_no_answer_under_way(prompts, tmp_path):
    broken = threading.Event()

    def behaviour(body, times):
        if asked_number(body) == 3 and not broken.is_set():
            broken.set()
            return error(401, "what is this?")
        broken.wait(5)
        time.sleep(0.2)  # so that these three end after the error
        return echo(body, times)

    with fake_teacher(behaviour) as teacher:
        with pytest.raises(EndpointError, match="what is this"):
            generate(prompts, tmp_path / "out", config(teacher, limits={"concurrency": 4}))
        assert teacher.asked.total() == 4
        generate(prompts, tmp_path / "out", config(teacher))
    assert max(teacher.asked.values()) == 2 and teacher.asked.total() == COUNT + 1


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(prompts, tmp_path):
    with fake_teacher(lambda body, times: completion("long " * 300)) as teacher:
        words = command(prompts, tmp_path / "out", config(teacher))
        limited = ["bash", "-c", 'ulimit -f 6; exec "$@"', "bash", sys.executable, "-m", "soda"]
        ran = subprocess.run([*limited, *words], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 2 and "expected to write, found: File too large" in ran.stderr
        assert "Traceback" not in ran.stderr and not (tmp_path / "out").exists()
        made = generate(prompts, tmp_path / "out", config(teacher))
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}
    assert {row.text for row in made.rows()} == {"long " * 300}


def test_few_unanswered_prompts_are_recorded_and_not_kept(prompts, tmp_path):
    def behaviour(body, times):
        return error(503, "busy") if asked_number(body) < 2 and times < 6 else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        made = generate(prompts, tmp_path / "a", config(teacher, max_failed_share=2 / COUNT))
        again = generate(prompts, tmp_path / "b", config(teacher, max_failed_share=2 / COUNT))
    assert [row.outcome for row in made.rows()] == ["failed"] * 2 + ["answered"] * (COUNT - 2)
    assert next(made.rows()).detail == "503 busy"
    assert again.manifest.facts["outcomes"] == {"answered": COUNT}


def test_many_unanswered_prompts_stop_the_run(prompts, tmp_path):
    def behaviour(body, times):
        return error(503, "busy") if asked_number(body) >= 9 else echo(body, times)

    with fake_teacher(behaviour) as teacher:
        expected = (
            "no answer to 2 of 12 prompts, the last time to 'Say .* (9|10|11).': 503 busy; "
            "9 new answers are kept"
        )
        with pytest.raises(EndpointError, match=expected):
            values = config(teacher, max_failed_share=0.1, limits={"concurrency": 1})
            generate(prompts, tmp_path / "out", values)
    assert not (tmp_path / "out").exists()


# --- what it refuses


def test_a_teacher_that_cannot_be_reached_is_named(prompts, tmp_path):
    with fake_teacher() as teacher:
        pass
    with pytest.raises(EndpointError) as stopped:
        generate(prompts, tmp_path / "out", config(teacher))
    assert str(stopped.value).startswith(f"{teacher.url}: no answer to 1 of {COUNT} prompts")
    assert "Connection refused" in str(stopped.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (error(401, "who?"), "the key in SODA_TEACHER_API_KEY was refused: who?"),
        (error(404, "gone"), "neither this path nor a model 'big' may be there (404): gone"),
        (error(429, "pay", "insufficient_quota"), "waiting does not help: 429"),
    ],
)
def test_a_teacher_that_refuses_is_one_line(prompts, tmp_path, capsys, reply, problem):
    with fake_teacher(lambda body, times: reply) as teacher:
        values = config(teacher, limits={"concurrency": 5})
        assert problem in refused(prompts, tmp_path / "out", values, capsys)
    assert teacher.asked.total() <= 5  # those that were under way


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "expected a teacher, found none: set SODA_TEACHER_BASE_URL"),
        ({"model": "big"}, "expected a teacher"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "expected a teacher"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency: expected 1 or more"),
        ({"limits": {"usd": 5, "speed": 1}}, "unknown key"),
        ({"price": {"input": -1}}, "price.input: expected 0 or more"),
        ({"shard": "9/8"}, "shard: expected a shard such as 2/8, found '9/8'"),
        (
            {"base_url": "http://h/v1", "model": "m", "limits": {"usd": 5}},
            "expected teacher-gen.price",
        ),
        (
            {
                "base_url": "http://h/v1",
                "model": "m",
                "price": {"output": 1},
                "sampling": {},
                "limits": {"usd": 5},
            },
            "expected sampling.max_tokens or max_completion_tokens",
        ),
        ({"base_url": "ftp://host"}, "base_url: expected http:// or https://"),
        ({"base_url": f"https://host/v1?key={SECRET}"}, "expected no secret in the URL"),
        ({"headers": {"api-key": SECRET}}, "name of an environment variable for 'api-key'"),
        ({"thoughts": "show"}, "thoughts: expected 'drop' or 'keep', found 'show'"),
        ({"served": "none"}, "served: expected 'as_asked' or 'any', found 'none'"),
        ({"base_url": f"https://me:{SECRET}@host/v1"}, "expected no user or password in the URL"),
        ({"base_url": f"me:{SECRET}@host/v1"}, "expected no user or password in the URL"),
    ],
)
def test_a_config_that_names_no_teacher_is_refused(prompts, tmp_path, capsys, values, problem):
    line = refused(prompts, tmp_path / "out", values, capsys)
    assert problem in line and SECRET not in line


def test_sampling_that_no_request_can_hold_is_refused():
    with pytest.raises(ConfigError, match="sampling: expected values that JSON has"):
        TeacherGenConfig.parse({"sampling": {"max_tokens": float("nan")}})


def test_a_password_in_the_environments_url_is_refused(prompts, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_BASE_URL", f"https://me:{SECRET}@host/v1")
    line = refused(prompts, tmp_path / "out", {"model": "big"}, capsys)
    assert "expected no user or password" in line and SECRET not in line


def test_an_input_of_another_kind_is_refused(prompts, tmp_path):
    with fake_teacher() as teacher:
        answers = generate(prompts, tmp_path / "answers", config(teacher))
        inputs = {"prompts": answers.path}
        with pytest.raises(ArtifactError, match="expected 'prompts', found 'responses'"):
            soda.run("teacher-gen", inputs=inputs, config=config(teacher), out=tmp_path / "out")


def test_the_key_is_on_no_disk_and_in_no_output(prompts, tmp_path):
    def behaviour(body, times):  # quotes the key wherever it can
        if asked_number(body) == 0:
            return error(400, f"too long for {SECRET}", "context_length_exceeded")
        if asked_number(body) == 1:
            return error(400, f"what is {SECRET}?")
        return error(429, SECRET, Retry_After="0") if times == 0 else echo(body, times)

    def run(out, teacher, **values):
        return subprocess.run(
            [sys.executable, "-m", "soda", *command(prompts, out, config(teacher, **values))],
            env={**os.environ, "SODA_TEACHER_API_KEY": SECRET, "SODA_STORE": f"{tmp_path}/store"},
            capture_output=True,
            text=True,
            timeout=90,
        )

    with (
        fake_teacher(behaviour) as teacher,
        fake_teacher(lambda body, times: error(401, f"bad key {SECRET}")) as strict,
    ):
        ran = run(tmp_path / "out", teacher, max_failed_share=0.2)
        stopped = run(tmp_path / "stopped", strict)
    assert (ran.returncode, stopped.returncode) == (0, 2), ran.stderr + stopped.stderr
    assert set(teacher.keys + strict.keys) == {f"Bearer {SECRET}"}
    made = soda.Responses.open(tmp_path / "out")
    assert made.manifest.facts["outcomes"] == {
        "answered": COUNT - 2,
        "failed": 1,
        "refused": 1,
    }
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"manifest.json", "responses.jsonl"} <= {path.name for path in files}
    assert any("journal" in path.parts and path.suffix == ".jsonl" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in ran.stdout + ran.stderr + stopped.stdout + stopped.stderr


# --- answers that are there already


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_given_answers_need_no_teacher_and_missing_ones_are_failed(prompts, texts, tmp_path):
    ids = [row.id for row in prompts.rows()]
    rows = [
        {"prompt": texts[0], "response": "zero", "model": "gpt-x"},
        {"id": ids[1], "response": "one"},
        {"messages": [{"role": "user", "content": texts[2]}], "response": "two"},
        {"id": "unknown", "response": "to nobody"},
    ]
    answers = write(tmp_path / "answers.jsonl", rows)
    made = generate(prompts, tmp_path / "out", {"answers": answers})
    found = list(made.rows())
    assert [row.text for row in found] == ["zero", "one", "two"] + [""] * (COUNT - 3)
    assert found[3].detail == "not among the supplied answers"
    assert made.manifest.facts["outcomes"] == {"answered": 3, "failed": COUNT - 3}
    assert made.manifest.facts["teacher"]["model"] == "gpt-x"


def test_given_answers_may_lie_in_a_package(prompts, texts, tmp_path, monkeypatch):
    package = tmp_path / "our_answers"
    package.mkdir()
    (package / "__init__.py").touch()
    write(package / "a.jsonl", [{"prompt": text, "response": "yes"} for text in texts])
    monkeypatch.syspath_prepend(tmp_path)
    made = generate(prompts, tmp_path / "out", {"answers": "package:our_answers/a.jsonl"})
    assert made.manifest.facts["outcomes"] == {"answered": COUNT}


def test_the_rest_of_a_batch_is_asked(prompts, texts, tmp_path):
    ids = [row.id for row in prompts.rows()]

    def line(name, content, finish):
        choice = {"message": {"content": content}, "finish_reason": finish}
        response = {"status_code": 200, "body": {"model": "gpt-x", "choices": [choice]}}
        return {"custom_id": name, "response": response, "error": None}

    broken = {"custom_id": ids[2], "response": None, "error": {"code": "batch_expired"}}
    rows = [line(ids[0], "zero", "stop"), line(ids[1], "on", "length"), broken]
    answers = write(tmp_path / "batch.jsonl", rows)
    with fake_teacher() as teacher:
        made = generate(prompts, tmp_path / "out", config(teacher, answers=answers))
    found = list(made.rows())
    assert [row.outcome for row in found[:3]] == ["answered", "truncated", "answered"]
    assert [row.text for row in found[:2]] == ["zero", "on"]
    assert set(teacher.asked) == set(texts[2:])
    assert made.manifest.facts["teacher"]["served"] == ["fake-1", "gpt-x"]


def test_supplied_answers_that_belong_to_nothing_stop_the_run_before_it_is_paid_for(
    prompts, texts, tmp_path, capsys
):
    batch = [
        {"custom_id": f"request-{number}", "response": {"status_code": 200, "body": {
            "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}}}
        for number in range(COUNT)
    ]  # fmt: skip
    system = [
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": t}],
         "response": "yes"} for t in texts
    ]  # fmt: skip
    half = [{"prompt": text if place % 2 else "?", "response": "yes"}
            for place, text in enumerate(texts)]  # fmt: skip
    with fake_teacher() as teacher:
        for name, rows, used in (("a", batch, 0), ("b", system, 0), ("c", half, 6)):
            answers = write(tmp_path / f"{name}.jsonl", rows)
            expected = f"{used} of {len(rows) if name != 'c' else 7} supplied answers belong"
            with pytest.raises(ConfigError, match=expected):
                generate(prompts, tmp_path / name, config(teacher, answers=answers))
            assert expected in capsys.readouterr().err
        assert not teacher.asked and not teacher.probed


def test_how_many_supplied_answers_are_used_is_always_said(prompts, texts, tmp_path, capsys):
    rows = [{"prompt": text, "response": "yes"} for text in texts]
    answers = write(tmp_path / "a.jsonl", rows)
    generate(prompts, tmp_path / "a", {"answers": answers})
    assert f"teacher-gen: {COUNT} of {COUNT} supplied answers belong" in capsys.readouterr().err
    with fake_teacher() as teacher:
        for shard in ("1/3", "3/3"):  # a shard's part of the prompts is not all of them
            values = config(teacher, answers=answers, shard=shard)
            generate(prompts, tmp_path / shard.replace("/", "-"), values)
        assert not teacher.asked
    with pytest.raises(ConfigError, match="0 of 1 supplied answers"):
        answers = write(tmp_path / "b.jsonl", [{"prompt": "?", "response": "yes"}])
        generate(prompts, tmp_path / "b", {"answers": answers})


def test_the_input_of_a_batch_before_its_output_says_which_prompt_it_answers(
    prompts, texts, tmp_path
):
    rows = [
        {"custom_id": f"request-{n}", "body": {"messages": [{"role": "user", "content": text}]}}
        for n, text in enumerate(texts)
    ]
    rows += [
        {"custom_id": f"request-{n}", "response": {"status_code": 200, "body": {
            "choices": [{"message": {"content": f"yes {n}"}, "finish_reason": "stop"}]}}}
        for n in range(COUNT)
    ]  # fmt: skip
    made = generate(prompts, tmp_path / "out", {"answers": write(tmp_path / "a.jsonl", rows)})
    assert [row.text for row in made.rows()] == [f"yes {n}" for n in range(COUNT)]


def test_the_place_of_the_answers_does_not_matter_and_their_content_does(prompts, tmp_path, texts):
    rows = [{"prompt": text, "response": "yes"} for text in texts]
    (tmp_path / "moved").mkdir()
    one = write(tmp_path / "a.jsonl", rows)
    two = write(tmp_path / "moved" / "b.jsonl", rows)
    three = write(tmp_path / "c.jsonl", [*rows[1:], {"prompt": texts[0], "response": "no"}])
    digests = [
        generate(prompts, tmp_path / f"out{number}", {"answers": path}).digest
        for number, path in enumerate((one, two, three))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_answers_that_changed_under_a_pinned_digest_are_refused(prompts, texts, tmp_path):
    answers = write(tmp_path / "a.jsonl", [{"prompt": texts[0], "response": "yes"}])
    values = {"answers": answers, "answers_digest": "0" * 64}
    with pytest.raises(ConfigError, match=r"a\.jsonl: expected sha256 000000000000\.\.\., found"):
        generate(prompts, tmp_path / "out", values)


def test_a_bad_line_among_the_answers_is_named(prompts, texts, tmp_path, capsys):
    answers = write(tmp_path / "a.jsonl", [{"prompt": texts[0], "response": "yes"}, {"id": 3}])
    with pytest.raises(DataError, match=r"a\.jsonl:2: expected prompt and response"):
        generate(prompts, tmp_path / "out", {"answers": answers})
    missing = {"answers": str(tmp_path / "none.jsonl")}
    assert "none.jsonl: expected a file" in refused(prompts, tmp_path / "out", missing, capsys)


def test_only_the_owner_reads_journal_and_answers(prompts, tmp_path):
    with fake_teacher() as teacher:
        soda.run(
            "teacher-gen",
            inputs={"prompts": prompts.path},
            config=config(teacher),
            out=tmp_path / "runs" / "out",
        )
    paths = [tmp_path / "runs", *(tmp_path / "runs").rglob("*")]
    assert any(path.suffix == ".jsonl" and "journal" in str(path) for path in paths)
    for path in paths:
        assert not path.stat().st_mode & 0o077, path
