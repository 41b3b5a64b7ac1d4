"""The documents as the tests see them: files, links, anchors and commands."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def documents() -> list[Path]:
    """Every page a reader may open."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def links(page: Path) -> list[str]:
    """Targets of all links and pictures of a page, as written."""
    return LINK.findall(prose(text_of(page)))


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes from the headings of a page."""
    return {anchor_of(heading) for heading in HEADING.findall(prose(text_of(page)))}


def anchor_of(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def shell_lines(text: str) -> list[str]:
    """Commands of the ``sh`` blocks, continued lines joined, comments cut off."""
    lines = []
    for language, body in FENCE.findall(text):
        if language in ("sh", "console"):
            lines += body.replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].removeprefix("$ ").strip() for line in lines if line.strip()]


def inline_code(text: str) -> list[str]:
    """Code spans of the prose."""
    return CODE.findall(prose(text))


def files_of_the_repository() -> list[Path]:
    """Files that are, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
