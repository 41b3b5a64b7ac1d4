"""Profiles as files: found, read, checked."""

from functools import cache
from pathlib import Path
from typing import Final

from ems import yamlfile
from ems.drivers.compiling import golden
from ems.drivers.language.lint import problems
from ems.drivers.language.profile import Profile
from ems.yamlfile import FileErrors

PROFILE_DIR: Final = Path(__file__).parent.parent / "profiles"


@cache
def load(name: str) -> Profile:
    """The profile with a shipped name, or in the YAML file of that path.

    The golden vectors of a file are checked here; those of the shipped profiles are by
    the tests.

    Raises:
        ems.yamlfile.FileErrors: everything wrong with the file, with positions.
        FileNotFoundError: neither a shipped profile nor a file; names the shipped ones.
    """
    path, own = _found(name)
    if not path.is_file():
        raise FileNotFoundError(f"no device profile {name!r}{yamlfile.nearest(name, shipped())}")
    return read(path, prove=own)


def read(path: Path, prove: bool = True) -> Profile:
    """The profile in a file.

    Args:
        path: The YAML file.
        prove: Also decode and encode its golden vectors.

    Raises:
        ems.yamlfile.FileErrors: everything wrong with the file, with positions.
    """
    document = yamlfile.parse(path)
    profile, errors = yamlfile.check(document, Profile)
    if profile is None or errors:
        raise FileErrors(errors)
    found = problems(profile)
    if not found and prove:
        found = golden.failures(profile)
    if found:
        told = {document.error(place, message) for place, message in found}
        raise FileErrors(tuple(sorted(told, key=yamlfile.FileError.position)))
    return profile


def check_file(path: Path) -> list[str]:
    """Everything wrong with a profile, one line each; empty for a good one.

    Besides what :func:`load` refuses it names values that no golden vector proves.
    """
    try:
        profile = read(path)
    except FileErrors as wrong:
        return [str(error) for error in wrong.errors]
    return [f"{path}: {text}" for text in golden.unproven(profile)]


def shipped() -> tuple[str, ...]:
    """Names of the profiles that come with the program."""
    return tuple(sorted(path.stem for path in PROFILE_DIR.glob("*.yaml")))


def _found(name: str) -> tuple[Path, bool]:
    """The file of a profile, and whether it is one of the site's own."""
    own = name.endswith((".yaml", ".yml"))
    return (Path(name) if own else PROFILE_DIR / f"{name}.yaml"), own
