"""Resident memory of what the control process loads, one fresh interpreter per row.

``python benchmarks/memory.py [--json FILE]``
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SITE = Path("configs/sites/demo.yaml")
ROWS = (
    ("bare interpreter", ""),
    ("+ asyncio, ssl", "import asyncio, ssl"),
    ("numpy", "import numpy"),
    ("pure core: ems.cycle", "import ems.cycle"),
    ("site file: ems.config", "import ems.config"),
    ("Modbus: pymodbus client", "import pymodbus.client"),
    ("OPC UA: asyncua client", "import asyncua"),
    ("drivers: ems.drivers.field", "import ems.drivers.field"),
    ("MQTT: paho", "import paho.mqtt.client"),
    ("metrics: prometheus_client", "import prometheus_client"),
    ("whole control process: ems.service", "import ems.service"),
    (
        "the same, demo site compiled",
        "import ems.service, pathlib\n"
        "from ems.config import load_site\n"
        "from ems.dispatch.tariff_file import load_tariff\n"
        f"load_tariff(load_site(pathlib.Path({str(SITE)!r})).grid.tariff)",
    ),
    (
        "the same, its drivers connecting",
        "import asyncio, ems.service, pathlib\n"
        "from ems.config import load_site\n"
        "from ems.drivers.field import FieldIO\n"
        "async def main():\n"
        "    from ems.drivers.roles import compile_site\n"
        f"    site = load_site(pathlib.Path({str(SITE)!r}))\n"
        "    io = FieldIO(site, compile_site(site))\n"
        "    await io.start()\n"
        "    await asyncio.sleep(1.0)\n"
        "    await io.stop()\n"
        "asyncio.run(main())",
    ),
)
REPORT = """
rss = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
import sys
print(int(rss.split()[1]) / 1024, len(sys.modules))
"""


def measure(code: str) -> tuple[float, int]:
    """(RSS in MB, loaded modules) of a fresh interpreter after running ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=True
    )
    rss, modules = done.stdout.split()
    return float(rss), int(modules)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name, code in ROWS:
        rss, modules = measure(code)
        found.append({"loaded": name, "rss_mb": round(rss, 1), "modules": modules})
    bare = found[0]["rss_mb"]
    table = Table(title="resident memory by what is loaded, each in a fresh interpreter")
    for heading in ("loaded", "RSS MB", "above bare", "modules"):
        table.add_column(heading, justify="left" if heading == "loaded" else "right")
    for row in found:
        above = f"{row['rss_mb'] - bare:+.1f}"
        table.add_row(row["loaded"], f"{row['rss_mb']:.1f}", above, str(row["modules"]))
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
