"""Thoughts are taken out of an answer wherever a model marks them, and nothing else is."""

import pytest

from soda.endpoint.thoughts import split_thoughts


@pytest.mark.parametrize(
    ("content", "thoughts", "answer"),
    [
        ("<think>hm</think>yes", "hm", "yes"),
        ("\n<think>\nhm\n</think>\n\nyes\n", "hm", "yes\n"),
        ("<think>\n\n</think>\n\nyes", "", "yes"),
        ("hm, well</think>\n\nyes", "hm, well", "yes"),  # the template opened it in the prompt
        ("<think>hm, and then it was cut", "hm, and then it was cut", ""),
        ("<think>a</think><think>b</think>yes", "a\n\nb", "yes"),
        ("<think>a <think> b</think> c</think>yes", "a <think> b\n\nc", "yes"),
        ("<thinking>hm</thinking>yes", "hm", "yes"),
        ("<thought>hm</thought>yes", "hm", "yes"),
        ("<reasoning>hm</reasoning>yes", "hm", "yes"),
        ("[THINK]hm[/THINK]yes", "hm", "yes"),
        ("<seed:think>hm</seed:think>yes", "hm", "yes"),
        ("◁think▷hm◁/think▷yes", "hm", "yes"),
        (
            "<|begin_of_thought|>hm<|end_of_thought|>\n"
            "<|begin_of_solution|>\nyes<|end_of_solution|>",
            "hm",
            "yes",
        ),
        (
            "<|channel|>analysis<|message|>hm<|end|>"
            "<|start|>assistant<|channel|>final<|message|>yes",
            "hm",
            "yes",
        ),
        ("<think>hm</think>Use <think> in XML.", "hm", "Use <think> in XML."),
    ],
)
def test_thoughts_and_answer(content, thoughts, answer):
    assert split_thoughts(content) == (thoughts, answer)


@pytest.mark.parametrize(
    "content",
    [
        "",
        " yes\n",
        "The tags <think> and </think> enclose it.",
        "It ends with `</think>`, as the manual says.",
        "I think [THINK] is a tag.",
        "<b>bold</b>",
        "A <reasoning> step </reasoning> in XML.",
    ],
)
def test_what_is_no_thought_stays_as_it_was(content):
    assert split_thoughts(content) == (None, content)


def test_any_number_of_thoughts_is_read():
    assert split_thoughts("<think></think>" * 5000 + "yes") == ("", "yes")
