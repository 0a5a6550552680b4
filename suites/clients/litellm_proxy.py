"""LiteLLM's proxy in front of us: a gateway with keys and model names of its own.

What matters: the id that its clients see is the one that a reaction can name.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import openai
from checks import HELLO, KEY, URL, check, expect, expect_loved, expect_raises, main, new_user
from openai import OpenAI

WORK = Path(os.environ["SUITES_WORK"])
CONFIG = f"""
model_list:
  - model_name: house-model
    litellm_params:
      model: openai/chat
      api_base: {URL}/v1
      api_key: {KEY}
      allowed_openai_params: ["user"]
general_settings:
  master_key: sk-gateway
  forward_client_headers_to_llm_api: true
litellm_settings:
  telemetry: false
  num_retries: 0
"""
READY_S = 180.0


def start():
    (WORK / "config.yaml").write_text(CONFIG, "utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = [sys.executable, "-c", "from litellm import run_server; run_server()"]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    log = (WORK / "proxy.log").open("wb")
    process = subprocess.Popen(
        [*program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
        cwd=WORK,
        env=environment,
        stdout=log,
        stderr=log,
    )
    until = time.monotonic() + READY_S
    url = f"http://127.0.0.1:{port}"
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/liveliness", timeout=5):
                return process, url
        except OSError:
            time.sleep(0.5)
    process.kill()
    sys.exit(f"the proxy did not start: {(WORK / 'proxy.log').read_text()[-1500:]}")


def define(client):
    chats = client.chat.completions

    @check
    def a_whole_answer_comes_through():
        answer = chats.create(model="house-model", messages=HELLO, seed=3)
        expect(isinstance(answer.choices[0].message.content, str), answer)
        expect(answer.usage.total_tokens > 0, answer.usage)

    @check
    def a_stream_says_the_same_as_the_whole_answer():
        given = {"model": "house-model", "messages": HELLO, "seed": 3}
        whole = chats.create(**given).choices[0].message.content
        chunks = list(chats.create(**given, stream=True))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        expect(text == whole, (text, whole))

    @check
    def a_love_counts_by_the_id_that_the_gateways_client_sees():
        user = new_user()
        answer = chats.create(model="house-model", messages=HELLO, user=user)
        expect_loved(answer.id, user)

    @check
    def a_love_counts_by_the_id_of_a_stream_through_the_gateway():
        user = new_user()
        chunks = list(chats.create(model="house-model", messages=HELLO, user=user, stream=True))
        expect_loved(chunks[0].id, user)

    @check
    def our_id_comes_through_in_a_header():
        user = new_user()
        raw = chats.with_raw_response.create(model="house-model", messages=HELLO, user=user)
        found = raw.headers.get("llm_provider-x-rluf-response-id")
        expect(found, dict(raw.headers))
        expect_loved(found, user)

    @check
    def an_answer_that_the_client_names_itself_is_loved_by_that_name():
        user = new_user()
        name = f"mine-{user}"
        chats.create(
            model="house-model",
            messages=HELLO,
            user=user,
            extra_headers={"x-openwebui-message-id": name},
        )
        expect_loved(name, user)

    @check
    def errors_come_through_as_the_clients_classes():
        expect_raises(
            openai.BadRequestError,
            lambda: chats.create(model="house-model", messages=HELLO, temperature=9),
        )


if __name__ == "__main__":
    proxy, url = start()
    try:
        define(OpenAI(base_url=f"{url}/v1", api_key="sk-gateway", max_retries=0, timeout=60))
        main()
    finally:
        proxy.terminate()
        proxy.wait(30)
