"""What several driver tests share and is slow to make."""

from collections.abc import Iterator

import pytest

from tests.drivers.foreign import node
from tests.drivers.foreign.battery import Site
from tests.drivers.foreign.node import NodeServer


@pytest.fixture(scope="session")
def node_opcua() -> None:
    """The foreign library, installed once into ``build/node``."""
    problem = node.install()
    if problem:
        pytest.skip(problem)


@pytest.fixture(scope="module")
def node_site(node_opcua: None, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def node_server(node_site: Site) -> Iterator[NodeServer]:
    """One server for all tests that leave it as it was."""
    started = node_site.server()
    started.start()
    yield started
    started.kill()
