"""The documents hold together: links, reachability, commands, generated pages, language pair."""

import re
import shutil
from pathlib import Path

import pytest
import typer

from tests.docs import cli_page
from tests.docs.pages import (
    FENCE,
    ROOT,
    anchor_of,
    anchors,
    documents,
    files_of_the_repository,
    inline_code,
    links,
    shell_lines,
    text_of,
)

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in documents()]
INDEX = ROOT / "docs" / "index.md"
PICTURE_MAX_BYTES = 200_000
COMMANDS = dict(cli_page.leaves())
GROUPS = {name.rsplit(" ", 1)[0] for name in COMMANDS}
# Written in two pieces, or this file would be its own finding.
NOT_IN_THE_TREE = [
    *("/wo" + "rk/", "/ho" + "me/[a-z]", "/ro" + "ot/", "/tmp/w" + "/"),
    *("pypi" + r"\.org", "python" + "hosted", "index" + "-url", "extra" + "-index"),
    *("tuna" + r"\.tsinghua", "ali" + r"yun\.com", "arti" + "factory"),
]


def broken_links(page: Path) -> list[str]:
    found = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            found.append(f"{link}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](none.md) [b](page.md#one) [c](#two) ![d](x.png)\n```\n[e](f)\n```\n"
    )
    assert broken_links(page) == [
        "none.md: no such file",
        "#two: no such heading",
        "x.png: no such file",
    ]


def test_every_page_and_picture_is_reachable_from_the_index():
    seen, todo = set(), [INDEX]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        if page.suffix == ".md":
            targets = (link.partition("#")[0] for link in links(page))
            todo += [(page.parent / t).resolve() for t in targets if t and "://" not in t]
    shown = {*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.png")}
    assert sorted(str(page.relative_to(ROOT)) for page in shown - seen) == []


def test_the_readmes_lead_to_the_index_and_to_each_other():
    for name, other in (("README.md", "README.zh.md"), ("README.zh.md", "README.md")):
        assert {"docs/index.md", other} <= set(links(ROOT / name))


def unknown_commands(lines: list[str]) -> list[str]:
    """What is wrong with each ``ems …`` line: the command or one of its long options."""
    found = []
    for line in lines:
        words = re.split(r"\s+", re.split(r"\s[|>&]", line.removeprefix(".venv/bin/"))[0])
        if words[0] != "ems" or len(words) == 1:
            continue
        name = " ".join(words[:3]) if f"ems {words[1]}" in GROUPS else " ".join(words[:2])
        if name not in COMMANDS:
            if name not in GROUPS:
                found.append(f"{line}: no command {name!r}")
            continue
        command = COMMANDS[name]
        context = typer.Context(command)
        known = {opt for parameter in command.get_params(context) for opt in parameter.opts}
        found += [
            f"{line}: no option {word!r}"
            for word in words
            if word.startswith("--") and word != "--" and word not in known
        ]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_shown_exist(page):
    spans = [code for code in inline_code(text_of(page)) if re.match(r"ems [a-z]+( |$)", code)]
    assert unknown_commands(shell_lines(text_of(page)) + spans) == []


def test_an_unknown_command_and_an_unknown_option_are_found():
    lines = ["ems chek x", "ems log verfy x", "ems run x --dat y", "ems log show x --lang zh | cat"]
    assert [problem.partition(": ")[2] for problem in unknown_commands(lines)] == [
        "no command 'ems chek'",
        "no command 'ems log verfy'",
        "no option '--dat'",
    ]


def test_make_targets_shown_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = {
        words[1]
        for page in documents()
        for line in shell_lines(text_of(page)) + inline_code(text_of(page))
        if len(words := line.split()) > 1 and words[0] == "make"
    }
    assert {"demo", "test"} <= shown <= targets


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_text_exist(page):
    named = [
        word
        for code in inline_code(text_of(page)) + shell_lines(text_of(page))
        for word in code.split()
        if re.match(r"(configs|deploy|docs|ems|sim|tests)/[\w/.-]*\w/?$", word)
    ]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_the_page_of_the_command_line_is_up_to_date():
    page = ROOT / "docs" / "reference" / "command-line.md"
    assert text_of(page) == cli_page.page(), (
        "run: python -m tests.docs.cli_page > docs/reference/command-line.md"
    )


def test_every_command_says_what_it_does_and_shows_an_example_of_itself():
    for name, command in COMMANDS.items():
        text, example = cli_page.told(command)
        assert text, name
        assert example.startswith(name), f"{name}: {example!r}"


def test_the_two_readmes_say_the_same_in_the_same_order():
    english, chinese = text_of(ROOT / "README.md"), text_of(ROOT / "README.zh.md")
    for mark in ("## ", "- ", "| ", "!["):
        count = [sum(line.startswith(mark) for line in t.splitlines()) for t in (english, chinese)]
        assert count[0] == count[1], f"lines that begin with {mark!r}"
    assert shell_lines(english) == shell_lines(chinese)
    pages = [
        {link for link in links(ROOT / name) if not link.startswith("README")}
        for name in ("README.md", "README.zh.md")
    ]
    assert pages[0] == pages[1]


def test_code_blocks_are_closed():
    for page in documents():
        marks = sum(line.startswith("```") for line in text_of(page).splitlines())
        assert marks == 2 * len(FENCE.findall(text_of(page))), page


def test_pictures_are_small_and_load_nothing():
    pictures = [*(ROOT / "docs").rglob("*.png"), *(ROOT / "docs").rglob("*.svg")]
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size <= PICTURE_MAX_BYTES, picture
    for picture in (ROOT / "docs").rglob("*.svg"):
        text = picture.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|@import|<script|<image", text), picture


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)
def test_the_tree_names_no_machine_and_no_package_index():
    pattern = re.compile("|".join(NOT_IN_THE_TREE))
    found = []
    for path in files_of_the_repository():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert found == []


def test_anchors_are_made_as_github_makes_them():
    assert anchor_of("What the log promises") == "what-the-log-promises"
    assert anchor_of("`ems log show`") == "ems-log-show"
    assert anchor_of("Acknowledge, reset, arm") == "acknowledge-reset-arm"
    assert anchor_of("C33b BMS not connected BMS未连接") == "c33b-bms-not-connected-bms未连接"
