"""Each call of a Batch API is sent until it is answered, and says what it met."""

import asyncio

import pytest

from soda.endpoint.address import Address
from soda.endpoint.batch_calls import BatchCalls
from soda.endpoint.caller import Caller
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.failures import Unanswered
from soda.errors import EndpointError
from tests.fakes.batches import batch_server
from tests.fakes.teacher import error
from tests.fakes.waits import SHORT, Clock

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")


def call(url, waits=SHORT, **content):
    async def send():
        async with open_session(5) as session:
            client = Client(session, Endpoint(JUDGE, Address.parse(url)))
            return await BatchCalls(client, waits).call("GET", "/batches", **content)

    return asyncio.run(send())


def failing(*faults):
    """Serve, with these faults first."""
    return batch_server(fault=lambda method, path, n: faults[n] if n < len(faults) else None)


@pytest.mark.parametrize("fault", ["lose", error(503, "busy"), error(429, "slow")])
def test_a_fault_that_passes_is_sent_again(fault):
    with failing(*[fault] * 3) as server:
        assert call(server.url)["data"] == []


def test_a_server_that_stays_away_is_named_after_six_attempts():
    with failing(*[error(503, "busy")] * 6) as server:
        with pytest.raises(EndpointError, match="/batches: 503 busy"):
            call(server.url)
        assert call(server.url)["data"] == []


def test_one_attempt_is_one():
    with failing(error(503, "busy")) as server, pytest.raises(Unanswered, match="503 busy"):
        call(server.url, attempts=1)


def test_a_long_wait_is_cut_short():
    clock = Clock()
    with failing(error(429, "slow", Retry_After="86400")) as server:
        call(server.url, clock.waits())
    assert clock.waited == [60]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (error(401, "who?"), "SODA_JUDGE_API_KEY was refused"),
        (error(404, "nothing here"), "neither this path"),
        (error(400, "odd"), r"/batches\?limit=1: refused \(400\): odd"),
        ((413, {}, b"too large"), r"/batches\?limit=1: too large"),
        ((200, {}, b"<html>"), "expected an answer of a Batch API, found '<html>'"),
        ((200, {}, []), "expected an answer of a Batch API"),
        ((200, {}, {"object": "list"}), "expected an answer of a Batch API"),
    ],
)
def test_what_stays_is_named(reply, problem):
    with failing(reply) as server, pytest.raises(EndpointError, match=problem):
        call(server.url, query={"limit": "1"})
