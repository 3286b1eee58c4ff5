"""What a thinking model says before its answer, taken apart from it."""

import re

__all__ = ["split_thoughts"]

# How open models mark their thoughts, the common ones first.
_PAIRS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),  # Kimi
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss, where the server splits nothing
]
# Whose chat templates put the opening word into the prompt, so that only the closing one is said.
_OPENED_IN_THE_PROMPT = [
    pair for pair in _PAIRS if pair[1] in ("</think>", "</seed:think>", "[/THINK]")
]
_MARKS = re.compile("|".join(re.escape(word) for pair in _PAIRS for word in pair))
_FINAL = re.compile(r"(<\|start\|>assistant)?<\|channel\|>final<\|message\|>")
_SOLUTION = re.compile(r"<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>\s*)?$", re.DOTALL)


def split_thoughts(content: str) -> tuple[str | None, str]:
    """Return thoughts and answer; without thoughts None, and the content as it was.

    Thoughts stand at the beginning; without their closing word everything is thought. The same
    words elsewhere, such as in an answer about XML, are left alone.
    """
    if not _MARKS.search(content):
        return None, content
    found: list[str] = []
    rest = content.lstrip()
    while (split := _first_thought(rest)) is not None:
        found.append(split[0].strip())
        rest = split[1].lstrip()
    if not found:
        return None, content
    rest = rest[final.end() :] if (final := _FINAL.match(rest)) else rest
    rest = solution[1] if (solution := _SOLUTION.match(rest)) else rest
    return "\n\n".join(filter(None, found)), rest.lstrip()


def _first_thought(text: str) -> tuple[str, str] | None:
    """Return the thought that a text begins with, and what follows it."""
    for opening, closing in _PAIRS:
        if text.startswith(opening):
            thought, _, rest = text.removeprefix(opening).partition(closing)
            return thought, rest
    for opening, closing in _OPENED_IN_THE_PROMPT:
        thought, closed, rest = text.partition(closing)
        if closed and opening not in thought and not thought.endswith("`"):
            return thought, rest
    return None
