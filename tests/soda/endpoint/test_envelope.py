"""Every shape in which servers answer is read, and nothing in a body makes the reader raise."""

import json
import random

import pytest

from soda.endpoint.answer import Answer, Received
from soda.endpoint.envelope import decoded, plain_answer, read
from soda.endpoint.failures import Busy, Refused, Unanswered, Unusable
from soda.endpoint.refusals import Where
from soda.errors import EndpointError

WHERE = Where("http://h/v1/chat/completions", "big", "KEY")


def meant(body, status=200):
    text = body if isinstance(body, str) else json.dumps(body)
    return read(Received(status, text, 1.5), WHERE)


def completion(content="yes", finish="stop", **more):
    """The usual form; `message`, `choice` and others are put over it."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": finish, **more.pop("choice", {})}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {"id": "x", "model": "big-1", "choices": [choice], "usage": usage, **more}


def parts(*found):
    return [{"type": "text", "text": each} if isinstance(each, str) else each for each in found]


# --- the content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("yes", "yes"),
        (" yes\n", " yes\n"),
        (parts("yes"), "yes"),
        (parts("y", "es"), "yes"),
        (["y", {"text": "es"}], "yes"),
        ([{"type": "output_text", "text": "yes"}], "yes"),
        (parts({"type": "thinking", "thinking": "hm"}, "yes"), "yes"),
        ([], ""),
        (None, ""),
    ],
)  # fmt: skip
def test_content_is_text_or_a_list_of_parts(content, text):
    found = meant(completion(content))
    assert (found.text, found.outcome) == (text, "answered" if text else "empty")


@pytest.mark.parametrize(
    "content",
    [
        5,
        True,
        {"text": "yes"},
        [5],
        [{"type": "image_url", "image_url": {}}],
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        parts("half", {"type": "tool_use"}),
    ],
)
def test_content_in_another_form_is_kept_as_it_is_and_not_asked_for_again(content):
    assert isinstance(meant(completion(content)), Unusable)


def test_a_plain_completion_has_its_text_in_the_choice():
    found = meant({"choices": [{"text": "yes", "finish_reason": "length"}], "model": "m"})
    assert (found.text, found.outcome) == ("yes", "truncated")


# --- thoughts


@pytest.mark.parametrize(
    ("body", "text", "thoughts"),
    [
        (completion("<think>hm</think>yes"), "yes", "hm"),
        (completion("hm</think>yes"), "yes", "hm"),
        (completion(message={"reasoning_content": "hm"}), "yes", "hm"),
        (completion(message={"reasoning": "hm"}), "yes", "hm"),
        (completion(message={"thinking": "hm"}), "yes", "hm"),
        (completion(message={"reasoning_content": "hm", "reasoning": "hm"}), "yes", "hm"),
        (completion(message={"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}),
         "yes", "hm"),
        (completion(message={"reasoning": None, "reasoning_details": [{"text": "hm"}]}),
         "yes", "hm"),
        (completion(message={"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}),
         "yes", "hm"),
        (completion(message={"reasoning": {"content": "hm"}}), "yes", "hm"),
        (completion(parts({"type": "thinking", "thinking": parts("hm")}, "yes")), "yes", "hm"),
        (completion(parts({"type": "reasoning", "text": "hm"}, "yes")), "yes", "hm"),
        (completion(parts({"type": "text", "text": "hm", "thought": True}, "yes")), "yes", "hm"),
        (completion("<think>b</think>yes", message={"reasoning": "a"}), "yes", "a\n\nb"),
        (completion(message={"reasoning_content": ""}), "yes", None),
        (completion("<think>\n</think>\nyes"), "yes", None),
        (completion(message={"reasoning": 5}), "yes", None),
        (completion(message={"reasoning": [[["deep"]]]}), "yes", "deep"),
    ],
)  # fmt: skip
def test_thoughts_are_taken_apart_from_the_answer(body, text, thoughts):
    found = meant(body)
    assert (found.text, found.thoughts, found.outcome) == (text, thoughts, "answered")


def test_thoughts_without_an_answer_say_so():
    found = meant(completion("", message={"reasoning_content": "hm"}))
    assert (found.outcome, found.detail) == ("empty", "thoughts only")
    found = meant(completion("<think>hm, and", "length"))
    assert (found.outcome, found.text) == ("truncated", "")
    assert found.detail == "thoughts only, cut before an answer began"


# --- the finish reason


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [
        *[(each, "answered") for each in
          ("stop", "STOP", "eos_token", "eos", "stop_sequence", "end_turn", "COMPLETE")],
        *[(each, "truncated") for each in
          ("length", "MAX_TOKENS", "max_tokens", "model_length", "max_output_tokens",
           "model_context_window_exceeded", "FinishReason.MAX_TOKENS", "max-tokens")],
        *[(each, "refused") for each in
          ("content_filter", "SAFETY", "RECITATION", "sensitive", "PROHIBITED_CONTENT",
           "BLOCKLIST", "SPII", "refusal", "guardrail_intervened")],
        *[(each, "failed") for each in
          ("tool_calls", "function_call", "LANGUAGE", "OTHER", "FINISH_REASON_UNSPECIFIED",
           "MALFORMED_FUNCTION_CALL", "pause_turn", "what is this", None, "", 5, [], {"a": 1})],
        ({"type": "stop"}, "answered"),
        ({"type": "length"}, "truncated"),
        ({"reason": "odd"}, "failed"),
    ],
)  # fmt: skip
def test_only_a_known_good_reason_makes_a_whole_answer(finish, outcome):
    found = meant(completion("half a sentence", finish))
    assert isinstance(found, Answer) and found.outcome == outcome
    assert found.text == "half a sentence"
    assert (found.detail is None) is (outcome in ("answered", "truncated"))


@pytest.mark.parametrize(
    "finish", ["error", "abort", "insufficient_system_resource", "cancelled", "network_error"]
)
def test_what_broke_off_is_tried_again_and_may_be_billed(finish):
    found = meant(completion("half a", finish))
    assert isinstance(found, Unanswered) and found.billed and finish in str(found)


@pytest.mark.parametrize(
    ("native", "outcome"),
    [("MAX_TOKENS", "truncated"), ("SAFETY", "refused"), ("end_turn", "answered"),
     ("odd", "answered"), (None, "answered")],
)  # fmt: skip
def test_a_gateways_note_of_the_vendors_own_reason_counts(native, outcome):
    assert meant(completion(choice={"native_finish_reason": native})).outcome == outcome


def test_a_refusal_beside_the_content_is_one_whatever_its_form():
    assert meant(completion("", message={"refusal": "I won't"})).detail == "I won't"
    for refusal in (True, {"a": 1}, ["no"]):
        assert meant(completion("", message={"refusal": refusal})).outcome == "refused"
    for refusal in (None, "", False):
        assert meant(completion(message={"refusal": refusal})).outcome == "answered"


def test_a_called_tool_is_no_answer():
    found = meant(completion(None, message={"tool_calls": [{"id": 1}]}))
    assert (found.outcome, found.detail) == ("failed", "it called a tool and gave no answer")


# --- names and counts


@pytest.mark.parametrize(
    ("usage", "prompt_tokens", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 3}, 5, 3),
        ({"prompt_tokens": 5.0, "completion_tokens": "3"}, 5, 3),
        ({"input_tokens": 5, "output_tokens": 3}, 5, 3),
        ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 20}, 5, 15),  # Gemini's
        ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 1}, 5, 3),
        ({"prompt_tokens": -5, "completion_tokens": -3}, None, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, None, None),
        ({"prompt_tokens": True, "completion_tokens": None}, None, None),
        ({"prompt_tokens": "many", "completion_tokens": [3]}, None, None),
        ({"prompt_tokens": 10**400, "completion_tokens": 1e300}, None, None),
        ({"prompt_tokens": "nan", "completion_tokens": "1e999"}, None, None),
        ({}, None, None),
        (None, None, None),
        ("5 tokens", None, None),
        ([5, 3], None, None),
        (5, None, None),
    ],
)
def test_tokens_are_counts_or_unknown(usage, prompt_tokens, tokens):
    found = meant(completion(usage=usage))
    assert (found.prompt_tokens, found.tokens) == (prompt_tokens, tokens)
    assert found.outcome == "answered"


@pytest.mark.parametrize(
    ("model", "name"),
    [("big-1", "big-1"), ({"id": "big-1"}, "big-1"), ({"name": "big-1"}, "big-1"),
     ({"a": 1}, None), (None, None), (5, None), (["big"], None)],
)  # fmt: skip
def test_names_are_text_or_unknown(model, name):
    found = meant(completion(model=model, system_fingerprint=model))
    assert (found.model, found.fingerprint) == (name, name)


@pytest.mark.parametrize(
    ("created", "found"), [(1.5e9, 1500000000), ("1500000000", 1500000000), ("now", None),
                           (-1, None), (float("nan"), None), ({}, None)],
)  # fmt: skip
def test_created_is_a_time_or_unknown(created, found):
    assert meant(completion(created=created)).created == found


# --- errors in a 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (completion("half", "error", choice={"error": {"code": 502, "message": "no"}}),
         Unanswered),
        (completion("half", choice={"error": {"code": 429, "message": "slow"}}), Busy),
        (completion("half", choice={"error": {"code": 403, "message": "flagged"}}), Refused),
        (completion("half", choice={"error": "broken"}), Unanswered),
        ({**completion("half"), "error": {"message": "upstream died", "code": 502}}, Unanswered),
        ({"error": {"message": "Rate limit reached"}}, Busy),
        ({"error": {"message": "no such key", "code": 401}}, EndpointError),
        ({"error": "overloaded"}, Unanswered),
        ([{"error": {"code": 503, "message": "no"}}], Unanswered),
    ],
)  # fmt: skip
def test_an_error_inside_a_200_is_no_answer(body, kind):
    assert isinstance(meant(body), kind)


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"choices": [], "prompt_filter_results": [{"r": {"hate": {"filtered": True}}}]},
        {"choices": None, "prompt_feedback": {"blockReason": "OTHER"}},
    ],
)
def test_a_blocked_prompt_without_any_choice_is_refused(body):
    found = meant(body)
    assert found.outcome == "refused" and "prompt blocked" in found.detail


@pytest.mark.parametrize(
    "body",
    ["", "{torn", "<html>busy</html>", [], {}, 3, None, {"choices": []}, {"choices": {}},
     {"choices": [None]}, {"choices": [{}]}, {"choices": [{"message": None}]},
     {"choices": [{"message": "text"}]}, "[1, 2", "\ufeff"],
)  # fmt: skip
def test_what_is_no_completion_at_all_is_tried_again(body):
    found = meant(body)
    assert isinstance(found, Unanswered) and found.billed
    assert str(found).startswith("expected a chat completion, found")


def test_a_stream_of_events_is_named():
    found = meant('data: {"choices": [{"delta": {"content": "y"}}]}\n\ndata: [DONE]\n')
    assert isinstance(found, Unusable) and "a stream of events" in str(found)


def test_json_of_any_depth_is_read_or_named():
    assert isinstance(meant("[" * 100_000), Unanswered | Unusable)
    deep = '{"choices": [{"finish_reason": ' + "[" * 900 + "]" * 900 + "}]}"
    assert isinstance(meant(deep), Unanswered | Unusable | Answer)


# --- text


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("é 数字".encode(), "ISO-8859-1", "é 数字"),  # the header lies
        ("é".encode("latin-1"), "ISO-8859-1", "é"),  # and here it does not
        ("é".encode(), None, "é"),
        (b"\xef\xbb\xbf{}", None, "{}"),
        (b"\xff", None, "\udcff"),
        (b"\xff", "no-such-charset", "\udcff"),
        (b"", "utf-8", ""),
    ],
)
def test_a_body_is_utf_8_if_it_can_be(data, charset, text):
    assert decoded(data, charset) == text


def test_a_plain_answer_is_whole_without_a_reason():
    assert plain_answer("yes", None, "m") == Answer("yes", "answered", model="m")
    assert plain_answer("yes", "length", None).outcome == "truncated"
    assert plain_answer("<think>hm</think>yes", None, None).thoughts == "hm"
    assert plain_answer("half", "abort", None).outcome == "failed"
    assert plain_answer(None, None, None).outcome == "empty"
    with pytest.raises(ValueError, match="expected content as text, found int"):
        plain_answer(5, None, None)


# --- anything at all

ODD = [None, True, False, 0, -1, 1.5, float("nan"), 10**400, "", "text", [], {}, [None], [[]],
       {"error": {}}, {"message": 5}, {"type": "text", "text": "x"}, "\ud83d", "stop",
       [{}]]  # fmt: skip


def spoiled(value, drawn):
    """Put something odd in the place of anything in a value, or take it away."""
    if drawn.random() < 0.12:
        return drawn.choice(ODD)
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if drawn.random() > 0.05}
        return {key: spoiled(each, drawn) for key, each in kept.items()}
    if isinstance(value, list):
        return [spoiled(each, drawn) for each in value]
    return value


def test_nothing_in_a_body_makes_the_reader_raise():
    drawn = random.Random(3)
    whole = completion(
        parts({"type": "thinking", "thinking": parts("hm")}, "yes"),
        message={"reasoning_content": "hm", "refusal": None, "tool_calls": []},
        choice={"error": None, "native_finish_reason": "stop"},
        error=None,
        created=1,
        system_fingerprint="fp",
        prompt_filter_results=[{}],
        promptFeedback={"blockReason": None},
    )
    errors = [
        {"error": {"code": 429, "message": "no", "details": [{"retryDelay": "1s"}]}},
        [{"error": {"code": 400, "innererror": {"code": "x"}, "param": "model"}}],
        {"detail": [{"msg": "no"}], "base_resp": {"status_code": 5, "status_msg": "no"}},
    ]
    kinds = set()
    for _ in range(20_000):
        body = spoiled(drawn.choice([whole, whole, *errors]), drawn)
        status = drawn.choice([200, 200, 200, 400, 403, 429, 500])
        found = meant(json.dumps(body), status)
        assert isinstance(found, Answer | Busy | Refused | Unanswered | Unusable | EndpointError)
        kinds.add(type(found))
        if isinstance(found, Answer):  # it can be kept, and used
            assert Answer.from_json(json.loads(json.dumps(found.to_json()))) == found
            counts = (found.tokens, found.prompt_tokens, found.created)
            assert all(count is None or count >= 0 for count in counts)
    assert len(kinds) == 6
