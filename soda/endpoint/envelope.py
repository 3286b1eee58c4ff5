"""The one reader of what servers send: a chat completion, or an error, in any of their forms.

It reads what OpenAI, Azure, vLLM, TGI, llama.cpp, Ollama, LiteLLM, OpenRouter and the compatible
endpoints of Gemini, Anthropic and Mistral send. Nothing in a body can make it raise: what does not
fit is `Unusable`, with the reason, and stays in the journal for a later version.
"""

import json
from collections.abc import Iterator
from typing import Any

from soda.endpoint.answer import Answer, Received
from soda.endpoint.failures import Unanswered, Unusable
from soda.endpoint.refusals import Said, Where, explain, quoted, said_in
from soda.endpoint.thoughts import split_thoughts
from soda.limits import TOKENS
from soda.rows import Outcome

__all__ = ["End", "decoded", "plain_answer", "read"]

End = Answer | Exception  # what a response means: an answer, or one of the failures

# Why a model stopped, in every server's words. What is on no list is looked at by a person.
_WHOLE = {"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed"}
_CUT = {"length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length"}
_CUT |= {"model_length", "token_limit", "model_context_window_exceeded"}
_WITHHELD = {"content_filter", "content_filtered", "safety", "image_safety", "recitation"}
_WITHHELD |= {"prohibited_content", "blocklist", "spii", "refusal", "refused", "sensitive"}
_WITHHELD |= {"guardrail_intervened", "moderation", "error_toxic"}
_BROKEN = {"error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error"}
_BROKEN |= {"insufficient_system_resource", "engine_error", "engine_overloaded"}
_TOOL = {"tool_calls", "tool_call", "tool_use", "function_call"}
_OUTCOMES: dict[str, Outcome] = {
    **dict.fromkeys(_WHOLE, "answered"),
    **dict.fromkeys(_CUT, "truncated"),
    **dict.fromkeys(_WITHHELD, "refused"),
}
# Where thoughts stand beside the content.
_THOUGHTS = (
    *("reasoning_content", "reasoning", "thinking", "thoughts"),
    *("reasoning_details", "thinking_blocks"),
)


def decoded(data: bytes, charset: str | None) -> str:
    """Return a body as text: JSON is UTF-8 whatever the header says, if it can be."""
    for name in ("utf-8-sig", charset or "utf-8"):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            pass
    return data.decode("utf-8", errors="surrogateescape")


def read(received: Received, where: Where, wait: float | None = None) -> End:
    """Say what a response means.

    Args:
        received: the response.
        where: the request it answers, for messages.
        wait: seconds that its headers ask for.
    """
    try:
        return _read(received, where, wait)
    except RecursionError:
        return Unusable("expected a chat completion, found JSON nested too deeply")


def _read(received: Received, where: Where, wait: float | None) -> End:
    try:
        data = json.loads(received.body)
    except ValueError:
        data = None
    said = said_in(data, received.body)
    if not 200 <= received.status < 300:
        return explain(received.status, said or Said(quoted(received.body)), where, wait)
    if said is not None:
        return explain(received.status, said, where, wait)
    if data is None and received.body.lstrip().startswith(("data:", "event:", ": ")):
        return Unusable("expected one answer, found a stream of events")
    end = _completion(data, received, where) if isinstance(data, dict) else None
    if end is None:
        found = f"expected a chat completion, found {quoted(received.body)!r}"
        return Unanswered(found, billed=True)
    return end


def _completion(data: dict[str, Any], received: Received, where: Where) -> End | None:
    """Read a completion's first choice; None if there is none."""
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return _blocked(data)
    if choice.get("error"):
        said = said_in({"error": choice["error"]}, "")
        return explain(received.status, said, where) if said else None
    message = choice.get("message")
    if not isinstance(message, dict):
        if not isinstance(choice.get("text"), str):
            return None
        message = {"content": choice["text"]}  # a plain completion
    try:
        text, thoughts = _content(message)
    except ValueError as error:
        return Unusable(str(error))
    end = _ended(choice, message, text, thoughts)
    if isinstance(end, Exception):
        return end
    prompt_tokens, tokens = _usage(data.get("usage"))
    return Answer(
        text,
        *end,
        thoughts,
        tokens,
        prompt_tokens,
        _name(data.get("model")),
        _name(data.get("system_fingerprint")),
        _whole(data.get("created"), most=10**11),
        received.seconds,
    )


def _ended(
    choice: dict[str, Any], message: dict[str, Any], text: str, thoughts: str | None
) -> tuple[Outcome, str | None] | Exception:
    """Return how a choice ended, by the reason that the server gives, and why."""
    reason = _reason(choice.get("finish_reason"))
    native = _reason(choice.get("native_finish_reason"))  # a gateway's note of the vendor's word
    if native is not None and reason in _WHOLE and native in _CUT | _WITHHELD | _BROKEN:
        reason = native
    refusal = message.get("refusal")
    if refusal:
        return "refused", quoted(str(refusal))
    if reason in _BROKEN:
        return Unanswered(f"it ended with finish_reason {reason!r}", billed=True)
    if reason in _TOOL or (not text.strip() and message.get("tool_calls")):
        return "failed", "it called a tool and gave no answer"
    outcome = _OUTCOMES.get(reason or "")
    if outcome is None:
        found = "no finish_reason" if reason is None else f"finish_reason {reason!r}"
        return "failed", f"{found}: not known to end a whole answer"
    if outcome == "refused":
        return outcome, f"finish_reason {reason!r}"
    if text.strip():
        return outcome, None
    cut = ", cut before an answer began" if outcome == "truncated" else ""
    why = f"thoughts only{cut}" if thoughts else None
    return "empty" if outcome == "answered" else outcome, why


def plain_answer(content: Any, finish: Any, model: Any) -> Answer:
    """Return an answer that a person gives us; without a finish reason it is whole.

    Raises:
        ValueError: its content is no text.
    """
    content, thoughts = _content({"content": content})
    choice = {"finish_reason": "stop" if finish is None else finish}
    end = _ended(choice, {}, content, thoughts)
    if isinstance(end, Exception):
        return Answer(content, "failed", str(end), thoughts, model=_name(model))
    return Answer(content, *end, thoughts, model=_name(model))


def _content(message: dict[str, Any]) -> tuple[str, str | None]:
    """Return text and thoughts of a message, whose content may be text or a list of parts.

    Raises:
        ValueError: part of the content is no text.
    """
    content = message.get("content")
    thoughts = []
    if not message.keys().isdisjoint(_THOUGHTS):  # where several are, they are one
        beside = (_spoken(message.get(key)) for key in _THOUGHTS)
        thoughts = [next(filter(None, beside), "")]
    if isinstance(content, list):
        parts = list(_parts(content))
        thoughts += [text for text, thought in parts if thought]
        content = "".join(text for text, thought in parts if not thought)
    if not isinstance(content, str | None):
        raise ValueError(f"expected content as text, found {type(content).__name__}")
    aloud, text = split_thoughts(content or "")
    if aloud is None and not thoughts:
        return text, None
    found = "\n\n".join(each.strip() for each in [*thoughts, aloud or ""] if each.strip())
    return text, found or None


def _parts(content: list[Any]) -> Iterator[tuple[str, bool]]:
    """Yield each part's text, and whether it is a thought."""
    for part in content:
        if isinstance(part, str):
            yield part, False
            continue
        if not isinstance(part, dict):
            raise ValueError(f"expected parts of content, found {type(part).__name__}")
        kind = part.get("type")
        if kind in ("thinking", "reasoning", "redacted_thinking") or part.get("thought") is True:
            yield _spoken(part), True
        elif kind in ("text", "output_text", "refusal", None):
            text = part.get("text", part.get("refusal"))
            if not isinstance(text, str):
                raise ValueError("expected text in a part of content, found none")
            yield text, False
        else:
            raise ValueError(f"expected parts of content that are text, found {kind!r}")


def _spoken(value: Any) -> str:
    """Return the text in a thought, whatever it is wrapped in."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_spoken, value[:1000]))
    if isinstance(value, dict):
        keys = ("thinking", "text", "reasoning", "content", "summary")
        return next((found for key in keys if (found := _spoken_flat(value.get(key)))), "")
    return ""


def _spoken_flat(value: Any) -> str:
    """Return the text of one level more: Mistral's thoughts are lists of parts."""
    if isinstance(value, list):
        texts = [each.get("text") if isinstance(each, dict) else each for each in value]
        return "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _reason(value: Any) -> str | None:
    """Return a finish reason in one spelling: `FinishReason.MAX_TOKENS` is `max_tokens`."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("type", "reason", "name") if value.get(key)), value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return quoted(json.dumps(value))
    return value.strip().rpartition(".")[2].lower().replace("-", "_") or value


def _blocked(data: dict[str, Any]) -> Answer | None:
    """Return the refusal of a prompt that got no choice at all, in Gemini's and Azure's form."""
    feedback = data.get("promptFeedback") or data.get("prompt_feedback")
    if isinstance(feedback, dict) and (reason := feedback.get("blockReason")):
        return Answer("", "refused", f"prompt blocked: {quoted(str(reason))}", worked=False)
    results = data.get("prompt_filter_results")
    if results and '"filtered": true' in json.dumps(results):
        return Answer("", "refused", "prompt blocked by the content filter", worked=False)
    return None


def _usage(usage: Any) -> tuple[int | None, int | None]:
    """Return the tokens of prompt and answer that a server counts, as far as they are numbers.

    Gemini's endpoint counts thoughts in the total only; they are paid for as the answer is.
    """
    if not isinstance(usage, dict):
        return None, None
    prompt = _whole(usage.get("prompt_tokens", usage.get("input_tokens")))
    answer = _whole(usage.get("completion_tokens", usage.get("output_tokens")))
    total = _whole(usage.get("total_tokens"))
    if prompt is not None and answer is not None and total is not None:
        answer = max(answer, total - prompt)
    return prompt, answer


def _whole(value: Any, most: int = TOKENS) -> int | None:
    """Return a count as an int; None for what is none: negative, not finite, or no number."""
    if type(value) is int and 0 <= value <= most:
        return value
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= most else None  # neither holds of NaN


def _name(value: Any) -> str | None:
    """Return a name, also of an object that has one."""
    if isinstance(value, dict):
        value = value.get("id") or value.get("name")
    return value if isinstance(value, str) else None
