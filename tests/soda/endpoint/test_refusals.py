"""What the errors of many servers mean: this request, the run, a wait, or another try."""

import json
import re

import pytest

from soda.endpoint.answer import Answer
from soda.endpoint.failures import Busy, Refused, Unanswered
from soda.endpoint.refusals import Said, Where, explain, quoted, said_in
from soda.errors import EndpointError

WHERE = Where("http://h/v1/chat/completions", "big", "SODA_JUDGE_API_KEY")


def openai(message, code=None, **more):
    return {"error": {"message": message, "code": code, "type": None, "param": None, **more}}


def meant(status, body, wait=None):
    text = body if isinstance(body, str) else json.dumps(body)
    data = None if isinstance(body, str) else body
    return explain(status, said_in(data, text) or Said(quoted(text)), WHERE, wait)


# --- a prompt that is too long, in the words of many servers

TOO_LONG = [
    (400, openai("...", "context_length_exceeded")),
    (400, openai("This model's maximum context length is 4096 tokens. However, you requested 9")),
    (400, {"object": "error", "message": "max_tokens must be at least 1, got -186.", "code": 400}),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens."}),
    (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "v"}),
    (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "no"}}),
    (500, openai("the request exceeds the available context size. try increasing it", 500)),
    (200, {"error": {"code": 400, "message": "the request exceeds the available context size"}}),
    (400, {"type": "error", "error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}),
    (400, [{"error": {"code": 400, "message": "The input token count exceeds the maximum"}}]),
    (400, openai("litellm.ContextWindowExceededError: litellm.BadRequestError: no", "400")),
    (400, openai("Range of input length should be [1, 30720]", "invalid_parameter_error")),
    (400, {"error": "prompt too long; exceeded max context length by 4 tokens"}),
    (413, "<html>413 Request Entity Too Large</html>"),
    (413, {"message": "Request too large"}),
    (429, openai("Request too large for gpt-4o on tokens per min: Limit 30000", "rate_limit")),
    (400, openai("Invalid 'messages[0].content': string too long.", "string_above_max_length")),
    (400, {"message": "Input is too long for requested model."}),
]


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
def test_a_prompt_that_is_too_long_ends_as_a_failed_row_with_the_servers_words(status, body):
    found = meant(status, body)
    assert isinstance(found, Answer) and found.outcome == "failed" and not found.worked
    assert found.detail


# --- content that is withheld, by a name of its own

FILTERED = [
    (400, openai("not this", "content_filter")),
    (400, openai("not this", "content_policy_violation")),
    (
        400,
        openai(
            "The response was filtered due to the prompt",
            "content_filter",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    (400, openai("no", None, innererror={"code": "ResponsibleAIPolicyViolation"})),
    (400, openai("Input data may contain it.", "data_inspection_failed")),
    (400, {"code": "DataInspectionFailed", "message": "no"}),
    (400, openai("litellm.ContentPolicyViolationError: no", "400")),
    (200, {"error": {"message": "no", "code": "content_filter"}}),
    (500, openai("litellm.ContentPolicyViolationError: no", "500")),
]


@pytest.mark.parametrize(("status", "body"), FILTERED)
def test_what_a_filter_objects_to_ends_as_a_refused_row(status, body):
    found = meant(status, body)
    assert isinstance(found, Answer) and found.outcome == "refused" and not found.worked


# --- refusals that may be of the request alone

OF_THE_REQUEST = [
    (400, openai("what is this?")),
    (400, openai("temperature: too high")),
    (400, "bad request"),
    (400, {"error": "a plain text"}),
    (422, {"detail": [{"loc": ["body", "messages"], "msg": "no"}]}),
    (422, {"detail": "Unexpected fields in the request: {'nonsense'}"}),
    (403, openai("Your input was flagged for 'violence'", 403)),
    (403, "Forbidden"),
    (403, {"message": "Request blocked by the moderation policy"}),
    (451, "Unavailable For Legal Reasons"),
    (418, "teapot"),
    (400, openai("Failed to generate JSON", "json_validate_failed")),
    (400, openai("This model's output is not safe: it is sensitive")),
    (400, {"errors": [{"code": 7003, "message": "no"}], "success": False}),
    (400, {"detail": "prompt must be a string."}),
]


@pytest.mark.parametrize(("status", "body"), OF_THE_REQUEST)
def test_another_refusal_is_of_the_request_until_proven_otherwise(status, body):
    found = meant(status, body)
    assert isinstance(found, Refused) and str(found).startswith(f"refused ({status}): ")


# --- what is of the run

OF_THE_KEY = [
    (401, openai("Incorrect API key provided: ***.", "invalid_api_key")),
    (401, ""),
    (401, {"detail": "Unauthorized"}),
    (403, openai("not authorized to use this API key")),
    (403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}),
    (403, openai("Country, region, or territory not supported", "unsupported_country")),
    (403, openai("Your account has been suspended")),
    (403, {"message": "You do not have access to the organization"}),
    (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID"}}]),
    (400, openai("No auth credentials found")),
]


@pytest.mark.parametrize(("status", "body"), OF_THE_KEY)
def test_where_the_key_is_named_the_run_ends_and_the_callers_variable_is_named(status, body):
    found = meant(status, body)
    assert isinstance(found, EndpointError) and "SODA_JUDGE_API_KEY" in str(found)


OF_THE_MODEL = [
    (404, openai("The model `big` does not exist or you do not have access", "model_not_found")),
    (404, {"error": {"message": 'model "big" not found, try pulling it first'}}),
    (404, openai("No endpoints found for big.", 404)),
    (404, openai("no", "DeploymentNotFound")),
    (400, openai("Model Not Exist")),
    (400, openai("big is not a valid model ID", 400)),
    (400, openai("Invalid model name passed in model=big. Call `/v1/models`", "400")),
    (400, openai("no", None, param="model")),
    (400, openai("The model `big` has been decommissioned and is no longer", "model_gone")),
]


@pytest.mark.parametrize(("status", "body"), OF_THE_MODEL)
def test_where_the_model_is_named_the_run_ends(status, body):
    found = meant(status, body)
    assert isinstance(found, EndpointError) and "no model 'big' there" in str(found)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (404, "404 page not found", "neither this path nor a model 'big'"),
        (405, {"detail": "Method Not Allowed"}, "neither this path"),
        (410, "Gone", "neither this path"),
        (402, openai("Insufficient Balance"), "the account cannot pay"),
        (407, "", "the proxy wants a login"),
        (301, "to https://h/v2", r"redirect \(301 to https://h/v2\)"),
        (302, "to https://login.example/", "redirect"),
        (308, "to https://h/v1", "redirect"),
    ],
)
def test_what_no_other_request_would_escape_ends_the_run(status, body, problem):
    found = meant(status, body)
    assert isinstance(found, EndpointError)
    assert str(found).startswith("http://h/v1/chat/completions: ")
    assert re.search(problem, str(found))


# --- waiting

MENDED_BY_WAITING = [
    openai("Rate limit reached for big", "rate_limit_exceeded"),
    openai("slow down"),
    {"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).",
               "status": "RESOURCE_EXHAUSTED"}},
    openai("You exceeded your current quota, please check your plan and billing details"),
    openai("litellm.RateLimitError: this is a mock", "429", type="throttling_error"),
    openai("some words that nobody has seen before", "odd_code"),
    "Too Many Requests",
    "",
]  # fmt: skip


@pytest.mark.parametrize("body", MENDED_BY_WAITING)
def test_a_429_is_waited_for(body):
    found = meant(429, body, 7.0)
    assert isinstance(found, Busy) and found.wait == 7.0


MENDED_BY_NO_WAITING = [
    openai("You exceeded your current quota", "insufficient_quota"),
    openai("no", None, type="insufficient_quota"),
    openai("Your account is suspended, please check", None, type="exceeded_current_quota_error"),
    openai("Insufficient balance or no resource package. Please recharge.", "1113"),
    openai("insufficient credits"),
    openai("Your plan has expired"),
    openai("Budget has been exceeded! Current cost: 5, Max budget: 5", "budget_exceeded"),
    openai("no", "billing_hard_limit_reached"),
    openai("Access is denied due to overdue payment", "Arrearage"),
]


@pytest.mark.parametrize("body", MENDED_BY_NO_WAITING)
def test_a_429_that_no_waiting_mends_ends_the_run(body):
    found = meant(429, body, 7.0)
    assert isinstance(found, EndpointError) and "waiting does not help: 429" in str(found)


def test_the_body_can_name_the_wait():
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.5s"}
    body = [{"error": {"code": 429, "message": "later", "details": [{"a": 1}, retry]}}]
    assert meant(429, body).wait == 38.5
    body[0]["error"]["details"] = [{"retryDelay": "soon"}, {"retryDelay": 4}, None]
    assert meant(429, body).wait is None


# --- another try


@pytest.mark.parametrize(
    ("status", "billed"),
    [
        *[(status, False) for status in (500, 501, 502, 503, 505, 507, 508, 521, 522, 523, 529)],
        *[(status, True) for status in (408, 499, 504, 520, 524, 598)],
        *[(status, False) for status in (409, 425)],
    ],
)  # fmt: skip
def test_all_5xx_are_tried_again_and_some_may_be_billed(status, billed):
    for body in (openai("oops"), "<html>oops</html>", "", {}):
        found = meant(status, body, 3.0)
        assert isinstance(found, Unanswered) and found.billed is billed and found.wait == 3.0
        assert str(found).startswith(str(status))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (openai("overloaded"), Unanswered),
        (openai("Provider returned error", 502), Unanswered),
        ({"error": "busy"}, Unanswered),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, Unanswered),
        (openai("Rate limit reached", "rate_limit_exceeded"), Busy),
        (openai("no", 429), Busy),
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, Busy),
        ({"base_resp": {"status_code": 1000, "status_msg": "unknown"}}, Unanswered),
        (openai("no", 401), EndpointError),
        (openai("Your input was flagged", 403), Refused),
        ({"success": False, "errors": [{"message": "odd"}]}, Unanswered),
    ],
)
def test_an_error_in_the_body_of_a_200_is_what_it_says(body, kind):
    found = meant(200, body)
    assert isinstance(found, kind)
    if isinstance(found, Unanswered):
        assert found.billed  # the server may have worked


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "error": None},
        {"choices": [1], "error": {"code": 0, "message": ""}},
        {"choices": [1], "errors": []},
        {"choices": [1], "base_resp": {"status_code": 0, "status_msg": "success"}},
        {"choices": [1], "message": "beside a choice"},
        [],
        "text",
        3,
        None,
    ],
)
def test_what_is_no_error_is_none(body):
    assert said_in(body, "") is None


def test_words_are_one_short_line():
    found = meant(400, openai("two\nlines " + "long " * 200))
    assert "\n" not in str(found) and len(str(found)) < 330
