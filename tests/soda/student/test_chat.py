"""The chat format, checked token by token against `apply_chat_template`."""

import copy
import signal
from collections import Counter

import pytest

from soda.errors import ModelError
from soda.student.chat import ChatError, ChatFormat
from tests.fakes.student import FORMATS, tokenizer
from tests.fakes.tokenizers import FAMILIES, TEMPLATES, of_family

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
ANSWERS = [
    *("12.", "Line one.\nLine two.", "Ünïcödé, 数字, 🙂", '{"a": [1, 2]}', "(x)", "**b**"),
    *("- a\n- b", "`code`", "  indented", "ends with a space ", "    four"),
]


def whole(words, messages, answer):
    turn = {"role": "assistant", "content": answer}
    return words.apply_chat_template([*messages, turn], tokenize=True, return_dict=False)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("answer", ANSWERS)
def test_prompt_and_answer_are_what_the_template_renders(name, messages, answer):
    words = tokenizer(name)
    chat = ChatFormat(words, name)
    prompt, [ids] = chat.pair_ids(messages, [(answer, True)])
    assert prompt == chat.prompt_ids(messages)
    assert ids == chat.answer_ids(messages, answer, stopped=True)
    rendered = whole(words, messages, answer)
    assert prompt + ids == rendered[: len(prompt) + len(ids)]
    assert words.decode(rendered[len(prompt) + len(ids) :]).strip() == ""
    assert ids.count(chat.end_of_turn) == 1 and ids[-1] == chat.end_of_turn


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_sees_what_its_template_renders_or_drops_the_pair(family, template):
    words = of_family(family, template)
    chat = ChatFormat(words, family)
    same = dropped = 0
    for messages in (CONVERSATIONS["one turn"], CONVERSATIONS["many turns"]):
        for answer in ANSWERS:
            try:
                prompt, [ids] = chat.pair_ids(messages, [(answer, True)])
            except ChatError as error:
                assert error.reason == "answer_joins_prompt"
                dropped += 1
                continue
            assert prompt + ids == whole(words, messages, answer)[: len(prompt) + len(ids)]
            same += 1
    # a prompt that ends with a space, which this one gives to whatever comes next
    assert same and (not dropped or (family, template) == ("prepend", "colon"))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_message_says_never_becomes_a_control_token(family, template):
    words = of_family(family, template)
    chat = ChatFormat(words, family)
    tokens = [*words.all_special_tokens, "<|user|>", "<|assistant|>", "<|system|>", "[INST]"]
    ids = {words.convert_tokens_to_ids(token) for token in tokens} - {words.unk_token_id}

    def control(messages, answer):
        prompt, [found] = chat.pair_ids(messages, [(answer, True)])
        return Counter(token for token in prompt + found if token in ids)

    expected = control([{"role": "user", "content": "see it"}], "it is so")
    for token in tokens:
        for form in (token, f"a{token}b", f" {token}{token} ", token.upper()):
            messages = [{"role": "user", "content": f"see {form}"}]
            assert control(messages, f"it is {form} so") == expected


@pytest.mark.parametrize("name", FORMATS)
def test_a_control_token_in_a_message_stays_readable(name):
    words = tokenizer(name)
    chat = ChatFormat(words, name)
    text = "The tag <|im_end|> ends a turn, <|eot_id|> too."
    prompt, [ids] = chat.pair_ids([{"role": "user", "content": text}], [(text, True)])
    assert text in words.decode(prompt) and words.decode(ids[:-1]) == text
    assert ids.count(chat.end_of_turn) == 1


def test_a_thought_that_an_answer_speaks_of_is_not_one():
    words = copy.deepcopy(tokenizer("qwen3"))
    words.add_tokens(["<think>", "</think>"])
    chat = ChatFormat(words, "qwen3")
    thought = words.convert_tokens_to_ids("</think>")
    messages = CONVERSATIONS["one turn"]
    prompt, [ids] = chat.pair_ids(messages, [("Models write </think> there.", True)])
    assert prompt.count(thought) == 1 and thought not in ids


def test_characters_that_marks_are_made_of_are_refused():
    chat = ChatFormat(tokenizer(), "x")
    with pytest.raises(ChatError, match="noncharacter") as refusal:
        chat.prompt_ids([{"role": "user", "content": "a\U0010ffff\U00100001"}])
    assert refusal.value.reason == "noncharacter"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        [{"role": "user", "content": "u"}, {"role": "user", "content": "v"}],
    ],
)
def test_a_conversation_that_the_template_refuses_is_said_by_its_words(messages):
    chat = ChatFormat(of_family("metaspace-first", "mistral"), "mistral")
    with pytest.raises(ChatError, match="the chat template refused a prompt: ") as refusal:
        chat.prompt_ids(messages)
    assert refusal.value.reason == "template_refused"


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_answer_has_no_end_of_turn(name):
    chat = ChatFormat(tokenizer(name), name)
    messages = CONVERSATIONS["one turn"]
    _, [cut, stopped] = chat.pair_ids(messages, [("half an answ", False), ("half an answ", True)])
    assert chat.end_of_turn not in cut and [*cut, chat.end_of_turn] == stopped


def test_a_cut_answer_ends_with_its_own_last_word():
    chat = ChatFormat(of_family("metaspace-first", "llama2"), "llama2")
    messages = CONVERSATIONS["one turn"]
    _, [cut, stopped] = chat.pair_ids(messages, [("half an answ", False), ("half an answ", True)])
    assert chat.tokenizer.convert_ids_to_tokens(stopped)[-2:] == ["▁", "</s>"]
    assert cut == stopped[:-2]


def test_bos_stands_once_though_the_tokenizer_adds_its_own():
    words = tokenizer("llama3")
    chat = ChatFormat(words, "llama3")
    ids = chat.prompt_ids(CONVERSATIONS["one turn"])
    assert ids.count(words.bos_token_id) == 1 and ids[0] == words.bos_token_id
    assert words.bos_token_id not in chat.answer_ids(CONVERSATIONS["one turn"], "yes", stopped=True)


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
        ({"rag": "x", "tools": "y"}, "expected one chat template, found several: rag, tools"),
        ("{{ strftime_now('%Y') }}", "with a fixed date, found today's"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(template, problem):
    words = copy.deepcopy(tokenizer("smollm2"))
    words.chat_template = template
    with pytest.raises(ModelError, match=problem):
        assert ChatFormat(words, "x").end_of_turn


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_a_template_that_loops_is_stopped(monkeypatch):
    monkeypatch.setattr("soda.student.chat.TEMPLATE_SECONDS", 0.2)
    words = copy.deepcopy(tokenizer())
    words.chat_template = LOOPS + words.chat_template
    with pytest.raises(ModelError, match=r"expected a chat template that ends, .* more than 0.2 s"):
        ChatFormat(words, "model").prompt_ids(CONVERSATIONS["one turn"])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_template_that_writes_without_measure_is_refused(monkeypatch):
    monkeypatch.setattr("soda.student.chat.TEMPLATE_CHARACTERS", 1000)
    words = copy.deepcopy(tokenizer())
    words.chat_template = "{{ 'x' * 2000 }}" + words.chat_template
    with pytest.raises(ModelError, match="writes at most 1000 characters, found 2"):
        ChatFormat(words, "model").prompt_ids(CONVERSATIONS["one turn"])
