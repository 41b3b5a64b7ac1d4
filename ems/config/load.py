"""Reading a site file: text, values and cross-references, all errors at once."""

import hashlib
from pathlib import Path

from ems.config.compile import Declared, compile_site, declared
from ems.config.crosscheck import crosscheck
from ems.config.schema import SiteFile
from ems.site import Site
from ems.yamlfile import FileError, FileErrors, check, parse


def load_site(path: Path) -> Site:
    """The site described by the file at ``path``, in SI units.

    Raises:
        FileErrors: everything wrong with it, each with file, line and column.
    """
    return load(path)[0]


def load(path: Path) -> tuple[Site, Declared]:
    """The site, and what its file declares for ``ems check`` only.

    Raises:
        FileErrors: everything wrong with it, each with file, line and column.
    """
    document = parse(path)
    file, errors = check(document, SiteFile)
    errors += crosscheck(document)
    if file is None or errors:
        raise FileErrors(tuple(sorted(errors, key=FileError.position)))
    source_sha256 = hashlib.sha256(document.source).hexdigest()
    return compile_site(file, path.parent, source_sha256), declared(file)
