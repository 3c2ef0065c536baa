#!/usr/bin/env python3
"""The application of the recordings in ties.py; it writes down what its own sockets saw.

    tie_apps.py TRUTH KEEPALIVE     HTTP/1.1 and HTTP/2 on 8080, TCP on 6379 and 9000, TCP on 3306 where the server
                                    speaks first; IPv4 and IPv6, until SIGTERM. An HTTP/1.1 connection is closed
                                    after KEEPALIVE requests; 0: never

TRUTH gets a JSON line for each connection: its addresses, times, payload bytes, and the tokens that it carried. Each
request, and each exchange of a TCP stream, has a token of its own (`tok-` and 12 hexadecimal digits).
"""
import random
import signal
import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tie_sockets import GREETING, Connection, header, send_waiting

PREFACE = b"PRI * HTTP/2.0"


def http_server(connection: Connection, keepalive: int):
    """HTTP/1.1, or HTTP/2 if the client begins with its preface."""
    first = connection.receive()
    connection.ahead = first
    if not first:
        return
    if first.startswith(PREFACE[:len(first)]):
        connection.row["protocol"] = "h2"
        return H2Server(connection).run()
    connection.row["protocol"] = "http1"
    served = 0
    while (head := connection.until(b"\r\n\r\n")) is not None:
        entry = connection.exchange(header(head, "x-token"), request_id=header(head, "x-request-id"), got=time.time())
        connection.exactly(int(header(head, "content-length") or 0))
        entry["whole"] = time.time()
        size, think = header(head, "x-want").split(",")
        time.sleep(float(think))
        served += 1
        last = served == keepalive
        entry["answered"] = time.time()
        connection.send(b"HTTP/1.1 200 OK\r\n%sContent-Length: %s\r\n\r\n" % (b"Connection: close\r\n" if last else b"",
                                                                           size.encode()) + b"x" * int(size))
        if last:
            return


class H2Server:
    """One HTTP/2 connection; each request has a thread, so that answers overtake each other."""

    def __init__(self, connection: Connection):
        self.connection, self.lock, self.waiting = connection, threading.Lock(), {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def run(self):
        with self.lock:
            self.h2.initiate_connection()
            self.flush()
        requests = {}
        while data := self.connection.receive():
            with self.lock:
                for event in self.h2.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        headers = {name.decode(): value.decode() for name, value in event.headers}
                        requests[event.stream_id] = headers, self.connection.exchange(
                            headers["x-token"], request_id=headers.get("x-request-id", ""), got=time.time())
                    elif isinstance(event, h2.events.DataReceived):
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        threading.Thread(target=self.answer, args=(event.stream_id, *requests.pop(event.stream_id)),
                                         daemon=True).start()
                self.flush()

    def answer(self, stream: int, headers: dict, entry: dict):
        size, think = headers["x-want"].split(",")
        entry["whole"] = time.time()
        time.sleep(float(think))
        with self.lock:
            entry["answered"] = time.time()
            try:
                self.h2.send_headers(stream, [(":status", "200"), ("content-length", size)])
                self.waiting[stream] = b"x" * int(size)
                self.flush()
            except (OSError, h2.exceptions.ProtocolError):
                pass

    def flush(self):
        send_waiting(self.h2, self.waiting)
        if data := self.h2.data_to_send():
            self.connection.send(data)


def tcp_server(connection: Connection, speaks_first: bool):
    """Exchanges: a line `TOKEN UP DOWN FLAGS`, UP bytes; answered by DOWN bytes. Flags: c close after it, e wait for
    the client's FIN before the answer."""
    connection.row["protocol"] = "tcp"
    if speaks_first:
        token = f"tok-{random.randbytes(6).hex()}"
        connection.exchange(token, answered=time.time())
        connection.send(f"hello {token} ".encode().ljust(GREETING - 1, b".") + b"\n")
    while (line := connection.until(b"\n")) is not None:
        token, up, down, flags = line.decode().split()
        entry = connection.exchange(token, got=time.time())
        connection.exactly(int(up))
        entry["whole"] = time.time()
        if "e" in flags and connection.receive():
            raise ConnectionError("bytes after the last")
        entry["answered"] = time.time()
        connection.send(b"y" * int(down))
        if "c" in flags:
            return


def serve(truth: str, keepalive: int):
    def one(sock, work, argument):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, truth, "server", protocol="")
        try:
            work(connection, argument)
        except (OSError, h2.exceptions.ProtocolError):
            pass
        connection.close()

    def accept(listener, *what):
        while True:
            threading.Thread(target=one, args=(listener.accept()[0], *what), daemon=True).start()

    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for port, work, argument in ((8080, http_server, keepalive), (6379, tcp_server, False),
                                     (9000, tcp_server, False), (3306, tcp_server, True)):
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, port))
            listener.listen(1024)
            threading.Thread(target=accept, args=(listener, work, argument), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    for connection in list(Connection.standing):
        connection.record()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
