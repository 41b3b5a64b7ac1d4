"""Shortens the waits of the outbox where a test is not about them."""

import pytest

from ems.telemetry import outbox


@pytest.fixture(autouse=True)
def prompt_commits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and deliveries are committed after 20 ms instead of 1 s."""
    if "uplink" in request.node.path.name:
        monkeypatch.setattr(outbox, "SAMPLE_DELAY_S", 0.02)
        monkeypatch.setattr(outbox, "ACK_DELAY_S", 0.02)
