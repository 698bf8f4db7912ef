"""A proxy on loopback that cuts, refuses, delays and stalls the line to a server."""

import random
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

REQUEST = re.compile(rb"^(?:GET|POST) (\S+) HTTP", re.MULTILINE)


class ChaosProxy:
    """Passes bytes on between clients and one port.

    Args:
        port: Where the server listens.
        distort: What to do with the bytes of an answer before they are passed on.

    Attributes:
        asked: Every request's path, in order.
    """

    def __init__(self, port: int, distort: Callable[[bytes], list[bytes]] | None = None) -> None:
        self.asked: list[str] = []
        self._port = port
        self._distort = distort or (lambda chunk: [chunk])
        self._refusing = False
        self._stalled = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Cut every line that is open."""
        with self._lock:
            sockets, self._open = self._open, set()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Cut every line, and every new one at once."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Let clients through again."""
        self._refusing = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._refusing:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                with self._lock:
                    self._open |= {client, server}
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                while chunk := server.recv(65_536):
                    for piece in self._distort(chunk):
                        client.sendall(piece)
                client.shutdown(socket.SHUT_WR)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while chunk := client.recv(65_536):
                self.asked += [path.decode().partition("?")[0] for path in REQUEST.findall(chunk)]
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)


def in_pieces(chance: random.Random) -> Callable[[bytes], list[bytes]]:
    """Cuts what is passed on into pieces of any size."""

    def distort(chunk: bytes) -> list[bytes]:
        pieces, start = [], 0
        while start < len(chunk):
            end = start + chance.randrange(1, 700)
            pieces.append(chunk[start:end])
            start = end
        return pieces

    return distort
