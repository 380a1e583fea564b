"""prefect.yaml: every deployment leads to a flow, with parameters that the flow takes and can say."""

import importlib

import pytest
import yaml
from deployed import ROOT
from prefect import Flow
from prefect.utilities.callables import parameter_schema_from_entrypoint

from flows.train import FLOWS
from sr_core.models import MODELS

FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {one["name"]: one for one in FILE["deployments"]}
ARGUMENTS = {"params": "string", "overrides": "array"}
OPTIONS = {
    "train-wdsr": {"variant": "string"},
    "compare-models": {
        **dict.fromkeys(("models", "images", "degradations"), "array"),
        **{"validation": "boolean", "name": "string"},
    },
}


def test_each_network_of_the_papers_has_a_deployment():
    names = ("srcnn", "edsr", "wdsr", "srresnet", "srgan", "esrgan")
    assert set(DEPLOYMENTS) == {"prepare-data", "compare-models", *(f"train-{name}" for name in names)}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_entrypoint_is_a_flow_of_that_name_and_says_its_parameters(name):
    entrypoint = DEPLOYMENTS[name]["entrypoint"]
    module, _, attribute = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Flow)
    assert found.name == name  # by which a bare name is read
    expected = OPTIONS.get(name, {}) | ARGUMENTS
    for schema in (found.parameters, parameter_schema_from_entrypoint(entrypoint)):  # Prefect reads the source
        assert {key: value["type"] for key, value in schema.properties.items()} == expected
        assert all(value["description"] for value in schema.properties.values())
        assert schema.required == []
    given = DEPLOYMENTS[name]["parameters"]
    assert set(given) == set(expected)
    found.validate_parameters(given)


def test_a_variant_is_one_of_two():
    schema = parameter_schema_from_entrypoint("flows.train.train_wdsr")
    assert schema.properties["variant"]["enum"] == ["a", "b"]


def test_the_command_line_takes_every_network_that_can_be_trained():
    assert set(FLOWS) == {name for name, entry in MODELS.items() if entry.is_trainable}
