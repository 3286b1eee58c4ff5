"""teacher-gen against servers that others wrote: a LiteLLM proxy, and `transformers serve`.

Without SODA_SERVERS, the folder that `make build/servers/.ready` fills, they are skipped.
"""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import soda
from soda.endpoint.address import Address
from soda.endpoint.client import Endpoint
from soda.endpoint.job import Rules
from soda.errors import EndpointError
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.teacher_gen import generate as generate_by
from soda.storage import Place
from soda.teacher.caller import TEACHER
from soda.teacher.identity import prove
from tests.fakes.student import save_student
from tests.fakes.teacher import completion, echo, error, fake_teacher
from tests.fakes.waits import SHORT

SERVERS = os.environ.get("SODA_SERVERS")
KEY = "sk-litellm-canary-71ac"
POLICY = "The response was filtered due to Azure OpenAI's content management policy."
CONTEXT = "This model's maximum context length is 8192 tokens. Your messages have 9000."
VLLM = "The prompt (total length 9000) is too long to fit into the model (total length 8192)."
INSPECTED = {"code": "data_inspection_failed", "type": "data_inspection_failed", "message": "Bad."}
BACKEND = {  # what the vendor behind the gateway says to a prompt
    "policy": error(400, POLICY, "content_filter"),
    "inspected": (400, {}, {"error": INSPECTED}),
    "moderated": error(403, "Request blocked by moderation: flagged for violence"),
    "context": error(400, CONTEXT, "context_length_exceeded"),
    "vllm": (400, {}, {"object": "error", "message": VLLM, "type": "BadRequestError", "code": 400}),
    "odd": error(422, "two user turns in a row"),
    "cut": completion("half", "length"),
    "sensitive": completion("half", "sensitive"),
    "thinking": completion("17", reasoning_content="let me think"),
    "aloud": completion("<think>let me think</think>17"),
}
ENDS = {
    **dict.fromkeys(("policy", "inspected", "moderated", "odd", "sensitive"), "refused"),
    **dict.fromkeys(("context", "vllm"), "failed"),
    "cut": "truncated",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SERVERS, reason="SODA_SERVERS names no folder with them"),
]


@contextlib.contextmanager
def running(command, path, log, **environment):
    """Run a server on a free port while the block runs; yields its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "NO_PROXY": "*", **environment}
        )
    try:
        for _ in range(900):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                break
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    def behaviour(body, times):
        return BACKEND.get(body["messages"][-1]["content"]) or echo(body, times)

    config = Path(__file__).with_name("litellm.yaml")
    command = [f"{SERVERS}/litellm/bin/litellm", "--config", str(config)]
    log = tmp_path_factory.mktemp("litellm") / "log"
    with (
        fake_teacher(behaviour) as vendor,
        running(
            command,
            "/health/liveliness",
            log,
            BACKEND=vendor.url,
            BACKEND_ROOT=vendor.url.removesuffix("/v1"),
            LITELLM_KEY=KEY,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        ) as url,
    ):
        yield url


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """`transformers serve` with a random student: address and model."""
    root = tmp_path_factory.mktemp("serve")
    folder = str(save_student(root / "model", seed=3, tied=False))
    command = [str(Path(sys.executable).with_name("transformers")), "serve", folder]
    paths = f"{SERVERS}/serve:{os.environ.get('PYTHONPATH', '')}"
    with running(
        [*command, "--device", "cpu"],
        "/health",
        root / "log",
        PYTHONPATH=paths,
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
    ) as url:
        yield url, folder


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", KEY)


def generate(root, texts, url, model, **values):
    values = {"base_url": url, "model": model, "probe": False, "max_failed_share": 0.9, **values}
    root.mkdir(exist_ok=True)
    dataset = root / "data.jsonl"
    dataset.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    split = {"dataset": str(dataset), "validation_share": 0.0, "test_share": 0.0}
    prompts = soda.run("prepare-prompts", inputs={}, config=split, out=root / "prompts")
    config = TeacherGenConfig.parse(values)
    made = generate_by(prompts, config, Place.of(root / "out"), Rules(waits=SHORT))
    return {row.prompt.messages[-1]["content"]: row for row in made.rows()}


def body(model, **more):
    return {"model": model, "max_tokens": 8, **more}


@pytest.mark.parametrize("model", ["big", "azure-big"])
def test_every_end_behind_litellm_is_the_row_that_the_vendor_meant(gateway, tmp_path, model):
    texts = [*BACKEND, *(f"Say {number}." for number in range(6))]
    rows = generate(tmp_path, texts, gateway, model, thoughts="keep")
    assert {text: row.outcome for text, row in rows.items()} == {
        text: ENDS.get(text, "answered") for text in texts
    }
    for text in ("thinking", "aloud"):
        assert (rows[text].text, rows[text].thoughts) == ("17", "let me think")
    assert "content management policy" in rows["policy"].detail
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_litellms_own_errors(gateway, tmp_path):
    with pytest.raises(EndpointError, match=r"no answer to 2 of 2 .*ContextWindow"):
        generate(tmp_path / "context", ["a", "b"], gateway, "mock-context")
    limits = {"patience_seconds": 0}
    with pytest.raises(EndpointError, match=r"has answered nothing .*429.*run again later"):
        generate(tmp_path / "limited", ["a"], gateway, "mock-limited", limits=limits)


def test_preflight_of_litellm(gateway, monkeypatch):
    endpoint = Endpoint(TEACHER, Address.parse(gateway))
    assert prove(endpoint, body("mock")).listed is True
    with pytest.raises(EndpointError, match=r"no model 'bigg' there: .*did you mean 'big'"):
        prove(endpoint, body("bigg"))
    monkeypatch.setenv("SODA_TEACHER_API_KEY", "sk-another-key")
    with pytest.raises(EndpointError, match="no_db_connection") as refused:  # its words for it
        prove(endpoint, body("mock"))
    assert "sk-another-key" not in str(refused.value)


def test_transformers_serve_is_a_teacher(student, tmp_path):
    url, model = student
    rows = generate(tmp_path, ["One.", "Two."], url, model, sampling={"max_tokens": 8})
    assert {(row.outcome, row.tokens) for row in rows.values()} == {("truncated", 8)}


def test_preflight_of_transformers_serve(student):
    url, model = student
    endpoint = Endpoint(TEACHER, Address.parse(url))
    assert dataclasses.astuple(prove(endpoint, body(model))) == (True, model)
    with pytest.raises(EndpointError, match=r"Unexpected fields in the request: \{'bogus'\}"):
        prove(endpoint, body(model, bogus=3))
    with pytest.raises(EndpointError, match=r"requested 'another'"):
        prove(endpoint, body("another"))
