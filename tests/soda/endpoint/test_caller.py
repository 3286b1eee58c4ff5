"""The key, and other secrets, come from the environment and can be sent."""

import pytest

from soda.endpoint.caller import Caller, secret
from soda.errors import ConfigError

JUDGE = Caller("judge", "grader", "SODA_JUDGE_API_KEY")


def test_a_key_is_read_when_it_is_wanted_and_may_be_missing(monkeypatch):
    assert JUDGE.key() == ""
    monkeypatch.setenv("SODA_JUDGE_API_KEY", " word\n")
    assert JUDGE.key() == "word"


def test_another_secret_has_to_be_there(monkeypatch):
    with pytest.raises(ConfigError, match=r"ORG: .*found it not set"):
        secret("ORG")


@pytest.mark.parametrize("value", ["a b", "a\x00", "a\tb", "\u00e9"])
def test_what_cannot_be_sent_is_refused_without_being_shown(monkeypatch, value):
    monkeypatch.setattr("os.environ", {"ORG": f"canary{value}"})
    with pytest.raises(ConfigError, match="ORG: expected printable ASCII") as refused:
        secret("ORG")
    assert "canary" not in str(refused.value)
