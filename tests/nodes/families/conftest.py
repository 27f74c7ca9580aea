"""No test of model families reaches the network: configurations come from files, tokenizers from disk."""

import socket

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever looks up or opens an address fails the test."""

    def refuse(*given: object, **_: object) -> None:
        raise AssertionError(f"a connection was opened: {given}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
