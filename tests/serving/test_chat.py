"""Goal: chats are answered as OpenAI answers them, and what was shown is recorded first.

Method: the whole application over fake voices and a fake broker; the official client is in
test_openai_client.py.
"""

import re
import threading
import time

import pytest
from starlette.testclient import TestClient

from tests.serving.conftest import Place, StartApi
from tests.waiting import wait_for

HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hello there"}], "user": "u-1"}
UUID7 = re.compile(r"chatcmpl-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


JSON = {"content-type": "application/json"}


def ask(api: TestClient, **fields):
    return api.post("/v1/chat/completions", json=HELLO | fields)


def fault(response) -> dict:
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


def test_an_answer_has_the_shape_of_openai(api: TestClient):
    answer = ask(api, model="chat@v1")
    assert answer.status_code == 200
    body = answer.json()
    assert UUID7.fullmatch(body["id"])
    assert body["object"] == "chat.completion"
    assert abs(body["created"] - time.time()) < 60
    assert body["model"] == "chat@v1"
    assert body["system_fingerprint"].startswith("fp_")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "v1 heard hello there", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert answer.headers["x-rluf-policy"] == "chat@1"
    assert answer.headers["x-rluf-recorded"] == "true"
    assert answer.headers["x-request-id"].startswith("req-")


def test_what_was_shown_is_recorded_with_its_arm_and_propensity(api: TestClient, live: Place):
    metadata = {"conversation_id": "c-7", "surface": "web", "language": "en", "turn": "3"}
    body = ask(api, metadata=metadata).json()
    [shown] = live.producer.shown
    assert shown.response_id == body["id"]
    assert shown.user_id == "u-1"
    assert (shown.conversation_id, shown.surface, shown.language, shown.turn) == (
        "c-7",
        "web",
        "en",
        3,
    )
    assert [(m.role, m.content) for m in shown.messages] == [("user", "hello there")]
    assert shown.response == body["choices"][0]["message"]["content"]
    assert shown.experiment == "weights-2026-11"
    expected = {"champion": ("chat@1", 0.75), "challenger": ("chat@2", 0.25)}
    assert (shown.policy, shown.propensity) == expected[shown.arm]
    assert shown.learnable
    assert shown.logprob == -2.0
    assert shown.occurred_at == live.clock.at


def test_store_false_is_never_learned_from(api: TestClient, live: Place):
    ask(api, store=False)
    ask(api, store=True)
    ask(api, store=None)
    assert [shown.learnable for shown in live.producer.shown] == [False, True, True]


def test_the_same_user_gets_the_same_arm_and_both_arms_are_used(api: TestClient, live: Place):
    for _ in range(2):
        for number in range(40):
            ask(api, user=f"u-{number}")
    arms = [shown.arm for shown in live.producer.shown]
    assert arms[:40] == arms[40:]
    assert set(arms) == {"champion", "challenger"}


def test_the_safety_identifier_goes_before_the_user_and_the_user_before_the_key(
    api: TestClient, live: Place
):
    headers = {"authorization": "Bearer secret-key"}
    for fields in ({"safety_identifier": "s"}, {}, {"user": None}):
        api.post("/v1/chat/completions", json=HELLO | fields, headers=headers)
    by_safety, by_user, by_key = (shown.user_id for shown in live.producer.shown)
    assert (by_safety, by_user) == ("s", "u-1")
    assert by_key.startswith("key-")
    assert "secret-key" not in by_key


def test_a_request_by_nobody_is_a_unit_of_its_own(api: TestClient, live: Place):
    for _ in range(60):
        ask(api, user=None)
    assert {shown.user_id for shown in live.producer.shown} == {"anonymous"}
    assert {shown.arm for shown in live.producer.shown} == {"champion", "challenger"}


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("chat@v2", 2),
        ("chat@2", 2),
        ("models:/chat/2", 2),
        ("models:/chat@champion", 1),
        ("chat@champion", 1),
    ],
)
def test_a_named_version_bypasses_the_arms(api: TestClient, live: Place, model: str, version: int):
    live.registry.move_alias("chat", "champion", 1, expected=None, why="test", who="tester")
    assert ask(api, model=model).json()["model"] == f"chat@v{version}"
    [shown] = live.producer.shown
    assert (shown.policy, shown.arm, shown.propensity, shown.experiment) == (
        f"chat@{version}",
        "pinned",
        1.0,
        "",
    )
    assert shown.learnable


@pytest.mark.parametrize(
    "model", ["gpt-4o", "chat@v99", "chat@nobody", "love@1", "../../etc", "chat@v1;drop", "é"]
)
def test_a_model_that_does_not_exist_is_404(api: TestClient, model: str):
    response = ask(api, model=model)
    assert response.status_code == 404
    assert fault(response)["code"] == "model_not_found"
    assert fault(response)["param"] == "model"


def test_several_choices_are_several_responses_to_react_to(api: TestClient, live: Place):
    answer = ask(api, n=3, model="chat@v1")
    body = answer.json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["usage"]["completion_tokens"] == 12
    ids = answer.headers["x-rluf-response-ids"].split(",")
    assert ids == [body["id"], f"{body['id']}-1", f"{body['id']}-2"]
    assert [shown.response_id for shown in live.producer.shown] == ids


def test_choices_of_a_seeded_request_differ_and_repeat(api: TestClient):
    texts = [
        [c["message"]["content"] for c in ask(api, n=2, seed=5).json()["choices"]] for _ in "ab"
    ]
    assert texts[0] == texts[1]
    assert texts[0][0].endswith("seed5")
    assert texts[0][1].endswith("seed6")


def test_a_reply_ends_before_the_first_stop_sequence(api: TestClient, live: Place):
    choice = ask(api, model="chat@v1", stop=["there", "o t"]).json()["choices"][0]
    assert choice["message"]["content"] == "v1 heard hell"
    assert choice["finish_reason"] == "stop"
    [shown] = live.producer.shown
    assert shown.response == "v1 heard hell"
    assert shown.logprob is None


def test_the_token_limit_ends_a_reply_by_length(api: TestClient):
    for field in ("max_completion_tokens", "max_tokens"):
        body = ask(api, model="chat@v1", **{field: 2}).json()
        assert body["choices"][0]["message"]["content"] == "v1 heard"
        assert body["choices"][0]["finish_reason"] == "length"


def test_a_prompt_that_does_not_fit_is_refused_and_one_that_nearly_does_is_answered_shortly(
    api: TestClient,
):
    too_long = ask(api, messages=[{"role": "user", "content": "word " * 64}])
    assert too_long.status_code == 400
    assert fault(too_long)["code"] == "context_length_exceeded"
    assert "64 tokens" in fault(too_long)["message"]
    nearly = ask(api, messages=[{"role": "user", "content": "word " * 61}])
    assert nearly.status_code == 200
    assert nearly.json()["usage"]["completion_tokens"] == 3
    assert nearly.json()["choices"][0]["finish_reason"] == "length"
    huge = ask(api, messages=[{"role": "user", "content": "x" * 200_001}])
    assert fault(huge)["code"] == "context_length_exceeded"


def test_a_chat_that_the_template_refuses_is_a_bad_request(api: TestClient):
    response = ask(api, messages=[{"role": "user", "content": "bad template"}])
    assert response.status_code == 400
    assert "roles must alternate" in fault(response)["message"]


def test_content_may_come_in_text_parts_and_developer_means_system(api: TestClient, live: Place):
    messages = [
        {"role": "developer", "content": "be kind"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}],
        },
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "end"},
    ]
    assert ask(api, messages=messages).status_code == 200
    [shown] = live.producer.shown
    assert [(m.role, m.content) for m in shown.messages] == [
        ("system", "be kind"),
        ("user", "two parts"),
        ("assistant", ""),
        ("user", "end"),
    ]
    assert shown.turn == 1


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "hi"}, "messages", "an array"),
        ({"messages": [7]}, "messages[0]", "an object"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "'assistant'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "5 (number)"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content",
            "image_url",
        ),
        ({"temperature": "hot"}, "temperature", "'hot' (string)"),
        ({"temperature": 2.5}, "temperature", "at most 2"),
        ({"top_p": -0.1}, "top_p", "at least 0"),
        ({"top_p": True}, "top_p", "a number"),
        ({"n": True}, "n", "a whole number"),
        ({"n": "1"}, "n", "a whole number"),
        ({"frequency_penalty": 2.1}, "frequency_penalty", "at most 2"),
        ({"top_logprobs": 21}, "top_logprobs", "at most 20"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 9}, "n", "at most 8"),
        ({"n": 1.5}, "n", "a whole number"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"stop": ["a", 5]}, "stop[1]", "a string, got 5"),
        ({"stop": 5}, "stop", "a string or an array"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"seed": 2**64}, "seed", "less than"),
        ({"metadata": {"a": 1}}, "metadata.a", "a string"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata", "at most 16"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "at most 512"),
        ({"user": "x" * 513}, "user", "at most 512"),
        ({"model": None}, "model", "a string, got null"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_seen_and_what_is_allowed(
    api: TestClient, fields: dict, param: str, words: str
):
    response = ask(api, **fields)
    assert response.status_code == 400
    assert fault(response)["type"] == "invalid_request_error"
    assert fault(response)["param"] == param
    assert words in fault(response)["message"]


def test_a_mark_of_byte_order_before_a_body_says_nothing(api: TestClient):
    body = b'\xef\xbb\xbf{"model":"chat","messages":[{"role":"user","content":"hi"}]}'
    assert api.post("/v1/chat/completions", content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize("logprobs", [None, False])
def test_top_log_probabilities_that_nobody_gets_are_named(api: TestClient, logprobs: bool | None):
    lax = ask(api, logprobs=logprobs, top_logprobs=2)
    assert lax.headers["x-rluf-warnings"] == 'ignored "top_logprobs"'
    strict = api.post(
        "/v1/chat/completions",
        json={
            "model": "chat",
            "messages": [{"role": "user", "content": "hi"}],
            "logprobs": logprobs,
            "top_logprobs": 2,
        },
        headers={"x-rluf-strict": "true"},
    )
    assert fault(strict)["param"] == "top_logprobs"
    assert "x-rluf-warnings" not in ask(api, logprobs=True, top_logprobs=2).headers
    assert "x-rluf-warnings" not in ask(api, logprobs=False, top_logprobs=0).headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[1]",
        b'{"a":',
        b'{"a": NaN}',
        b"\xff\xfe",
        b'{"a":"\\ud800"}',
        b"[" * 9999,
    ],
)
def test_a_body_that_is_not_a_json_object_is_a_bad_request(api: TestClient, body: bytes):
    response = api.post("/v1/chat/completions", content=body, headers=JSON)
    assert response.status_code == 400
    assert fault(response)["code"] == "invalid_json"


@pytest.mark.parametrize("declares_length", [True, False])
def test_a_body_of_five_megabytes_is_refused(api: TestClient, declares_length: bool):
    body = b'{"pad":"' + b"x" * 5_000_000 + b'"}'
    content = body if declares_length else iter([body[:2_000_000], body[2_000_000:]])
    response = api.post("/v1/chat/completions", content=content, headers=JSON)
    assert response.status_code == 413
    assert fault(response)["code"] == "body_too_large"


def test_unknown_fields_are_ignored_with_a_warning_and_refused_when_strict(
    api: TestClient, start: StartApi
):
    fields = {"frobnicate\r\nx-evil: 1": 1, "logit_bias": {"1": 5}, "tools": [{"type": "function"}]}
    answer = ask(api, **fields)
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    warning = answer.headers["x-rluf-warnings"]
    assert "frobnicate" in warning
    assert "logit_bias" in warning
    assert "tools" in warning
    by_header = api.post(
        "/v1/chat/completions", json=HELLO | {"frob": 1}, headers={"x-rluf-strict": "true"}
    )
    assert fault(by_header)["code"] == "unknown_parameter"
    assert fault(by_header)["param"] == "frob"
    strict = start(strict=True)
    assert fault(ask(strict, logit_bias={"1": 5}))["code"] == "unsupported_parameter"
    assert ask(strict, logprobs=False, presence_penalty=0).status_code == 200


def test_a_wish_for_too_long_a_reply_is_cut_with_a_warning(api: TestClient):
    answer = ask(api, max_completion_tokens=100_000)
    assert answer.status_code == 200
    assert answer.headers["x-rluf-warnings"] == "max_completion_tokens cut to 1024"


def test_without_the_broker_the_answer_goes_out_unrecorded_and_readiness_says_why(
    api: TestClient, live: Place
):
    live.producer.mode = "down"
    for _ in range(2):
        answer = ask(api)
        assert answer.status_code == 200
        assert answer.headers["x-rluf-recorded"] == "false"
    ready = api.get("/readyz")
    assert ready.status_code == 503
    assert "no broker in this test" in ready.json()["reasons"][0]
    assert (
        'rluf_events_sent_total{result="unavailable",type="shown"} 2.0' in api.get("/metrics").text
    )
    live.producer.mode = "up"
    assert ask(api).headers["x-rluf-recorded"] == "true"
    assert api.get("/readyz").json() == {"ready": True, "reasons": [], "warnings": []}


def test_a_silent_broker_delays_answers_only_until_it_is_known_to_be_away(
    start: StartApi, live: Place
):
    wait_s = 1.0  # Many times what an answer takes by itself.
    api = start(ack_timeout_s=wait_s, ack_timeout_down_s=0.02)
    live.producer.mode = "silent"
    took = []
    for _ in range(4):
        started = time.perf_counter()
        assert ask(api).headers["x-rluf-recorded"] == "false"
        took.append(time.perf_counter() - started)
    assert min(took[:2]) >= wait_s
    assert max(took[2:]) < wait_s
    live.producer.release()
    assert ask(api).status_code == 200  # Late acknowledgements count as signs of life.
    assert api.get("/readyz").status_code == 200


def test_an_exposure_that_the_log_cannot_hold_does_not_cost_the_user_the_answer(
    api: TestClient, live: Place
):
    live.producer.event_bytes_max = 1
    answer = ask(api)
    assert answer.status_code == 200
    assert answer.headers["x-rluf-recorded"] == "false"


def test_keys_are_required_once_configured(start: StartApi):
    api = start(api_keys=("alpha", "beta"))
    assert fault(ask(api))["code"] == "missing_api_key"
    wrong = api.post("/v1/chat/completions", json=HELLO, headers={"authorization": "Bearer x"})
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"] == "Bearer"
    assert fault(wrong)["code"] == "invalid_api_key"
    right = api.post("/v1/chat/completions", json=HELLO, headers={"authorization": "Bearer beta"})
    assert right.status_code == 200
    for path in ("/v1/models", "/v1/status", "/v1/features/users/u"):
        assert api.get(path).status_code == 401
    for path in ("/", "/healthz", "/readyz", "/metrics"):
        assert api.get(path).status_code == 200


def test_a_request_id_of_the_client_is_kept_if_it_is_harmless(api: TestClient):
    kept = api.get("/healthz", headers={"x-request-id": "trace-1"})
    assert kept.headers["x-request-id"] == "trace-1"
    replaced = api.get("/healthz", headers={"x-request-id": "two words"})
    assert replaced.headers["x-request-id"].startswith("req-")


def test_a_full_queue_is_answered_with_retry_after(start: StartApi, live: Place):
    api = start(queue_max=2, batch_max=1)
    gate = threading.Event()
    live.loader.voices[1].gate = gate
    answers = []
    callers = [
        threading.Thread(target=lambda: answers.append(ask(api, model="chat@v1"))) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    wait_for(lambda: sum(answer.status_code == 429 for answer in answers) == 3)
    gate.set()
    for caller in callers:
        caller.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert [answer.status_code for answer in answers if answer not in refused] == [200, 200, 200]
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert fault(refused[0])["type"] == "rate_limit_error"


def test_a_reply_that_takes_too_long_is_answered_503(start: StartApi, live: Place):
    api = start(reply_timeout_s=0.05)
    gate = threading.Event()
    live.loader.voices[1].gate = gate
    response = ask(api, model="chat@v1")
    gate.set()
    assert response.status_code == 503
    assert fault(response)["code"] == "reply_timeout"
    assert response.headers["retry-after"] == "1"


def test_a_crash_of_the_model_is_a_500_that_spares_its_neighbours(start: StartApi, live: Place):
    api = start()
    voice = live.loader.voices[1]
    voice.gate = threading.Event()
    answers = {}

    def call(word: str) -> None:
        messages = [{"role": "user", "content": word}]
        answers[word] = ask(api, model="chat@v1", messages=messages)

    def start_call(word: str) -> threading.Thread:
        caller = threading.Thread(target=call, args=[word])
        caller.start()
        return caller

    callers = [start_call("first")]
    wait_for(lambda: len(voice.batches) == 1)
    callers += [start_call(word) for word in ("fine", "crash", "good")]
    wait_for(lambda: "rluf_engine_queue_requests 3.0" in api.get("/metrics").text)
    voice.gate.set()
    for caller in callers:
        caller.join()
    assert fault(answers["crash"])["code"] == "generation_failed"
    assert answers["crash"].status_code == 500
    assert answers["fine"].status_code == answers["good"].status_code == 200
    assert voice.batches == [1, 3, 1, 1, 1]


def test_paths_and_methods_that_do_not_exist_have_the_shape_of_their_neighbours(api: TestClient):
    assert fault(api.get("/v1/chat/completions"))["type"] == "invalid_request_error"
    for path in ("/v1/nothing", "/v1/embeddings", "/v1/files/x", "/v1/chat/completions/"):
        assert fault(api.post(path, json={}))["type"] == "invalid_request_error"
    for path, status in (("/nothing", 404), ("/v1/feedback", 405), ("/v1/features/x", 404)):
        problem = api.get(path)
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.json()["status"] == status


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/completions", "/embeddings"])
def test_who_leaves_v1_out_of_the_base_url_is_told_so(api: TestClient, path: str):
    refused = api.post(path, json={})
    assert refused.status_code == 404
    assert "must end in /v1" in fault(refused)["message"]
