"""A TCP proxy before a PostgreSQL server that can fail as networks do: silently, or exactly at a statement.

It runs in threads of its own, so that it does not depend on the event loop under test.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Cut = Callable[[bytes], bool]


class TcpProxy:
    """Forward connections to a port, until told otherwise.

    `partition()` stops forwarding, in both directions, and closes nothing; `heal()` goes on with what has arrived.
    `cut_before` and `cut_after` are asked about each packet that a client sends: the first closes the connection in
    place of forwarding it, the second forwards it and closes the connection as its answer comes, which is dropped.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._guard = threading.Lock()
        self.cut_before: Cut | None = None
        self.cut_after: Cut | None = None
        self.cuts = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def partition(self) -> None:
        """Forward nothing any more, and close nothing."""
        self._flows.clear()

    def heal(self) -> None:
        """Forward again."""
        self._flows.set()

    def cut_all(self) -> None:
        """Close every connection."""
        with self._guard:
            for each in self._sockets:
                _shut(each)

    def close(self) -> None:
        """Close everything."""
        self._closed = True
        self._flows.set()
        _shut(self._listener)
        self._accepting.join()  # else its `accept` may take the next proxy's connections: the descriptor is reused
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                self._flows.wait()
                server = socket.create_connection(self._target)
            except OSError:
                if self._closed:
                    return
                client.close()  # the server is down
                continue
            with self._guard:
                self._sockets |= {client, server}
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        dropping = False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ, server)
                selector.register(server, selectors.EVENT_READ, client)
                while True:
                    for key, _ in selector.select():
                        self._flows.wait()
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        data = source.recv(65536)
                        if not data or (source is server and dropping):
                            return
                        if source is client:
                            if self._asked("cut_before", data):
                                return
                            dropping = self._asked("cut_after", data)
                        key.data.sendall(data)
        except OSError:
            return
        finally:
            with self._guard:
                self._sockets -= {client, server}
            _shut(client)
            _shut(server)
            client.close()
            server.close()

    def _asked(self, which: str, data: bytes) -> bool:
        """Return whether the connection is cut here; each cut is made once."""
        cut: Cut | None = getattr(self, which)
        if cut is None or not cut(data):
            return False
        setattr(self, which, None)
        self.cuts += 1
        return True


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
