"""A proxy before a server, whose connections can be made to go silent."""

import contextlib
import socket
import threading
from typing import Self


class Proxy:
    """Passes on what comes, until `freeze`: then nothing more, without a word.

    So does a firewall that has forgotten a connection. New connections are served.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Silence the connections that there are."""
        for pair in self._pairs:
            pair.is_frozen = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                near, _ = self._listener.accept()
                self._pairs.append(_Pair(near, socket.create_connection(self._target)))


class _Pair:
    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.is_frozen = False
        self._sockets = near, far
        for ends in (self._sockets, self._sockets[::-1]):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.is_frozen:
                    target.sendall(data)
        if not self.is_frozen:
            self.close()

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
