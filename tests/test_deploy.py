"""Goal: dashboards and alerts ask for meters that exist, and Prometheus accepts names and rules.

Method: every name in deploy/ against the meters that the code registers; our own lint of names,
which always runs, and promtool, Prometheus' own, where it is installed.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from features import joins
from features.config import FeaturesConfig
from features.store import FactStore
from features.views import connect
from models.migrate import migrate
from models.registry import Registry
from rluf.settings import load_settings
from serving.meters import Meters
from serving.registry_meters import RegistryMeters
from streams import meters as worker_meters
from tests.features.histories import at, reaction, shown, store_all
from tests.models.conftest import register
from tests.verdicts import said

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "deploy" / "grafana" / "rluf.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
NAME = re.compile(r"\brluf_[a-z_]+")
IDS = {"user", "user_id", "response_id", "conversation_id", "id"}
UNITS = (
    *("_seconds", "_bytes", "_ratio", "_nats"),
    *("_records", "_requests", "_replies", "_reactions", "_exposures"),
    *("_info", "_up"),
)
"""What a gauge or histogram of ours may end with: its unit, or what it is."""


def of_worker():
    """Every metric family of ours that a worker shows.

    Imported, or made with its store, they stand in prometheus_client's registry.
    """
    assert all((worker_meters.CONSUMER_LAG, joins.METERS))
    FactStore(FeaturesConfig(root=Path("nowhere")))
    return [family for family in REGISTRY.collect() if family.name.startswith("rluf_")]


def families():
    """Every metric family of ours, of the worker and of the API."""
    meters = Meters()
    unread = RegistryMeters(Registry("sqlite:////nowhere/registry.db"), meters)
    return [*of_worker(), *meters.registry.collect(), *unread.collect()]


def sample_names():
    """Every name under which a sample of ours can be asked for."""
    names = set()
    for family in families():
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def rules():
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return json.loads(DASHBOARD.read_text("utf-8"))["panels"]


def test_dashboard_and_alerts_ask_only_for_meters_that_exist():
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules()]
    assert {name for text in asked for name in NAME.findall(text)} <= sample_names()


def test_every_meter_of_the_worker_is_on_the_dashboard():
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    missing = {family.name for family in of_worker() if family.name not in shown}
    assert missing <= {"rluf_events_unknown_fields"}


def test_no_two_panels_or_alerts_share_a_name_and_all_say_what_they_mean():
    assert len({panel["title"] for panel in panels()}) == len(panels())
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_names_follow_prometheus_rules():
    for family in families():
        assert re.fullmatch(r"rluf(_[a-z]+)+", family.name)
        assert family.documentation
        assert not family.name.endswith("_total"), "the client adds it"
        if family.type in ("gauge", "histogram"):
            assert family.name.endswith(UNITS), family.name
        for sample in family.samples:
            assert not IDS & set(sample.labels), family.name


def test_the_example_scrapes_the_port_on_which_the_api_listens_by_default():
    port = load_settings((), {}).serving.port
    assert f"127.0.0.1:{port}" in (PROMETHEUS / "prometheus.yml").read_text("utf-8")


@pytest.fixture
def promtool():
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    return path


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_accepts_the_rules(promtool, arguments):
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def looked_at(home):
    """The families that have no samples before a look, after one at a home with a little in it."""
    store_all(home, [shown("r1"), reaction("r1", "add", 5)])
    meters = joins.JoinMeters(CollectorRegistry())
    with connect(home) as connection:
        meters.look(connection, at(60))
    migrate(f"sqlite:///{home / 'registry.db'}")
    registry = Registry(f"sqlite:///{home / 'registry.db'}")
    register(registry, "chat", 1)
    register(registry, "love", 1, kind="reward", measures={"ece": 0.02})
    registry.record_verdict("chat", 1, said("style", kl_nats=1.5))
    for name in ("chat", "love"):
        registry.move_alias(name, "champion", 1, expected=None, why="a test", who="tester")
    record = RegistryMeters(registry, Meters())
    record.look()
    registry.close()
    return [*meters.collect(), *record.collect()]


def test_promtool_accepts_the_meters(promtool, tmp_path):
    ours = CollectorRegistry()
    by_name = {family.name: family for family in [*families(), *looked_at(tmp_path)]}
    assert not [n for n in by_name if n.startswith("rluf_join") and not by_name[n].samples]

    class Found:
        def collect(self):
            return by_name.values()

    ours.register(Found())
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(ours),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
