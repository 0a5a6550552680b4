"""Feast's own command line and SDK on our repository: our numbers, and nothing breaks."""

import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas
from checks import (
    HELLO,
    MODEL,
    check,
    expect,
    expect_loved,
    features,
    main,
    new_user,
    send,
    wait_for,
)
from feast import FeatureStore

ROOT = Path(os.environ["SUITES_ROOT"])
REPOSITORY = Path(os.environ["SUITES_HOME"]) / "feast"


def feast(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", "from feast.cli.cli import cli; cli()", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def loved_user():
    user = new_user()
    body = {"model": MODEL, "messages": HELLO, "user": user, "max_completion_tokens": 4}
    expect_loved(send("/v1/chat/completions", body).json()["id"], user)
    return user


def snippet(user):
    """What the README's snippet gives, run as it stands but for the folder and the user."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    code = next(block for block in blocks if "FeatureStore(" in block)
    code = code.replace("runs/feast", str(REPOSITORY)).replace("u-9", user).rstrip()
    head, _, call = code.rpartition("\nstore.get_online_features(")
    found = {}
    exec(f"{head}\nfound = store.get_online_features({call}", found)
    return found["found"]


def online(user):
    found = snippet(user)
    return next(values[0] for name, values in found.items() if name.endswith("num_love"))


USER = None


@check
def the_snippet_of_the_readme_finds_the_user():
    global USER
    USER = loved_user()
    expect(online(USER) == 1, snippet(USER))


@check
def the_sdk_gives_the_numbers_that_the_api_gives():
    ours, theirs = features(USER), snippet(USER)
    for name, value in ours.items():
        if not isinstance(value, int | float):
            continue
        found = next(v[0] for k, v in theirs.items() if k.endswith(f"user_history__{name}"))
        expect(math.isclose(found, value), (name, found, value))


@check
def historical_features_are_those_of_rluf_without_anybody_having_asked_before():
    store = FeatureStore(repo_path=str(REPOSITORY))
    now = datetime.now(UTC)
    rows = pandas.DataFrame({"user_id": [USER], "event_timestamp": [pandas.Timestamp(now)]})
    found = store.get_historical_features(
        entity_df=rows, features=["user_history:num_shown", "user_history:num_love"]
    ).to_df()
    expect(int(found["num_shown"][0]) == 1 and int(found["num_love"][0]) == 1, found.to_dict())


@check
def the_command_line_lists_the_definitions():
    code, said = feast("feature-views", "list")
    expect(code == 0 and "user_history" in said, said[-400:])


@check
def materialize_changes_no_number_or_refuses():
    before = features(USER)
    feast("materialize", "2020-01-01T00:00:00", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    feast("materialize-incremental", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    after = features(USER)
    expect(before == after, (before, after))
    expect(online(USER) == 1, snippet(USER))


@check
def apply_deletes_nothing_and_pushes_go_on():
    feast("apply")
    names = [view.name for view in FeatureStore(repo_path=str(REPOSITORY)).list_feature_views()]
    expect("user_history" in names, names)
    user = loved_user()
    expect(online(user) == 1, snippet(user))


@check
def apply_with_a_foreign_file_in_the_repository_deletes_nothing():
    foreign = REPOSITORY / "foreign.py"
    foreign.write_text("from feast import Entity\ncar = Entity(name='car')\n", "utf-8")
    try:
        feast("apply")
    finally:
        foreign.unlink(missing_ok=True)
    user = loved_user()
    expect(online(user) == 1, snippet(user))


@check
def teardown_takes_nothing_of_ours():
    feast("teardown")
    expect(features(USER).get("num_love") == 1, features(USER))
    user = loved_user()
    expect(online(user) == 1, snippet(user))


@check
def the_label_of_an_answer_is_online():
    user = new_user()
    body = {"model": MODEL, "messages": HELLO, "user": user, "max_completion_tokens": 4}
    answer = send("/v1/chat/completions", body).json()["id"]
    expect_loved(answer, user)
    store = FeatureStore(repo_path=str(REPOSITORY))
    labels = [view.name for view in store.list_label_views()]
    expect(labels == ["labels"], labels)

    def loved(response):
        return store.get_online_features(
            features=["labels:love"], entity_rows=[{"response_id": response}]
        ).to_dict()["love"][0]

    wait_for(lambda: bool(loved(answer)))
    expect(loved("nobody-was-shown-this") is None)


@check
def materialize_through_the_sdk_changes_nothing():
    store = FeatureStore(repo_path=str(REPOSITORY))
    before = features(USER)
    try:
        store.materialize(start_date=datetime(2020, 1, 1, tzinfo=UTC), end_date=datetime.now(UTC))
    except Exception as fault:  # A refusal is right as well, where it says why.
        expect(str(fault), fault)
    expect(features(USER) == before, (before, features(USER)))
    wait_for(lambda: online(USER) == 1)


if __name__ == "__main__":
    main()
