"""Goal: a model from outside becomes a version, and users can be divided over versions by hand.
Method: the command line on a fresh home, with random policies of a few thousand weights."""

import pytest

from models.policy import Policy
from rluf.settings import load_settings
from rluf.wiring import open_registry
from tests.rluf.command import rluf
from tests.tiny_policy import save_tiny_policy


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with two registered policies."""
    folder = tmp_path_factory.mktemp("register")
    for number in (1, 2):
        save_tiny_policy(folder / f"base-{number}", seed=number)
        outcome = rluf("register", str(folder / f"base-{number}"), "--json", home=folder / "home")
        assert outcome.code == 0, outcome.err
        made = outcome.value()
        assert made["version"] == f"chat@{number}"
        assert made["is_live"] == (number == 1), "only the first one goes live by itself"
    return folder / "home"


def test_a_registered_policy_speaks_from_its_artifact(home):
    settings = load_settings((), {"RLUF_HOME": str(home)})
    registry = open_registry(settings)
    version = registry.version("chat", "champion")
    policy = Policy.from_pretrained(registry.open_artifact(version))
    (reply,) = policy.reply([[{"role": "user", "content": "Hello"}]], max_new_tokens=3, seed=1)
    assert reply.completion_tokens >= 1
    registry.close()


def test_users_are_divided_and_given_back(call):
    arms = ("--arm", "control=chat@1:0.75", "--arm", "new=chat@2:0.25")
    refused = call("experiment", "start", "trial", *arms, "--why", "to see")
    assert refused.code == 3
    assert "no gate has judged chat@2" in refused.out + refused.err
    begun = call("experiment", "start", "trial", *arms, "--why", "to see", "--force", "--json")
    assert begun.code == 0, begun.err
    assert {arm["name"]: arm["share"] for arm in begun.value()["arms"]} == {
        "control": 0.75,
        "new": 0.25,
    }
    ended = call("experiment", "stop", "--why", "seen", "--json")
    assert [arm["version"] for arm in ended.value()["arms"]] == [1]


@pytest.mark.parametrize("text", ["new", "new=chat@1", "new=chat@1:much", "=:"])
def test_an_arm_of_another_form_is_explained(call, text):
    outcome = call("experiment", "start", "trial", "--arm", text, "--why", "x")
    assert outcome.code == 2
    assert "new=chat@2:0.1" in outcome.err


def test_a_folder_that_holds_no_model_is_said_so(call, tmp_path):
    outcome = call("register", str(tmp_path))
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.err
