"""What is tried again, and after how long."""

import email.utils
import time

import pytest

from soda.endpoint.retry import RETRIED_STATUSES, backoff_seconds, retry_after_seconds


def test_only_failures_that_may_pass_are_tried_again():
    assert {429, 500, 502, 503, 504} <= RETRIED_STATUSES
    assert not {200, 301, 400, 401, 402, 403, 404, 422} & RETRIED_STATUSES


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (1, 1), (4, 8), (50, 60)])
def test_the_wait_is_random_below_a_bound_that_doubles_up_to_a_minute(attempt, longest):
    waits = [backoff_seconds(attempt) for _ in range(500)]
    assert 0 <= min(waits) < longest / 2 < max(waits) <= longest


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0.5", 0.5), ("0", 0), ("-3", 0)])
def test_retry_after_is_read_as_seconds(header, seconds):
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("ahead", "low", "high"), [(30, 27, 30), (-30, 0, 0)])
def test_retry_after_is_read_as_a_date(ahead, low, high):
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    assert low <= retry_after_seconds(date) <= high


def test_a_date_is_compared_with_the_servers_own_clock():
    then, now = (email.utils.formatdate(seconds, usegmt=True) for seconds in (2e9 + 9, 2e9))
    assert retry_after_seconds(then, now) == 9 and retry_after_seconds(now, then) == 0
    assert retry_after_seconds(then, "rubbish") > 1e8  # no server's clock: ours


@pytest.mark.parametrize("header", [None, "", "soon", "Wed, 99 Foo 2026"])
def test_a_header_that_is_neither_is_no_header(header):
    assert retry_after_seconds(header) is None
