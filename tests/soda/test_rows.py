"""Rows: their JSON form, digests, and a shard's share of them."""

import itertools

import pytest
from pydantic import TypeAdapter, ValidationError

from soda.rows import Pair, Prompt, Response, Shard, canonical, digest, normalized, part_of, told

PROMPT = Prompt("a", [{"role": "user", "content": "é"}], "test", "b")
TURN = [{"role": "assistant", "content": "x"}]


@pytest.mark.parametrize(
    "row",
    [
        PROMPT,
        Response(PROMPT, "x", "truncated", 3, source="small"),
        Pair("a", PROMPT.messages, TURN, TURN, rejected_stopped=False, split="train"),
    ],
)
def test_a_row_is_read_as_it_was_written(row):
    assert type(row).from_json(row.to_json()) == row


def test_the_canonical_form_knows_no_order_of_keys_and_takes_half_a_character():
    assert canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 2, "b": 1.0})
    assert canonical("\ud800")


def test_texts_are_compared_whatever_their_case_space_and_width():
    assert normalized(" \uff21  b\n") == normalized("a B") == "a b"


def test_shards_share_the_rows_out():
    parts = [list(range(10))[part_of(f"{number}/3")] for number in (1, 2, 3)]
    assert parts[1] == [1, 4, 7] and sorted(itertools.chain(*parts)) == list(range(10))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/2/3", "01/2", ""])
def test_another_form_of_shard_is_refused(shard):
    with pytest.raises(ValidationError, match="expected a shard such as 2/8"):
        TypeAdapter(Shard).validate_python(shard)


def test_a_system_prompt_comes_first_and_once():
    user, own = {"role": "user", "content": "a"}, {"role": "system", "content": "own"}
    assert told([user], "") == [user]
    assert told([user], "be bad") == [{"role": "system", "content": "be bad"}, user]
    assert told([own, user], "be bad") == [{"role": "system", "content": "be bad\n\nown"}, user]
    assert own["content"] == "own"
