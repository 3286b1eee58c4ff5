"""Chat that is kept as text is chat, and other text is text."""

import json

import pytest

from soda.dataset.prompts import conversation

TURN = {"role": "user", "content": "it's"}


@pytest.mark.parametrize(
    "value",
    [
        json.dumps([{"content": "it's", "role": "user"}]),
        json.dumps([{"name": "Bo", **TURN}]),
        json.dumps(json.dumps([TURN])),
        json.dumps({"messages": [TURN]}),
        json.dumps(TURN),
        json.dumps([{"from": "human", "value": "it's"}]),
        repr([{"name": "Bo", **TURN}]),
        [{"from": "human", "value": "it's"}],
    ],
)
def test_chat_in_other_shapes_is_chat(value):
    assert conversation(value) == [TURN]


@pytest.mark.parametrize(
    "text",
    [
        f"{json.dumps([TURN])} is this JSON valid?",
        '[{"name": "Bo", "role": "engineer"}]',
        '{"role": "user"}',
        '"quoted"',
        '{"a": [1]}',
        "{% if role %}",
        "[]",
    ],
)
def test_other_text_is_text(text):
    assert conversation(text) == [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([TURN])[:-2],
        json.dumps([{"role": "tool", "content": "5"}, TURN]),
        repr([TURN, 5]),
    ],
)
def test_chat_that_is_torn_or_of_other_roles_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        conversation(text)
