"""The package under test comes from the tree; one puppet server serves all tests that need no tower of their own."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "client/python/src"), str(pathlib.Path(__file__).parent)]


@pytest.fixture(scope="session")
def puppet():
    from puppet import Puppet

    with Puppet("--hidden", 64, "--depth", 2) as running:
        yield running


@pytest.fixture
def client(puppet):
    from vitower import Client

    with Client(puppet.address, timeout=60) as connected:
        yield connected
