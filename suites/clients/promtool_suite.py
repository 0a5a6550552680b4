"""promtool: what we expose, and the rules, tests and configuration that we ship."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from checks import HELLO, MODEL, SOON_S, check, expect, main, send

ROOT = Path(os.environ["SUITES_ROOT"])
DEPLOY = ROOT / "deploy" / "prometheus"


def promtool(*arguments, told=b""):
    done = subprocess.run(
        ["promtool", *arguments], input=told, capture_output=True, timeout=SOON_S, cwd=DEPLOY
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
    url = json.loads(os.environ["SUITES_SETTINGS"])["RLUF_SERVING__WORKER_METRICS_URL"]
    with urllib.request.urlopen(url, timeout=SOON_S) as answer:
        found = promtool("check", "metrics", told=answer.read())
    expect(not found.strip(), found)


@check
def the_alert_rules_are_sound():
    expect("SUCCESS" in promtool("check", "rules", "alerts.yml"))


@check
def the_alert_rules_pass_their_tests():
    expect("SUCCESS" in promtool("test", "rules", "alerts_test.yml"))


@check
def the_configuration_is_sound():
    expect("SUCCESS" in promtool("check", "config", "prometheus.yml"))


if __name__ == "__main__":
    main()
