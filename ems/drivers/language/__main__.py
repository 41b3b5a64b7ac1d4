"""Check device profiles: ``python -m ems.drivers.language FILE...``"""

import sys
from pathlib import Path

from ems.drivers.language.files import check_file

USAGE = "python -m ems.drivers.language FILE..."


def main(arguments: list[str]) -> int:
    """Say what is wrong with each file; 0 when nothing is."""
    if not arguments or "--help" in arguments:
        sys.stdout.write(f"usage: {USAGE}\n")
        return 0 if arguments else 2
    failed = False
    for name in arguments:
        problems = check_file(Path(name))
        failed = failed or bool(problems)
        for problem in problems or [f"{name}: good, every golden vector holds"]:
            sys.stdout.write(f"{problem}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
