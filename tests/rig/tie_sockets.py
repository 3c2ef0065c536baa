"""What the application and the clients of ties.py share: a socket that remembers, and pieces of HTTP."""
import json
import re
import socket
import ssl
import struct
import threading
import time

import h2.connection

GREETING = 80           # bytes of a server that speaks first


class Connection:
    """A socket that counts its bytes and remembers tokens; written down once."""
    standing: set["Connection"] = set()
    lock = threading.Lock()

    def __init__(self, sock: socket.socket, truth: str, role: str, **more):
        self.sock, self.truth, self.ahead, self.sent, self.got = sock, truth, b"", 0, 0
        self.writing = threading.Lock()
        self.row = {"role": role, "local": sock.getsockname()[:2], "peer": sock.getpeername()[:2],
                    "began": time.time(), "tokens": [], **more}
        with Connection.lock:
            Connection.standing.add(self)

    def exchange(self, token: str, **more) -> dict:
        """Enters an exchange; the caller adds its times."""
        entry = {"token": token, **more}
        self.row["tokens"].append(entry)
        return entry

    def send(self, data: bytes):
        with self.writing:
            self.sent += len(data)
            self.sock.sendall(data)

    def receive(self) -> bytes:
        """What came since the last call; empty at the end of the stream."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        try:
            data = self.sock.recv(1 << 16)
        except ssl.SSLEOFError:
            data = b""
        self.got += len(data)
        return data

    def exactly(self, length: int) -> bytes:
        data, self.ahead = bytearray(self.ahead), b""
        while len(data) < length:
            if not (more := self.receive()):
                raise ConnectionError("the peer closed early")
            data += more
        self.ahead = bytes(data[length:])
        return bytes(data[:length])

    def until(self, mark: bytes) -> bytes | None:
        """What comes before the mark; None at the end of the stream."""
        data, self.ahead = self.ahead, b""
        while mark not in data:
            if not (more := self.receive()):
                return None
            data += more
        head, self.ahead = data.split(mark, 1)
        return head

    def close(self, how: str = "fin"):
        """fin: close; rst: a reset; stay: open until the program ends."""
        if how == "stay":
            return
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.row["closed"] = how
        self.sock.close()
        self.record()

    def record(self):
        with Connection.lock:
            if self not in Connection.standing:
                return
            Connection.standing.discard(self)
            self.row |= {"ended": time.time(), "sent": self.sent, "got": self.got}
            with open(self.truth, "a") as file:
                file.write(json.dumps(self.row) + "\n")


def header(head: bytes, name: str) -> str:
    found = re.search(rb"(?im)^" + name.encode() + rb":\s*([^\r\n]*)", head)
    return found[1].decode() if found else ""


def send_waiting(connection: h2.connection.H2Connection, waiting: dict[int, bytes]):
    """Hands over as much of the waiting bodies as flow control allows."""
    for stream in list(waiting):
        while True:
            data = waiting[stream]
            room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
            if data and room <= 0:
                break
            connection.send_data(stream, data[:room], end_stream=len(data) <= room)
            waiting[stream] = data[room:]
            if len(data) <= room:
                del waiting[stream]
                break
