"""The language as JSON Schema, and its reference page.

``python -m ems.drivers.language.schema > docs/reference/device-profiles.md``
``python -m ems.drivers.language.schema --json > docs/reference/device-profile.schema.json``
"""

import json
import sys
from typing import Any

from ems.drivers.language.page import page
from ems.drivers.language.profile import Profile


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a profile."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Device profile of secondlife-ems",
    }
    return head | {
        key: value for key, value in Profile.model_json_schema().items() if key != "title"
    }


def main(arguments: list[str]) -> int:
    """Print the page, or with ``--json`` the schema."""
    if arguments == ["--json"]:
        sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
