"""The reference page and the JSON Schema of the language are up to date and agree with it."""

import json
from pathlib import Path

import jsonschema
import pytest

from ems import yamlfile
from ems.drivers import language
from ems.drivers.language.page import page
from ems.drivers.language.schema import schema

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def plain(name: str) -> object:
    """A shipped profile as JSON sees it."""
    document = yamlfile.parse(language.PROFILE_DIR / f"{name}.yaml")
    return json.loads(json.dumps(document.data))


def test_the_reference_page_is_up_to_date():
    assert (REFERENCE / "device-profiles.md").read_text(encoding="utf-8") == page(), (
        "run: python -m ems.drivers.language.schema > docs/reference/device-profiles.md"
    )


def test_the_json_schema_is_up_to_date():
    found = json.loads((REFERENCE / "device-profile.schema.json").read_text(encoding="utf-8"))
    assert found == schema(), (
        "run: python -m ems.drivers.language.schema --json"
        " > docs/reference/device-profile.schema.json"
    )


@pytest.mark.parametrize("name", language.shipped())
def test_every_shipped_profile_is_valid_by_the_json_schema(name):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(plain(name), schema())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"vendr": "x"}, id="unknown key"),
        pytest.param({"kind": "inverter"}, id="unknown kind"),
        pytest.param({"points": {"power_w": {"at": 0}}}, id="no type"),
    ],
)
def test_the_json_schema_refuses_what_the_language_refuses(change):
    found = plain("meter_acrel_adw300")
    assert isinstance(found, dict)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, **change}, schema())


def test_every_key_of_the_language_is_described():
    for name, part in schema()["$defs"].items():
        for key, field in part.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"
