"""A deployment's name without a slash, and what happens when Prefect is no longer the Prefect it was written for."""

import asyncio
import inspect
import logging
from importlib import metadata
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import PrefectClient

from flows import bare_names


class Client:
    async def read_deployment_by_name(self, name):
        return name


def read(name):
    return asyncio.run(Client().read_deployment_by_name(name))


@pytest.fixture
def context():
    return SimpleNamespace(prefect_version="9.9", logger_factory=logging.getLogger)


@pytest.fixture(autouse=True)
def original(monkeypatch):
    """Takes back what a test changes."""
    monkeypatch.setattr(Client, "read_deployment_by_name", Client.read_deployment_by_name)
    monkeypatch.setattr(PrefectClient, "read_deployment_by_name", PrefectClient.read_deployment_by_name)


def test_a_bare_name_is_flow_and_deployment_at_once():
    bare_names._accept_bare_names(Client)
    assert read("train-edsr") == "train-edsr/train-edsr"


def test_a_full_name_stays_as_it_is():
    bare_names._accept_bare_names(Client)
    assert read("train-edsr/nightly") == "train-edsr/nightly"


def test_once_is_enough(context, monkeypatch):
    monkeypatch.setattr("prefect.client.orchestration.PrefectClient", Client)
    bare_names.setup_environment(ctx=context)
    once = Client.read_deployment_by_name
    bare_names.setup_environment(ctx=context)
    assert Client.read_deployment_by_name is once


def test_a_prefect_without_that_method_costs_a_warning(context, monkeypatch, caplog):
    monkeypatch.setattr("prefect.client.orchestration.PrefectClient", SimpleNamespace())
    bare_names.setup_environment(ctx=context)
    assert "write train-edsr/train-edsr" in caplog.text
    assert "9.9" in caplog.text


def test_this_prefect_has_what_is_changed():
    assert list(inspect.signature(PrefectClient.read_deployment_by_name).parameters)[:2] == ["self", "name"]


def test_prefect_finds_the_hook():
    (found,) = [entry for entry in metadata.entry_points(group="prefect.plugins") if "bare" in entry.name]
    assert found.load() is bare_names
