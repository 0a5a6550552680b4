"""nginx of Debian in front of us under a path prefix, streaming unbuffered."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from checks import HELLO, KEY, MODEL, SOON_S, URL, check, expect, expect_loved, main, new_user, send

WORK = Path(os.environ["SUITES_WORK"])
PREFIX = "/assistant"
CONFIG = """
daemon off;
error_log {work}/error.log;
pid {work}/nginx.pid;
{user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  client_max_body_size 2m;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass {url}/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Prefix {prefix};
      proxy_buffering off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""


def start():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIG.format(work=WORK, port=port, prefix=PREFIX, url=URL, user=user)
    (WORK / "nginx.conf").write_text(text, "utf-8")
    process = subprocess.Popen(["nginx", "-c", WORK / "nginx.conf"])
    until = time.monotonic() + SOON_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}{PREFIX}"
        time.sleep(0.1)
    sys.exit("nginx did not start")


def define(url):
    def chat(**given):
        body = {"model": MODEL, "messages": HELLO, **given}
        return send("/v1/chat/completions", body, url=url)

    @check
    def a_chat_is_answered_under_the_prefix():
        expect(chat().status == 200)

    @check
    def a_stream_is_not_held_back():
        """What is held back arrives all at its end. Some replies of a random policy are long."""
        for seed in range(20):
            began = time.monotonic()
            arrivals = stream(seed)
            if len(arrivals) > 50:
                first, last = arrivals[0] - began, arrivals[-1] - began
                expect(
                    first < 0.5 * last, f"the first of {len(arrivals)} after {first} of {last} s"
                )
                return
        expect(False, "no reply was long enough to tell")

    def stream(seed):
        body = {
            "model": MODEL, "messages": HELLO, "stream": True,
            "max_completion_tokens": 400, "seed": seed,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SOON_S) as lines:
            return [time.monotonic() for line in lines if line.startswith(b"data: ")]

    @check
    def a_love_counts_by_an_id_that_came_through_it():
        user = new_user()
        answer = chat(user=user).json()
        expect_loved(answer["id"], user)

    @check
    def the_page_finds_its_own_files_under_the_prefix():
        page = send("/", url=url)
        expect(page.status == 200, page.status)
        text = page.body.decode()
        links = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", text)
        outside = [link for link in links if link.startswith("/") and not link.startswith(PREFIX)]
        expect(not outside, outside)
        for link in links:
            if link.startswith(("http:", "https:", "data:", "mailto:")):
                continue
            found = send("/" + link.removeprefix(PREFIX).lstrip("./"), url=url)
            expect(found.status == 200, (link, found.status))

    @check
    def the_pages_scripts_ask_under_the_prefix():
        page = send("/", url=url).body.decode()
        scripts = "".join(
            send("/" + link.removeprefix(PREFIX).lstrip("./"), url=url).body.decode()
            for link in re.findall(r"""src=["']([^"']+)["']""", page)
        )
        asked = re.findall(r"""fetch\(\s*["'`](/[^"'`]*)""", page + scripts)
        expect(not asked, asked)

    @check
    def redirects_stay_under_the_prefix():
        class Still(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        opener = urllib.request.build_opener(Still)
        for path in ("/v1/models/", "/docs/", "/v1/status/", "/healthz/"):
            request = urllib.request.Request(url + path, headers={"authorization": f"Bearer {KEY}"})
            try:
                opener.open(request, timeout=SOON_S)
            except urllib.error.HTTPError as said:
                place = said.headers.get("location", "")
                if said.code in (301, 302, 307, 308):
                    expect(PREFIX in place, (path, place))

    @check
    def the_openapi_document_names_the_prefix_and_the_docs_find_it():
        document = send("/openapi.json", url=url)
        expect(document.status == 200, document.status)
        servers = [server["url"] for server in document.json().get("servers", [])]
        expect(any(server.rstrip("/").endswith(PREFIX) for server in servers), servers)
        docs = send("/docs", url=url)
        if docs.status == 200:
            expect(f"{PREFIX}/openapi.json" in docs.body.decode(), docs.body[:600])

    @check
    def a_body_that_is_too_large_is_refused_by_us_in_our_words():
        huge = [{"role": "user", "content": "x" * 1_500_000}]
        expect(chat(messages=huge).status == 413)

    @check
    def an_abandoned_stream_is_noticed_through_it():
        body = {"model": MODEL, "messages": HELLO, "stream": True, "max_completion_tokens": 900}
        request = urllib.request.Request(
            f"{url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        stream = urllib.request.urlopen(request, timeout=SOON_S)
        stream.readline()
        stream.close()
        expect(chat(max_completion_tokens=4).status == 200)


if __name__ == "__main__":
    proxy, base = start()
    try:
        define(base)
        main()
    finally:
        proxy.terminate()
        proxy.wait(30)
