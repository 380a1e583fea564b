"""Promotions and rollbacks: what is refused, what is on record, and what a server that dies in the middle leaves."""

import dataclasses
import json
import shutil
import threading
import time

import mlflow
import pytest

from flows import history, promote, rollback
from flows.champion import Figures
from flows.cli import main as sr
from flows.turns import CLAIM, alone
from sr_core.errors import BusyError, ConfigError, SrError, TrackError

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

NAME = "sr-edsr-x4-bicubic"
FIGURES = Figures(
    version=0,
    protocol="benchmark-y",
    precision="float32",
    test_set="sample",
    test_set_digest="e" * 64,
    psnr=28.0,
    ssim=0.8,
)


@pytest.fixture
def uri(tmp_path, empty_store, monkeypatch):
    """A store with versions 1 to 4 of 28.1 to 28.4 dB; no champion."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.MlflowClient(uri).create_registered_model(NAME)
    for number in range(1, 5):
        add(uri, psnr=28 + number / 10)
    return uri


def add(uri, **changes) -> int:
    tags = dataclasses.replace(FIGURES, **changes).to_tags()
    return int(mlflow.MlflowClient(uri).create_model_version(NAME, "file:///nothing", tags=tags).version)


def up(uri, number, reason="it is sharper", **given):
    return promote.promote(f"models:/{NAME}/{number}", reason=reason, uri=uri, **given)


def down(uri, reason="it rings"):
    return promote.rollback(NAME, reason=reason, uri=uri)


def holder(uri, alias="champion"):
    return history.holder_of(mlflow.MlflowClient(uri), NAME, alias)


def entries(uri):
    return list(history.read(mlflow.MlflowClient(uri), NAME).values())


def test_a_promotion_is_on_record_with_who_when_why_from_and_to(uri):
    up(uri, 1, who="first@host")
    said = up(uri, 3, "sharper on\nfoliage", who="me@host")
    assert said == (
        f"{NAME}: version 3 is champion now, before it version 1 "
        "(better: 28.3000 dB against 28.1000 dB of version 1): sharper on foliage"
    )
    assert holder(uri) == 3
    first, last = entries(uri)
    assert (first.origin, first.target, first.who) == (None, 1, "first@host")
    assert (last.action, last.origin, last.target, last.reason) == ("promote", 1, 3, "sharper on foliage")
    assert last.who == "me@host"
    assert last.when.endswith("+00:00")
    tags = mlflow.MlflowClient(uri).get_model_version(NAME, "3").tags
    (key,) = [key for key in tags if key.startswith(history.PREFIX)]
    assert json.loads(tags[key]) == dataclasses.asdict(last)
    assert not any(key.startswith(CLAIM) for key in mlflow.MlflowClient(uri).get_registered_model(NAME).tags)


def test_the_same_promotion_again_changes_nothing(uri):
    up(uri, 2)
    assert up(uri, 2, "again") == f"{NAME}: version 2 is champion already; nothing was changed"
    assert len(entries(uri)) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"psnr": 27.9}, "not better: 27.9000 dB against 28.2000 dB of version 2"),
        ({"psnr": 30.0, "test_set_digest": "f" * 64}, r"measured on sample \(ffffffff\), champion version 2 on sample"),
        (
            {"psnr": 30.0, "protocol": "div2k-rgb"},
            "measured by div2k-rgb in float32, champion version 2 by benchmark-y",
        ),
        ({"psnr": 30.0, "precision": "bf16"}, "measured by benchmark-y in bf16"),
        ({"psnr": float("nan")}, "its mean PSNR is nan"),
    ],
)
def test_what_is_worse_or_not_comparable_is_not_promoted(uri, changes, reason):
    up(uri, 2)
    number = add(uri, **changes)
    with pytest.raises(SrError, match=rf"^{NAME}: version {number} is not promoted, refused: {reason}"):
        up(uri, number)
    assert (holder(uri), len(entries(uri))) == (2, 1)


def test_one_that_is_as_good_may_be_promoted_for_a_reason(uri):
    up(uri, 2)
    number = add(uri, psnr=28.2)
    assert "as good: 28.2000 dB" in up(uri, number, "half the size")
    assert holder(uri) == number


def test_without_figures_nothing_is_promoted_or_compared_with(uri):
    client = mlflow.MlflowClient(uri)
    client.delete_model_version_tag(NAME, "1", "sr.psnr")
    with pytest.raises(SrError, match="version 1 has no figures to compare; evaluate and register it again"):
        up(uri, 1)
    client.set_registered_model_alias(NAME, "champion", "1")
    with pytest.raises(SrError, match="version 1 has no figures to compare"):
        up(uri, 4)


def test_what_is_not_there_is_one_sentence(uri, tmp_path):
    for given in (
        f"models:/{NAME}/9",
        "models:/nothing/1",
        f"models:/{NAME}@nobody",
        "nothing",
        f"{NAME}/1",
        "models:/",
    ):
        with pytest.raises(ConfigError, match="there is no such version; expected such as"):
            promote.promote(given, reason="x", uri=uri)
    with pytest.raises(ConfigError, match=r"^nothing: there is no such registered model"):
        promote.rollback("nothing", reason="x", uri=uri)
    for reason in ("", " \n", "x" * 2001):
        with pytest.raises(ConfigError, match=r"^--reason: has \d+ characters"):
            up(uri, 1, reason)
    with pytest.raises(TrackError, match="there is no MLflow store"):
        up(f"sqlite:///{tmp_path}/other.db", 1)
    assert not (tmp_path / "other.db").exists()


def test_rollbacks_go_back_one_champion_after_the_other(uri):
    with pytest.raises(SrError, match="has no champion, so there is nothing to roll back"):
        down(uri)
    for number in (1, 3, 4):
        up(uri, number)
    assert down(uri) == f"{NAME}: champion is version 3 again, and version 4 challenger: it rings"
    assert (holder(uri), holder(uri, "challenger")) == (3, 4)
    down(uri)
    assert (holder(uri), holder(uri, "challenger")) == (1, 3)
    with pytest.raises(SrError, match="no champion before version 1 is on record, so there is nothing to roll back to"):
        down(uri)
    up(uri, 4, "the ringing is gone")
    assert (holder(uri), holder(uri, "challenger")) == (4, 3)
    down(uri)
    assert holder(uri) == 1
    assert [each.action for each in entries(uri)] == ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"]


def test_the_promoted_version_is_challenger_no_more(uri):
    up(uri, 1)
    mlflow.MlflowClient(uri).set_registered_model_alias(NAME, "challenger", "2")
    promote.promote(f"models:/{NAME}@challenger", reason="better", uri=uri)
    assert (holder(uri), holder(uri, "challenger")) == (2, None)


def test_a_deleted_champion_is_passed_over_by_a_rollback(uri):
    for number in (1, 2, 3):
        up(uri, number)
    mlflow.MlflowClient(uri).delete_model_version(NAME, "2")
    assert "champion is version 1 again (version 2 before it was deleted), and version 3 challenger" in down(uri)


def drop_claims(uri):
    client = mlflow.MlflowClient(uri)
    for key in client.get_registered_model(NAME).tags:
        if key.startswith(CLAIM):
            client.delete_registered_model_tag(NAME, key)


class Dying:
    """A client whose server is gone after a number of writes."""

    def __init__(self, client, writes):
        self._client, self._left = client, writes

    def __getattr__(self, name):
        call = getattr(self._client, name)
        if not name.startswith(("set_", "delete_")):
            return call

        def write(*args, **kwargs):
            self._left -= 1
            if self._left < 0:
                raise mlflow.exceptions.MlflowException("the server is gone")
            return call(*args, **kwargs)

        return write


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_a_server_that_dies_between_any_two_writes_leaves_what_can_be_finished(uri, act, monkeypatch):
    up(uri, 1)
    up(uri, 2)
    before, after = (2, 3) if act == "promote" else (2, 1)
    work = {"promote": lambda: up(uri, 3), "rollback": lambda: down(uri)}[act]
    real, outcomes = promote.connect, []
    for writes in range(20):
        monkeypatch.setattr(promote, "connect", lambda *a, n=writes, **k: Dying(real(*a, **k), n))
        try:
            work()
        except TrackError:
            outcomes.append(holder(uri))
            assert holder(uri) in {before, after}
            drop_claims(uri)  # as a lease does
            if holder(uri) == after:
                break
        else:
            break
    assert len(outcomes) >= 3
    monkeypatch.setattr(promote, "connect", real)
    if holder(uri) != after:
        work()
    assert holder(uri) == after
    # however often it was tried, it is on record once
    assert len([each for each in entries(uri) if each.action == act and each.target == after and each.origin == 2]) == 1
    assert history.champions(entries(uri), after) == ([1, 2, 3] if act == "promote" else [1])


def test_of_many_at_once_each_builds_on_the_one_before(uri):
    up(uri, 1)
    started, refused = threading.Barrier(4), []

    def one(number):
        started.wait()
        try:
            up(uri, number)
        except SrError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in (2, 3, 4)]
    for thread in threads:
        thread.start()
    started.wait()
    for thread in threads:
        thread.join()
    assert holder(uri) == 4
    assert all("not better" in text for text in refused)
    made = entries(uri)
    assert [each.origin for each in made[1:]] == [each.target for each in made[:-1]]
    assert [each.target for each in made] == sorted({each.target for each in made})


def test_whoever_died_while_it_held_a_model_holds_up_nobody_for_long(uri):
    client = mlflow.MlflowClient(uri)
    client.set_registered_model_tag(NAME, f"{CLAIM}dead", "x")
    busy = pytest.raises(BusyError, match="another promotion, rollback or registration goes on")
    with busy, alone(client, NAME, lease_s=60, patience_s=0.3):
        pass
    with alone(client, NAME, lease_s=1, patience_s=60) as still:
        still()
        time.sleep(0.6)
        with pytest.raises(BusyError, match="answers too slowly"):
            still()
    assert not any(key.startswith(CLAIM) for key in client.get_registered_model(NAME).tags)


def test_the_command_line(uri, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert sr(["promote", f"models:/{NAME}/1", "--reason", "first"]) == 0
    assert sr(["promote", f"models:/{NAME}/2", "--reason", "second"]) == 0
    assert sr(["promote", f"models:/{NAME}/1", "--reason", "back"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"promote: {NAME}: version 1 is not promoted, refused: not better")
    assert rollback.main([NAME, "--reason", "rings", "--who", "bob"]) == 0
    assert capsys.readouterr().out == f"{NAME}: champion is version 1 again, and version 2 challenger: rings\n"
    assert [each.who for each in entries(uri)] == ["ada", "ada", "bob"]
    assert sr(["rollback", "nothing", "--reason", "rings"]) == 2


def entry(action, origin, target):
    return history.entry(action, origin, target, "why", who="me")


def test_the_stack_is_told_from_entries_whatever_became_of_their_aliases():
    made = [entry("promote", None, 1), entry("promote", 1, 2), entry("promote", 2, 3)]
    assert history.champions(made, 3) == [1, 2, 3]
    assert history.champions(made, 2) == [1, 2]  # the last one's alias never moved
    assert history.champions([*made, entry("rollback", 3, 2), entry("rollback", 2, 1)], 1) == [1]
    never = [entry("promote", None, 1), entry("promote", 1, 9), entry("promote", 1, 2)]
    assert history.champions(never, 2) == [1, 2]
    assert history.champions([], 7) == [7]
    assert history.champions([], None) == []
    assert history.champions(made, 7)[-1] == 7  # moved by hand


def test_what_was_rolled_back_is_known_until_it_is_promoted_again():
    made = [entry("register", None, 1), entry("register", 1, 2), entry("rollback", 2, 1)]
    assert list(history.rolled_back(made, 1)) == [2]
    assert history.rolled_back(made, 2) == {}  # its alias never moved
    assert history.rolled_back([*made, entry("promote", 1, 2)], 2) == {}
