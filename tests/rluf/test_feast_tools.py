"""Goal: Feast's own commands and SDK give our numbers at any time, and can break nothing.

Method: a home with the facts of two users under pseudonyms. Feast's command line and scripts with
its SDK run in it as processes of their own, several calls in each, since Feast takes long to load.
After each the online rows, the rows of the past and the definitions are what they were; what would
change them is refused with words that say what to do.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.definitions import DEFINITIONS_FILE, feast_folder, is_applied, open_feast
from features.online import features_as_of, online_features
from features.store import FactStore
from serving.pseudonyms import KEY_FILE, Pseudonyms, make_key
from tests.features.histories import at, facts_of, reaction, shown

TIMES_S = (0, 5, 105, 130, 600)
"""After the beginning of the histories; what happens lies between them."""
CHILD_S = 900
"""How long a process of Feast's may take: it loads for seconds, on a busy machine for minutes."""

COMMANDS = """
import json, sys
from feast.cli.cli import cli
for arguments in json.loads(sys.argv[1]):
    print(">", *arguments)
    try:
        cli(arguments, standalone_mode=False)
    except ValueError as refusal:
        print("REFUSED", refusal)
"""
ANSWERS = """
import json, sys
import pandas as pd
from feast import FeatureStore

store = FeatureStore(repo_path=".")
times = [pd.Timestamp("2026-03-01T12:00:00Z") + pd.Timedelta(seconds=s)
         for s in json.loads(sys.argv[1])]

def past(**frame):
    rows = store.get_historical_features(
        entity_df=pd.DataFrame(frame), features=["user_history:num_shown", "user_history:num_love"]
    ).to_df().sort_values("event_timestamp", kind="stable")
    values = rows[["num_shown", "num_love"]].to_numpy().tolist()
    return [[None if pd.isna(v) else int(v) for v in row] for row in values]

naive = [time.tz_localize(None) for time in times]
select = "SELECT response_id, user_id, occurred_at AS event_timestamp FROM shown"
answers = {
    "aware": past(user_id="u-9", event_timestamp=times),
    "naive": past(user_id="u-9", event_timestamp=naive),
    "text": past(user_id="u-9", event_timestamp=[time.isoformat() for time in times]),
    "elsewhere": past(
        user_id="u-9", event_timestamp=[time.tz_convert("Asia/Tokyo") for time in times]),
    "twice": past(user_id=["u-9", "nobody", "u-9"], event_timestamp=[times[-1]] * 3),
    "select": sorted(store.get_historical_features(
        entity_df=select, features=["user_history:num_shown"]).to_df()["num_shown"]),
    "full": sorted(store.get_historical_features(
        entity_df=pd.DataFrame({"user_id": ["u-9"], "policy": ["chat@1"], "response_id": ["r2"],
                                "event_timestamp": times[-1:]}),
        features=["user_history:num_love", "policy_stats:num_love", "labels:love"],
        full_feature_names=True).to_df().iloc[0].astype(str).tolist()),
    "now": store.get_online_features(
        features=store.get_feature_service("serving_v1"),
        entity_rows=[{"user_id": "u-9", "policy": "chat@1"}, {"user_id": "nobody", "policy": "no"}],
        full_feature_names=True).to_dict(),
    "labels": store.get_online_features(
        features=store.get_feature_service("labels_v1"),
        entity_rows=[{"response_id": name} for name in ("r1", "r2", "r5", "none")]).to_dict(),
}
print(json.dumps(answers, default=str))
"""
ATTEMPTS = """
import pandas as pd
from feast import FeatureStore

store = FeatureStore(repo_path=".")
view = store.get_feature_view("user_history")
old = store.get_historical_features(
    entity_df=pd.DataFrame({"user_id": ["u-9"], "event_timestamp": ["2026-03-01T12:00:05Z"]}),
    features=[f"user_history:{field.name}" for field in view.features],
).to_df()
old["event_timestamp"] = pd.to_datetime(old["event_timestamp"])
old["created_timestamp"] = old["event_timestamp"]
for attempt in (
    lambda: store.push("user_history_push", old),
    lambda: store.write_to_online_store("user_history", old),
    lambda: store.delete_feature_view("user_history"),
    lambda: store.delete_feature_service("serving_v1"),
    lambda: store.apply([], objects_to_delete=[view], partial=False),
    lambda: store.teardown(),
    lambda: store.get_historical_features(features=["user_history:num_shown"]),
):
    try:
        attempt()
        print("DONE")
    except ValueError as refusal:
        print("REFUSED", refusal)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as a worker leaves it."""
    root = tmp_path_factory.mktemp("home")
    user = stored(root, "u-9")
    store = FactStore(FeaturesConfig(root=root), clock=lambda: 0.0)
    store.append(
        facts_of(
            [
                *(shown(f"r{n}", user, n * 10) for n in range(6)),
                reaction("r1", "add", 100, user_id=user),
                reaction("r2", "add", 120, user_id=user),
                reaction("r2", "remove", 300, user_id=user),
                shown("q", stored(root, "somebody"), 7),
            ]
        )
    )
    store.push()
    return root


@pytest.fixture(autouse=True)
def unchanged(home: Path) -> Iterator[None]:
    """Whatever a test does, rows and definitions are what they were."""
    before = ours(home)
    yield
    assert ours(home) == before
    open_feast(home)
    assert is_applied(home)
    assert not feast_folder(feast_folder(home)).exists()


def stored(home: Path, user_id: str) -> str:
    return Pseudonyms(make_key(home / KEY_FILE, root=home)).user(user_id)


def ours(home: Path) -> dict[str, object]:
    """What we say ourselves of now and of each of TIMES_S."""
    user, config = stored(home, "u-9"), FeaturesConfig(root=home)
    past = [features_as_of(config, users=[user], at=at(s))[0] for s in TIMES_S]
    return {
        "now": online_features(home, users=[user])["users"][user],
        "past": [[row["num_shown"], row["num_love"]] for row in past],
    }


def run(home: Path, script: str, argument: object = None) -> str:
    """Run a script beside feature_store.yaml; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps(argument)],
        cwd=feast_folder(home),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_sdk_finds_users_by_their_own_ids_and_says_what_we_say_at_every_time(home):
    told, our = json.loads(run(home, ANSWERS, TIMES_S).splitlines()[-1]), ours(home)
    assert our["past"] == [[1, 0], [1, 0], [6, 1], [6, 2], [6, 1]]
    for way in ("aware", "naive", "text", "elsewhere"):
        assert told[way] == our["past"], way
    assert sorted(told["twice"], key=str) == [[6, 1], [6, 1], [None, None]]
    assert told["select"] == [1, 1, 2, 3, 4, 5, 6]
    assert told["full"] == sorted(["u-9", "chat@1", "r2", "1", "1", "False", str(at(600))])
    assert told["now"]["user_history__num_shown"] == [6, None]
    assert told["now"]["user_history__num_love"] == [1, None]
    assert told["now"]["policy_stats__num_shown"] == [7, None]
    assert told["labels"]["love"] == [True, False, None, None]


def test_the_commands_of_feast_work_and_leave_all_rows_as_they_were(home):
    told = run(
        home,
        COMMANDS,
        [
            ["plan"],
            ["apply"],
            ["materialize", "2026-03-01T00:00:00", "2026-03-01T12:00:30"],
            ["materialize-incremental", "2026-03-01T12:00:30"],
            ["feature-views", "list"],
            ["feature-views", "describe", "user_history"],
            ["entities", "list"],
            ["data-sources", "list"],
            ["feature-services", "list"],
            ["label-views", "list"],
            ["registry-dump"],
        ],
    )
    assert "REFUSED" not in told


def test_teardown_and_apply_without_our_definitions_are_refused_in_words(home):
    (feast_folder(home) / DEFINITIONS_FILE).write_text("")
    told = run(home, COMMANDS, [["apply"], ["teardown"]])
    assert told.count("REFUSED") == told.count("nothing was") == 2, told


def test_writes_and_deletions_by_the_sdk_are_refused_in_words(home):
    told = run(home, ATTEMPTS)
    assert "DONE" not in told
    assert told.count("REFUSED") == 7
    assert told.count("nothing was") == 6


def test_a_store_of_before_is_opened_with_feasts_provider_and_set_up_anew(tmp_path):
    open_feast(tmp_path)
    folder = feast_folder(tmp_path)
    (folder / "feature_store.yaml").write_text("project: rluf\nprovider: local\n")
    (folder / DEFINITIONS_FILE).unlink()
    (folder / "registry.db").write_bytes(b"")
    assert not is_applied(tmp_path)
    assert {view.name for view in open_feast(tmp_path).list_feature_views()} == {
        "user_history",
        "policy_stats",
    }
    assert is_applied(tmp_path)
