"""SmolLM2 on the built-in engine. The file is GLOWPLUG_TEST_MODEL, else one under <cache>/models, else the suite
deploys the catalogue's `smollm2`, which downloads it once into this machine's cache."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support.fixtures import find_model  # noqa: E402
from support.server import Server, cache_dir, llama  # noqa: E402


@pytest.fixture(scope="session")
def model() -> str:
    """What a manifest names: a file's path, or the catalogue name."""
    found = find_model()
    return str(found) if found else "smollm2"


@pytest.fixture(scope="module")
def server():
    with Server("--allow-process-engines", cache=cache_dir()) as running:
        yield running


@pytest.fixture(scope="module")
def smol(server: Server, model: str) -> str:
    """The model as a function, warm. A first download may take minutes, so the deploy goes over the command line."""
    if model == "smollm2":
        done = server.cli("deploy", "smollm2", "--name", "smol", "--wait", "--json", seconds=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return "smol"
    return server.deploy(llama("smol", model))
