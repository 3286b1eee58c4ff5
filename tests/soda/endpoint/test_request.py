"""A request's key holds all that decides its answer, and its bounds hold for any tokenizer."""

from soda.endpoint.request import Request, output_bound, prompt_bound

MESSAGES = [{"role": "system", "content": "Sei kurz."}, {"role": "user", "content": "Grüße?"}]


def of(endpoint="http://h", cheap=False, more=None, **body):
    return Request.of(endpoint, {"messages": MESSAGES, **body}, cheap=cheap, **(more or {}))


def test_another_field_endpoint_or_extra_is_another_key_and_the_price_is_not():
    keys = [
        of().key,
        of("http://i").key,
        of(temperature=0).key,
        of(temperature=1).key,
        of(more={"run": "1"}).key,
        of().again().key,
        of().again().again().key,
    ]
    assert len(set(keys)) == len(keys) and all(len(key) == 64 for key in keys)
    assert of(cheap=True).key == of().key


def test_the_bound_of_a_prompt_is_in_bytes():
    assert prompt_bound(MESSAGES) == 9 + 16 + 8 + 16 + 16
    assert prompt_bound([{"role": "user", "content": "\ud83d"}]) == 1 + 32


def test_the_bound_of_an_answer_is_the_requests():
    assert output_bound({}) is None
    assert output_bound({"max_tokens": 5.0}) == 5
    assert output_bound({"max_tokens": 5, "max_completion_tokens": 7}) == 7
    assert output_bound({"max_tokens": "many"}) is None
    assert of(max_tokens=10).tokens == of().prompt_tokens + 10
    assert of().tokens == of().prompt_tokens + 1024
