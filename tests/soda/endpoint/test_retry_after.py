"""How long a server asks us to wait, in every form of the header, and what is none."""

import email.utils
import time

import pytest

from soda.endpoint.retry_after import retry_after_seconds


def header(value, **more):
    return retry_after_seconds({"retry-after": value, **more})


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0.5", 0.5), (" 7 ", 7), ("1e2", 100)])
def test_seconds(value, seconds):
    assert header(value) == seconds


@pytest.mark.parametrize("value", ["0", "-3", "inf", "-inf", "nan", "1e999", "0.0", "-0"])
def test_what_is_no_time_to_wait_says_nothing(value):
    assert header(value) is None


@pytest.mark.parametrize("ahead", [30, 86_400])
def test_a_date(ahead):
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    assert ahead - 3 <= header(date) <= ahead


def test_a_date_that_is_past_says_nothing():
    assert header(email.utils.formatdate(time.time() - 30, usegmt=True)) is None


def test_a_date_is_compared_with_the_servers_own_clock():
    then, now = (email.utils.formatdate(seconds, usegmt=True) for seconds in (2e9 + 9, 2e9))
    assert header(then, date=now) == 9 and header(now, date=then) is None
    assert header(then, date="rubbish") > 1e8  # no server's clock: ours


@pytest.mark.parametrize(
    "value", ["", "soon", "Wed, 99 Foo 2026", "Wed, 21 Oct 99999 07:28:00 GMT", "\u0663\u0660 s"]
)
def test_a_header_that_is_neither_says_nothing(value):
    assert header(value) is None


def test_milliseconds_win():
    assert header("20", **{"retry-after-ms": "1500"}) == 1.5
    assert header("20", **{"retry-after-ms": "soon"}) == 20
    assert retry_after_seconds({}) is None
