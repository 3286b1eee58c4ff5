"""One request against a real server on loopback: what was received, or what its failure means."""

import asyncio
import contextlib
import gzip
import re
import resource
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from soda.endpoint.address import Address
from soda.endpoint.answer import Answer
from soda.endpoint.caller import Caller
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.failures import Busy, Unanswered
from soda.errors import ConfigError, EndpointError
from soda.limits import RESPONSE_BYTES
from tests.fakes.teacher import completion, echo, error, fake_teacher

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def key(monkeypatch):
    """Set the caller's key."""
    return lambda value: monkeypatch.setenv("SODA_JUDGE_API_KEY", value)


def ask(url, headers=None, timeout=5):
    """Send one request; return what came, and what it means."""

    async def send():
        async with open_session(timeout) as session:
            client = Client(session, Endpoint(JUDGE, Address.parse(url), headers or {}))
            response = await client.send(BODY)
            return response.received, client.read(BODY, response)

    return asyncio.run(send())


def meant(reply, **values):
    """Ask a server that answers so."""
    with fake_teacher(lambda body, times: reply) as teacher:
        found = ask(teacher.url, **values)[1]
        assert teacher.asked.total() == 1
    return found


def test_an_answer_says_who_gave_it_how_long_it_is_and_how_long_it_took():
    with fake_teacher(lambda body, times: completion("a b c")) as teacher:
        received, answer = ask(f"{teacher.url}/")
    assert (answer.model, answer.fingerprint) == ("fake-1", "fp")
    assert (answer.prompt_tokens, answer.tokens) == (5, 3)
    assert received.status == 200 and '"a b c"' in received.body
    assert answer.seconds == received.seconds > 0


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((0, {}, b""), "the server closed the connection before it answered"),
        ((200, {"Content_Length": "9"}, b"{torn"), "Content-Length"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "ContentEncodingError|gzip"),
    ],
)
def test_a_response_that_does_not_come_whole_may_be_billed(reply, problem):
    with pytest.raises(Unanswered, match=problem) as found:
        meant(reply, timeout=1)
    assert found.value.billed


def test_silence_is_a_failure_that_may_be_billed():
    def behaviour(body, times):
        time.sleep(1)
        return completion("late")

    with (
        fake_teacher(behaviour) as teacher,
        pytest.raises(Unanswered, match=r"within 0\.2 s") as problem,
    ):
        ask(teacher.url, timeout=0.2)
    assert problem.value.billed


def test_where_nobody_listens_nothing_is_billed():
    with fake_teacher() as teacher:
        pass
    port = teacher.url.rpartition(":")[2].removesuffix("/v1")
    with pytest.raises(Unanswered) as problem:
        ask(teacher.url)
    assert str(problem.value) == f"no connection to 127.0.0.1:{port}: Connection refused"
    assert not problem.value.billed and not problem.value.lasting


def test_a_wait_is_read_from_the_headers_of_a_refusal():
    assert meant(error(429, "slow down", Retry_After="7")).wait == 7
    assert meant(error(503, "busy", Retry_After="0.3")).wait == 0.3
    assert meant(error(429, "slow down", Retry_After="0")).wait is None
    assert isinstance(meant(error(429, "slow down", retry_after_ms="1500")), Busy)


def test_utf_8_under_another_name_is_utf_8():
    data = '{"choices": [{"message": {"content": "é 数字"}, "finish_reason": "stop"}]}'.encode()
    found = meant((200, {"Content-Type": "application/json; charset=ISO-8859-1"}, data))
    assert found.text == "é 数字"


# --- said at the first try, with the address that was meant


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://elsewhere.example/v1", "https://elsewhere.example/v1"),
        ("/v2/chat/completions", "http://127.0.0.1:PORT/v2/chat/completions"),
        ("https://login.example/?next=canary", "https://login.example/"),
    ],
)
def test_a_redirect_is_named_and_not_followed(location, target):
    with fake_teacher(lambda body, times: (301, {"Location": location}, b"")) as teacher:
        found = ask(teacher.url)[1]
        assert teacher.asked.total() == 1
    port = teacher.url.rpartition(":")[2].removesuffix("/v1")
    assert isinstance(found, EndpointError) and "canary" not in str(found)
    assert f"found a redirect (301 to {target.replace('PORT', port)})" in str(found)


def test_a_host_that_is_not_known_is_lasting():
    with pytest.raises(Unanswered, match=r"no host 'nowhere\.invalid' is known") as found:
        ask("http://nowhere.invalid/v1")
    assert found.value.lasting and not found.value.billed


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server with a certificate that nobody trusts: its address, and the certificate."""
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-subj", "/CN=h"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(words, check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            data = b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/v1", folder / "cert.pem"
    server.shutdown()
    server.server_close()


def test_a_certificate_that_nobody_trusts_is_named(tls):
    with pytest.raises(EndpointError, match="expected a certificate that is trusted") as found:
        ask(tls[0])
    assert "SSL_CERT_FILE" in str(found.value) and tls[0] in str(found.value)


def test_ssl_cert_file_names_whom_to_trust(tls):
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.soda.endpoint.test_client import ask; "
        f"print(ask({tls[0]!r})[1].text)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"SSL_CERT_FILE": str(tls[1]), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "yes\n", ran.stderr


def test_tls_to_a_server_without_it_is_lasting():
    with fake_teacher(echo) as teacher, pytest.raises(Unanswered, match="no TLS") as found:
        ask(teacher.url.replace("http://", "https://"))
    assert found.value.lasting


# --- the key, and headers of one's own


def test_the_key_is_sent_only_if_there_is_one(key):
    with fake_teacher(echo) as teacher:
        ask(teacher.url)
        for value in ("", "secret", "secret\n"):  # a mounted secret often ends with a newline
            key(value)
            ask(teacher.url)
    assert teacher.keys == [None, None, "Bearer secret", "Bearer secret"]


@pytest.mark.parametrize("value", ["canary\nX-Other: 1", "canary\u2026", "canary key"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key, value):
    key(value)
    with pytest.raises(ConfigError, match="SODA_JUDGE_API_KEY: expected") as problem:
        ask("http://127.0.0.1:1")
    assert "canary" not in str(problem.value)


def test_headers_are_sent_from_the_variables_they_name(key, monkeypatch):
    monkeypatch.setenv("ORG", "org-7\n")
    key("secret")
    with fake_teacher(echo) as teacher:
        ask(teacher.url, {"OpenAI-Organization": "ORG"})
        ask(teacher.url, {"api-key": "SODA_JUDGE_API_KEY"})
    first, second = teacher.headers
    assert first["OpenAI-Organization"] == "org-7" and first["Authorization"] == "Bearer secret"
    assert second["api-key"] == "secret" and second["Authorization"] is None


def test_a_header_whose_variable_is_not_set_is_named():
    with pytest.raises(ConfigError, match=r"judge\.headers\.api-key: AZURE_KEY: .* not set"):
        ask("http://127.0.0.1:1", {"api-key": "AZURE_KEY"})


@pytest.mark.parametrize(
    "reply",
    [
        error(401, "bad key canary"),
        error(400, "bad key canary"),
        error(400, "too long, canary", "context_length_exceeded"),
        error(429, "bad key canary", "insufficient_quota"),
        error(503, "bad key canary"),
        (500, {}, b"Bearer canary"),
        (200, {}, {"error": "Bearer canary"}),
    ],
)
def test_nothing_that_is_kept_or_said_holds_the_key_even_if_the_server_quotes_it(key, reply):
    key("canary")
    with fake_teacher(lambda body, times: reply) as teacher:
        received, end = ask(teacher.url)
    said = str(end.detail if isinstance(end, Answer) else end)
    assert "***" in said and "canary" not in said + received.body


def test_a_long_key_is_taken_out_of_answers_too_and_a_short_one_is_a_word(key):
    with fake_teacher(lambda body, times: completion("ollama said canary-1234")) as teacher:
        key("canary-1234")
        assert ask(teacher.url)[1].text == "ollama said ***"
        key("ollama")
        assert ask(teacher.url)[1].text == "ollama said canary-1234"


# --- proxies


def test_the_environments_proxy_is_used_with_its_login_and_not_for_this_machine(monkeypatch):
    with fake_teacher(echo) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("//", "//me:word@"))
        monkeypatch.setenv("no_proxy", "10.0.0.0/8")
        assert ask("http://teacher.example/v1")[1].outcome == "answered"
        assert proxy.asked.total() == 1
        assert proxy.headers[0]["Proxy-Authorization"] == "Basic bWU6d29yZA=="
        with fake_teacher(echo) as direct:
            ask(direct.url)
            assert direct.asked.total() == 1 and proxy.asked.total() == 1
            assert direct.headers[0]["Proxy-Authorization"] is None


def test_a_tunnel_through_a_proxy_has_its_login_and_the_endpoint_has_not(monkeypatch):
    """What a proxy is told with CONNECT: a bare socket reads it."""
    seen = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            seen.append((self.path, self.headers.get("Proxy-Authorization")))
            self.send_error(407)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        monkeypatch.setenv("ALL_PROXY", f"http://me:canary@127.0.0.1:{server.server_port}")
        with pytest.raises(EndpointError, match="the proxy wants a login") as found:
            ask("https://teacher.example/v1")
    finally:
        server.shutdown()
        server.server_close()
    assert seen == [("teacher.example:443", "Basic bWU6Y2FuYXJ5")]
    assert not re.search("canary|bWU6Y2FuYXJ5", str(found.value))


# --- bounded, and private


def test_a_small_body_that_unpacks_to_a_large_one_is_no_answer():
    bomb = gzip.compress(bytes(4 * RESPONSE_BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unanswered, match=f"expected at most {RESPONSE_BYTES} bytes, found more"):
        meant((200, {"Content-Encoding": "gzip"}, bomb), timeout=30)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 6 * RESPONSE_BYTES  # the test's own bytes are four of them


def test_a_body_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr("soda.endpoint.client.RESPONSE_BYTES", 2**20)

    class Endless(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(bytes(2**16))

    server = HTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(Unanswered, match="expected at most 1048576 bytes, found more"):
            ask(f"http://127.0.0.1:{server.server_port}/v1", timeout=30)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "value", "warned"),
    [
        ("http://teacher.internal:8000/v1", "a-secret", True),
        ("https://teacher.internal/v1", "a-secret", False),
        ("http://127.0.0.1:8000/v1", "a-secret", False),
        ("http://other.internal:8000/v1", "", False),
    ],
)
def test_a_key_over_plain_http_to_another_machine_is_warned_of_once(
    key, capsys, url, value, warned
):
    key(value)

    async def make():
        async with open_session(1) as session:
            for _ in range(3):
                Client(session, Endpoint(JUDGE, Address.parse(url)))

    asyncio.run(make())
    said = capsys.readouterr().err
    assert said.count("the key goes to") == warned and "a-secret" not in said
