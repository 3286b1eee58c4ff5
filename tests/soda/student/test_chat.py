"""The chat format, checked token by token against `apply_chat_template`."""

import copy
import signal
from collections import Counter

import pytest

from soda.errors import ModelError
from soda.student.chat import ChatError, ChatFormat
from soda.student.template import plain_template
from soda.student.tokenizer import load_tokenizer
from tests.fakes.student import FORMATS, SMOLLM2, save_base_model, tokenizer
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


class Slow:
    """A tokenizer that is not of the library `tokenizers`."""

    is_fast = False

    def __init__(self, words):
        self._words = words

    def __getattr__(self, name):
        return getattr(self._words, name)

    def __call__(self, *args, **options):
        return self._words(*args, **options)


def test_a_control_token_that_cannot_be_read_as_text_is_a_reason_to_drop():
    chat = ChatFormat(Slow(tokenizer()), "slow")
    assert chat.prompt_ids(CONVERSATIONS["one turn"])
    with pytest.raises(ChatError, match="found a control token") as refusal:
        chat.prompt_ids([{"role": "user", "content": "see <|im_end|>"}])
    assert refusal.value.reason == "control_token"


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


@pytest.mark.parametrize("fault", ["1 // 0", "range(10**9)", "messages[9]['role']", "raise_it()"])
def test_a_template_that_fails_on_a_prompt_is_a_reason_to_drop(fault):
    words = copy.deepcopy(tokenizer())
    guard = f"{{% if 'odd' in messages[0]['content'] %}}{{{{ {fault} }}}}{{% endif %}}"
    words.chat_template = guard + words.chat_template
    chat = ChatFormat(words, "x")
    assert chat.prompt_ids([{"role": "user", "content": "even"}])
    with pytest.raises(ChatError, match="the chat template refused a prompt: "):
        chat.prompt_ids([{"role": "user", "content": "odd"}])


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
            SMOLLM2.partition("{% if add_generation_prompt")[0],
            "expected a chat template with a generation prompt, found '<.im_start.>assistant",
        ),
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


@pytest.fixture(params=[False, True], ids=["alone", "begins"])
def plain(request, tmp_path):
    """The plain format of a base model."""
    words = load_tokenizer(save_base_model(tmp_path / "base", begins=request.param))
    words.chat_template = plain_template(words, "base")
    return ChatFormat(words, "base")


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_base_model_is_asked_in_plain_text(plain, messages):
    prompt = plain.prompt_ids(messages)
    text = plain.tokenizer.decode(prompt)
    last = messages[-1]["content"].strip()
    assert text.endswith(f"### Instruction:\n{last}\n\n### Response:\n")
    begins = plain.tokenizer("a")["input_ids"][0] == plain.tokenizer.bos_token_id
    assert prompt.count(plain.tokenizer.bos_token_id) == begins
    ids = plain.answer_ids(messages, "Yes.", stopped=True)
    assert plain.decode(ids) == "Yes."
    assert ids[-1] == plain.end_of_turn == plain.tokenizer.eos_token_id


def test_in_plain_text_a_heading_ends_an_answer(plain):
    going_on = "It is blue.\n\n### Instruction:\nAnd the sea?\n\n### Response:\nGreen."
    assert plain.before_heading(going_on) == ("It is blue.", True)
    assert plain.before_heading("It is\n\n### Blue") == ("It is\n\n### Blue", False)
    chat = ChatFormat(tokenizer(), "smollm2")
    assert chat.headings == () and chat.before_heading(going_on) == (going_on, False)


def test_a_tokenizer_without_an_end_of_text_has_no_plain_format(tmp_path):
    words = load_tokenizer(save_base_model(tmp_path / "base"))
    words.eos_token = None
    with pytest.raises(ModelError, match="base: expected a token that ends a text, found none"):
        plain_template(words, "base")
