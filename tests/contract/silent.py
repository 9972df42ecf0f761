"""Servers that do not do what a broker does: they are silent, or say one thing only."""

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def listening(serve) -> Iterator[int]:
    """Accept connections on a port, each served by a thread; return the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    taken.append(client)
                    threading.Thread(target=serve, args=[client], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for client in taken:
                client.close()


def silent() -> contextlib.AbstractContextManager[int]:
    """Take connections, and never answer."""
    return listening(lambda client: None)


def answering(answer: bytes) -> contextlib.AbstractContextManager[int]:
    """Give the same answer to whatever comes."""

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while client.recv(65536):
                client.sendall(answer)

    return listening(serve)


def silent_after(port: int, answers: int) -> contextlib.AbstractContextManager[int]:
    """Pass everything on to a server, but only so many of its answers back."""

    def serve(client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            threading.Thread(target=forward, args=[client, server], daemon=True).start()
            for _ in range(answers):
                answer = server.recv(65536)
                if not answer:
                    return
                client.sendall(answer)
            while server.recv(65536):
                pass

    def forward(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while sent := client.recv(65536):
                server.sendall(sent)

    return listening(serve)
