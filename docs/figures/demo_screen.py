"""Draw the operator's screen of a real running demo as SVG.

``python docs/figures/demo_screen.py docs/demo-screen.svg``

Starts the whole demo over real sockets, waits until it has run for a while and follows a
plan, and exports the very screen that ``ems demo`` and ``ems status --watch`` draw.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from ems import screen
from sim.demo import DEMO_SITE, Demo, DemoError, problems

ROOT = Path(__file__).resolve().parents[2]
WIDTH_CHARS = 130
RUN_FOR_S = 40.0
PLAN_WITHIN_S = 180.0
CHARACTER_ASPECT = 0.602
"""Width of a character of most monospaced fonts / its height."""
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own format loads fonts from the network; a picture in a repository must not."""


def settled_status(demo: Demo, run_for_s: float) -> dict[str, Any]:
    """Status of a demo that has been in mode run for a while and follows a plan.

    Raises:
        DemoError: no plan within ``PLAN_WITHIN_S`` more, or a process ended.
    """
    started_s = time.monotonic()
    running_since_s: float | None = None
    while time.monotonic() - started_s < run_for_s + PLAN_WITHIN_S:
        demo.watch()
        status = demo.status() or {}
        if status.get("mode") != "run":
            running_since_s = None
        elif running_since_s is None:
            running_since_s = time.monotonic()
        elif (
            time.monotonic() - running_since_s >= run_for_s
            and status["dispatch"]["plan_id"] is not None
        ):
            return status
        time.sleep(0.5)
    raise DemoError(f"no plan was followed within {run_for_s + PLAN_WITHIN_S:.0f} s")


def draw(status: dict[str, Any]) -> str:
    """The screen as SVG text."""
    console = Console(record=True, width=WIDTH_CHARS, file=io.StringIO(), force_terminal=True)
    console.print(screen.render(status))
    return console.export_svg(
        title="ems status --watch",
        code_format=SVG,
        unique_id="demo",
        font_aspect_ratio=CHARACTER_ASPECT,
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("svg", type=Path, help="file to write")
    parser.add_argument("--after-s", type=float, default=RUN_FOR_S, help="seconds in mode run")
    parser.add_argument("--status", type=Path, help="keep the status drawn, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ems-demo-") as folder:
        demo = Demo(ROOT / DEMO_SITE, Path(folder))
        try:
            demo.start()
            status = settled_status(demo, args.after_s)
            found = problems(demo.stop())
        except BaseException:
            demo.kill()
            raise
    if args.status is not None:
        args.status.write_text(json.dumps(status, ensure_ascii=False, indent=1), encoding="utf-8")
    args.svg.write_text(draw(status), encoding="utf-8")
    for problem in found:
        print(problem, file=sys.stderr)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
