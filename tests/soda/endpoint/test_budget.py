"""Money is counted exactly, held back before it can be spent, and never beyond the cap."""

import pytest

from soda.endpoint.answer import Answer
from soda.endpoint.budget import USD, Budget, Price
from soda.endpoint.request import Request
from soda.errors import BudgetError, ConfigError

PRICE = Price(input=1e6, output=2e6)  # a dollar a token in, two out
BODY = {"model": "m", "max_tokens": 10}


def request(text="", **more):
    return Request.of("http://h", {**BODY, "messages": [{"role": "u", "content": text}]}, **more)


def budget(cap=None, price=PRICE):
    return Budget(price, BODY, cap, "judge")


MOST = 32 + 2 * 10  # dollars: sixteen tokens for the message, sixteen for the prompt


def test_a_request_can_cost_a_token_a_byte_and_the_longest_answer():
    assert budget().most(request()) == MOST * USD
    assert budget().most(request("äb")) == (MOST + 3) * USD


def test_the_batch_api_costs_half():
    assert budget().most(request(cheap=True)) * 2 == MOST * USD
    assert Price(input=1e-6).of(1, 0) == 1 and Price(input=1e-6).of(1, 0, cheap=True) == 1


@pytest.mark.parametrize(
    ("answer", "dollars"),
    [
        (Answer("a", "answered", tokens=3, prompt_tokens=5), 5 + 6),
        (Answer("a", "truncated", tokens=0, prompt_tokens=0), 0),
        (Answer("a", "refused", tokens=3, prompt_tokens=5), 5 + 6),
        (Answer("a", "answered", tokens=3), MOST),  # the server does not say
        (Answer("a", "answered"), MOST),
        (Answer("", "refused", worked=False), 32),  # a filter read the prompt
        (Answer("", "failed", worked=False), 0),
    ],
)
def test_an_answer_costs_what_the_server_counts_or_what_it_can_have_cost(answer, dollars):
    assert budget().cost(request(), answer) == dollars * USD


def test_what_is_reserved_is_settled_lost_or_free():
    money = budget(cap=2 * MOST)
    one, two = money.reserve(request()), money.reserve(request())
    assert money.reserve(request()) is None  # others are under way
    money.settle(one, request(), Answer("a", "answered", tokens=1, prompt_tokens=1))
    money.lose(two)
    assert (money.usd, money.usd_possibly_billed) == (3, MOST)
    with pytest.raises(BudgetError, match=r"judge\.limits\.usd: \$3\.0000 is spent and \$52\.0000"):
        money.reserve(request())
    money.recount()
    money.free(money.reserve(request()))
    assert (money.usd, money.usd_possibly_billed) == (0, 0)


def test_what_a_journal_says_is_counted():
    money = budget()
    money.count(request(), Answer("a", "answered", tokens=1, prompt_tokens=1), 2)
    money.count(request(), None, 1)
    money.count_tokens(5, 1)
    assert (money.usd, money.usd_possibly_billed) == (3 + 7, 3 * MOST)


def test_a_cap_needs_a_price_and_a_bound():
    with pytest.raises(ConfigError, match=r"judge\.limits\.usd: expected judge\.price too"):
        budget(cap=5, price=Price())
    with pytest.raises(ConfigError, match=r"expected sampling\.max_tokens or"):
        Budget(PRICE, {}, 5, "judge")
    assert Budget(PRICE, {"max_completion_tokens": 7}, 5, "judge").answer_tokens == 7


def test_without_a_cap_everything_may_be_asked():
    money = Budget(PRICE, {}, None, "judge")
    assert all(money.reserve(request()) is not None for _ in range(100))
