import os

import pytest

from soda.errors import ConfigError
from soda.judging.sandbox import open_sandbox
from soda.judging.verifiers import parse_check

docker = pytest.importorskip("docker")
REQUIRED = bool(os.environ.get("SODA_REQUIRE_DOCKER"))
HOST = os.environ.get("DOCKER_HOST")  # read now: tests see no variable of ours
ADD = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(2, 3) == 5"


@pytest.fixture
def engine(monkeypatch):
    """An engine with the image; SODA_REQUIRE_DOCKER makes a missing one a failure."""
    if HOST:
        monkeypatch.setenv("DOCKER_HOST", HOST)
    open_sandbox.cache_clear()
    try:
        yield open_sandbox()
    except ConfigError as error:
        if REQUIRED:
            raise
        pytest.skip(str(error))
    finally:
        open_sandbox.cache_clear()


def test_without_an_engine_no_code_runs(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    open_sandbox.cache_clear()
    with pytest.raises(ConfigError, match=r"expected a container engine .* found none"):
        parse_check({"kind": "code", "tests": TESTS}, "p1").verify(ADD)


def test_right_code_passes_and_wrong_code_does_not(engine):
    check = parse_check({"kind": "code", "tests": TESTS}, "p1")
    assert check.verify(f"Here it is:\n```python\n{ADD}```\nIt adds.") is True
    assert check.verify("```python\ndef add(a, b):\n    return a - b\n```") is False
    assert check.verify("I do not know.") is False


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",  # ends before the tests
        "raise SystemExit(0)",
        "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
        "open('/etc/x', 'w')",
        "bytearray(1 << 30)",
        "import os\nwhile True: os.fork()",
        "assert __import__('os').getuid() == 0",
    ],
)
def test_what_code_must_not_do_fails(engine, code):
    assert engine.passes(code, "pass", seconds=20) is False


def test_code_that_hangs_or_floods_is_ended(engine):
    assert engine.passes("while True: pass", "pass", seconds=1) is False
    assert engine.passes("while True: print('x' * 9999)", "pass", seconds=1) is False
    assert not engine._engine.containers.list(all=True, filters={"ancestor": "python:3.11-slim"})


def test_code_that_no_command_line_can_hold_says_nothing(engine):
    assert engine.passes("#" * 200_000, "pass", seconds=5) is None
