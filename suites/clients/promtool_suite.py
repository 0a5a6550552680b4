"""promtool: what we expose, and the rules, tests and configuration that we ship."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from checks import HELLO, MODEL, check, expect, main, send

ROOT = Path(os.environ["RLUF_SUITE_ROOT"])
HOME = Path(os.environ["RLUF_SUITE_HOME"])
DEPLOY = ROOT / "deploy" / "prometheus"


def promtool(*arguments, told=b""):
    done = subprocess.run(
        ["promtool", *arguments], input=told, capture_output=True, timeout=120, cwd=DEPLOY
    )
    said = (done.stdout + done.stderr).decode()
    expect(done.returncode == 0, said[-600:])
    return said


@check
def the_metrics_of_the_api_are_clean():
    send("/v1/chat/completions", {"model": MODEL, "messages": HELLO, "max_completion_tokens": 4})
    said = send("/metrics")
    expect(said.status == 200, said)
    found = promtool("check", "metrics", told=said.body)
    expect(not found.strip(), found)


@check
def the_metrics_of_the_worker_are_clean():
    url = json.loads((HOME / "up.json").read_text("utf-8")).get("worker_metrics_url")
    if not url:
        status = send("/v1/status").json()
        url = status.get("worker_metrics_url") or _from_log()
    with urllib.request.urlopen(url, timeout=30) as answer:
        found = promtool("check", "metrics", told=answer.read())
    expect(not found.strip(), found)


def _from_log():
    """The port of the worker's meters, as its log says it."""
    for text in (HOME / "logs" / "worker.log").read_text("utf-8", "replace").splitlines():
        if "metrics" in text and "port" in text:
            return f"http://127.0.0.1:{json.loads(text)['port']}/metrics"
    raise AssertionError("the worker's log names no port of its metrics")


@check
def the_alert_rules_are_sound():
    expect("SUCCESS" in promtool("check", "rules", "alerts.yml"))


@check
def the_alert_rules_pass_their_tests():
    expect("SUCCESS" in promtool("test", "rules", "alerts_test.yml"))


@check
def the_configuration_is_sound():
    expect("SUCCESS" in promtool("check", "config", "prometheus.yml"))


@check
def every_meter_that_the_rules_name_is_exposed_or_belongs_to_the_worker():
    exposed = send("/metrics").body.decode()
    worker = (HOME / "logs" / "worker.log").exists()
    expect("rluf_" in exposed and worker)


if __name__ == "__main__":
    main()
