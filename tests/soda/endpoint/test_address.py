"""The base URL's one normal form, and where calls go."""

import pytest

from soda.endpoint.address import Address


@pytest.mark.parametrize(
    "text",
    [
        "http://h.example/v1",
        "http://h.example/v1/",
        "http://h.example//v1",
        "http://h.example/v1//",
        "HTTP://H.Example:80/v1",
        " http://h.example/v1\n",
        "http://h.example/x/../v1",
        "http://h.example/v1/chat/completions",
        "http://h.example/v1/completions/",
        "http://h.example/v1#part",
    ],
)
def test_one_address_has_one_form(text):
    found = Address.parse(text)
    assert str(found) == found.identity == "http://h.example/v1"
    assert str(found.at("/chat/completions")) == "http://h.example/v1/chat/completions"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "0.0.0.0"])
def test_the_names_of_this_machine_are_one_in_keys_and_are_asked_as_written(host):
    found = Address.parse(f"http://{host}:8000/v1/")
    assert found.identity == "http://127.0.0.1:8000/v1"
    assert str(found) == f"http://{host.lower()}:8000/v1"


def test_another_port_scheme_path_or_query_is_another_address():
    texts = ["http://h/v1", "https://h/v1", "http://h:81/v1", "http://h/v2", "http://h/v1?a=1"]
    assert len({Address.parse(text).identity for text in texts}) == len(texts)


def test_a_query_stays_at_the_end_of_every_call():
    azure = "https://x.openai.azure.com/openai/deployments/gpt/?api-version=2024-10-21"
    found = Address.parse(azure)
    assert str(found) == azure.replace("/?", "?")
    assert str(found.at("/chat/completions")) == (
        "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21"
    )
    assert str(found.at("/batches", limit="100")).endswith(
        "/batches?api-version=2024-10-21&limit=100"
    )
    assert Address.parse(str(found)) == found


def test_an_address_without_a_path_is_one():
    assert str(Address.parse("http://h/")) == "http://h"
    assert str(Address.parse("http://h/").at("/models")) == "http://h/models"


def test_signs_in_a_path_or_query_are_kept():
    found = Address.parse("http://h/a%2Fb/v1?x=a%20b&y=1+2")
    assert str(found.at("/models")) == "http://h/a%2Fb/v1/models?x=a%20b&y=1+2"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://h", "expected http:// or https://"),
        ("h/v1", "expected http:// or https://"),
        ("localhost:8000/v1", "expected http:// or https://"),
        ("http://", "expected a host"),
        ("http:///v1", "expected a host"),
        ("http://t:port/v1", "expected a URL"),
        ("http://[::1/v1", "expected a URL"),
        ("https://me:canary@h/v1", "no user or password"),
        ("me:canary@h/v1", "no user or password"),
        ("https://h/v1?key=canary", "no secret in the URL, found 'key='"),
        ("https://h/v1?api-key=canary", "no secret in the URL"),
        ("https://h/v1?access_token=canary", "no secret in the URL"),
    ],
)
def test_what_is_no_address_or_holds_a_secret_is_refused_and_no_secret_is_shown(text, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        Address.parse(text)
    assert "canary" not in str(refused.value)
