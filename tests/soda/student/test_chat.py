"""The chat format, checked token by token against `apply_chat_template`."""

import pytest

from soda.errors import ModelError
from soda.student.chat import ChatFormat
from tests.fakes.student import FORMATS, tokenizer

CONVERSATIONS = {
    "one turn": [{"role": "user", "content": "What is 7 + 5?"}],
    "system": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a bird."},
    ],
    "many turns": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello, how can I help?"},
        {"role": "user", "content": "  A line.\n\nAnd another.  "},
    ],
}
ANSWERS = ["12.", "Line one.\nLine two.", "Ünïcödé, 数字, 🙂", '{"a": [1, 2]}']


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("answer", ANSWERS)
def test_prompt_and_answer_are_what_the_template_renders(name, messages, answer):
    words = tokenizer(name)
    chat = ChatFormat(words, name)
    prompt, ids = chat.prompt_ids(messages), chat.answer_ids(answer, stopped=True)
    whole = words.apply_chat_template(
        [*messages, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
    )
    after = whole[len(prompt) + len(ids) :]
    assert prompt + ids == whole[: len(prompt) + len(ids)]
    assert words.decode(after).strip() == ""
    assert ids.count(chat.end_of_turn) == 1 and ids[-1] == chat.end_of_turn


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_answer_has_no_end_of_turn(name):
    chat = ChatFormat(tokenizer(name), name)
    cut = chat.answer_ids("half an answ", stopped=False)
    assert chat.end_of_turn not in cut
    assert [*cut, chat.end_of_turn] == chat.answer_ids("half an answ", stopped=True)


def test_bos_stands_once_though_the_tokenizer_adds_its_own():
    words = tokenizer("llama3")
    chat = ChatFormat(words, "llama3")
    ids = chat.prompt_ids(CONVERSATIONS["one turn"])
    assert ids.count(words.bos_token_id) == 1 and ids[0] == words.bos_token_id
    assert words.bos_token_id not in chat.answer_ids("yes", stopped=True)


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5"])
def test_the_default_system_prompt_is_not_put_in_twice(name):
    chat = ChatFormat(tokenizer(name), name)
    text = chat.tokenizer.decode(chat.prompt_ids(CONVERSATIONS["system"]))
    assert text.count("<|im_start|>system") == 1 and "You are" not in text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "expected a chat template, found none"),
        (
            "{% for m in messages %}{{ m['content'] }} {% endfor %}",
            "ends an answer with a special token",
        ),
        ("{% if add_generation_prompt %}Q:{% endif %}{{ messages[-1]['content'] }}", "is a prefix"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(template, problem):
    import copy

    words = copy.deepcopy(tokenizer("smollm2"))
    words.chat_template = template
    with pytest.raises(ModelError, match=problem):
        assert ChatFormat(words, "x").end_of_turn
