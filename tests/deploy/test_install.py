"""install.sh and uninstall.sh, run for real below a temporary root."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "deploy" / "raspi" / "install.sh"
UNINSTALL = ROOT / "deploy" / "raspi" / "uninstall.sh"


def run(script: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Every path below a root with its mode and content or link target."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_text(encoding="utf-8")
        else:
            content = ""
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "my-site.yaml"
    path.write_text("site: mine\n")
    return path


def install(root: Path, *arguments: str, version: str = "1.0.0") -> str:
    return run(INSTALL, "--root", str(root), "--no-venv", "--version", version, *arguments)


def test_a_second_run_changes_nothing(root: Path, site: Path) -> None:
    install(root, "--site", str(site))
    first = tree(root)
    install(root, "--site", str(site))
    assert tree(root) == first
    assert first["opt/secondlife-ems/current"][1] == "releases/1.0.0"
    assert first["etc/secondlife-ems/site.yaml"][1] == "site: mine\n"
    unit = (ROOT / "deploy/raspi/secondlife-ems.service").read_text(encoding="utf-8")
    assert first["etc/systemd/system/secondlife-ems.service"][1] == unit


def test_configuration_is_not_readable_by_everyone(root: Path, site: Path) -> None:
    install(root, "--site", str(site))
    made = tree(root)
    for name in ("etc/secondlife-ems", "etc/secondlife-ems/site.yaml", "var/lib/secondlife-ems"):
        assert made[name][0] & 0o007 == 0, name


def test_an_existing_site_file_and_secrets_are_never_overwritten(root: Path, site: Path) -> None:
    etc = root / "etc" / "secondlife-ems"
    etc.mkdir(parents=True)
    (etc / "site.yaml").write_text("edited by hand\n")
    (etc / "secrets.env").write_text("EMS_PASSWORD=x\n")
    assert "kept" in install(root, "--site", str(site))
    assert (etc / "site.yaml").read_text() == "edited by hand\n"
    assert (etc / "secrets.env").read_text() == "EMS_PASSWORD=x\n"


def test_an_update_switches_the_link_and_keeps_the_way_back(root: Path) -> None:
    install(root, version="1.0.0")
    install(root, version="1.1.0")
    opt = root / "opt" / "secondlife-ems"
    assert os.readlink(opt / "current") == "releases/1.1.0"
    assert os.readlink(opt / "previous") == "releases/1.0.0"
    install(root, version="1.0.0")
    assert os.readlink(opt / "current") == "releases/1.0.0"
    assert not (opt / "current.new").exists()


def test_a_release_left_half_made_is_made_again(root: Path) -> None:
    broken = root / "opt/secondlife-ems/releases/1.0.0"
    broken.mkdir(parents=True)
    (broken / "rubbish").write_text("")
    install(root)
    assert not (broken / "rubbish").exists()
    assert (broken / ".complete").exists()


def test_a_dry_run_touches_nothing_and_says_what_it_would_do(root: Path, site: Path) -> None:
    said = run(INSTALL, "--root", str(root), "--dry-run", "--site", str(site))
    assert not root.exists()
    assert "would run: mv -fT" in said
    assert "-m venv" in said
    assert "--require-hashes" in said


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--colour"], id="unknown option"),
        pytest.param(["--site"], id="value missing"),
        pytest.param(["--site", "/nonexistent.yaml"], id="no such site file"),
        pytest.param(["--wheel", "/nonexistent"], id="no such wheel"),
        pytest.param(["--version", "../up"], id="a version that leaves the directory"),
    ],
)
def test_wrong_use_is_refused_before_anything_happens(root: Path, arguments: list[str]) -> None:
    said = run(INSTALL, "--root", str(root), *arguments, code=2)
    assert "install.sh: " in said
    assert not root.exists()


def stub_wheel(directory: Path) -> Path:
    """A wheel of the right name whose ``ems`` says hello: the real one needs the network."""
    directory.mkdir()
    wheel = directory / "secondlife_ems-9.9.9-py3-none-any.whl"
    info = "secondlife_ems-9.9.9.dist-info"
    files = {
        "stub_ems.py": "def main():\n    print('hello from', __file__)\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: secondlife-ems\nVersion: 9.9.9\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nems = stub_ems:main\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    return directory


def test_a_real_environment_is_built_offline_and_runs_through_the_link(
    root: Path, tmp_path: Path
) -> None:
    wheels = stub_wheel(tmp_path / "wheels")
    run(INSTALL, "--root", str(root), "--wheel", str(wheels), "--version", "9.9.9")
    program = root / "opt/secondlife-ems/current/bin/ems"
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert "/releases/9.9.9/" in done.stdout
    assert "9.9.9.new" not in program.read_text()


def test_uninstall_keeps_data_unless_told_otherwise(root: Path, site: Path) -> None:
    install(root, "--site", str(site))
    log = root / "var/lib/secondlife-ems/log"
    log.write_text("records\n")
    said = run(UNINSTALL, "--root", str(root))
    assert "kept" in said
    assert log.exists()
    assert (root / "etc/secondlife-ems/site.yaml").exists()
    assert not (root / "opt/secondlife-ems").exists()
    assert not (root / "etc/systemd/system/secondlife-ems.service").exists()
    run(UNINSTALL, "--root", str(root), "--purge")
    assert not log.exists()
    assert not (root / "etc/secondlife-ems").exists()
