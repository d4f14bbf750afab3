"""Unit tests reach nothing outside the process: a socket that connects or binds fails the test."""

import socket
from typing import NoReturn

import pytest


class NoSockets(AssertionError):
    """A unit test wanted the network."""


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, *address: object) -> NoReturn:
        raise NoSockets(f"unit tests open no sockets: {address}")

    for way in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, way, refuse)
