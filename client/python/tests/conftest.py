"""A real server for the tests: the binary that `DOWNLINK_SERVER` names, on a free port and a directory of its own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import Self

from downlink import Client

LISTENING = "downlink-server listening on "
PATIENCE_SECONDS = 60


class Server:
    """A `downlink-server` that can be killed and started again where it was."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def start(self, *arguments: str) -> Self:
        """Starts it, and waits until it listens; after the first time where it was."""
        command = [os.environ["DOWNLINK_SERVER"], "--data-dir", str(self.directory), "--listen", self.address]
        command += ["--http-listen", "127.0.0.1:0"]
        self._process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(LISTENING):
                self.address = line.removeprefix(LISTENING).strip()
                return self
        raise AssertionError(f"the server did not start: {self._process.wait()}")

    def kill(self) -> None:
        """Ends it with `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._end(self._process)

    def terminate(self) -> None:
        """Asks it to stop, and waits until it has."""
        if self._process is not None:
            self._process.terminate()
            self._end(self._process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.wait(PATIENCE_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server with an empty log."""
    server = Server(tmp_path / "data").start()
    yield server
    server.kill()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of that server."""
    with Client(server.url) as client:
        yield client
