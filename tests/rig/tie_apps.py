#!/usr/bin/env python3
"""The application and the clients of the recordings in ties.py; each writes down what its own sockets saw.

    tie_apps.py serve TRUTH KEEPALIVE   HTTP/1.1 and HTTP/2 on 8080, TCP on 6379 and 9000, TCP on 3306 where the
                                        server speaks first; IPv4 and IPv6, until SIGTERM. An HTTP/1.1 connection
                                        is closed after KEEPALIVE requests; 0: never
    tie_apps.py clients TRUTH           runs the plan on standard input (JSON, made by tie_plan.py)

TRUTH gets one JSON line for each connection: its addresses, times, payload bytes, and the tokens that it carried.
Each request, and each exchange of a TCP stream, has a token of its own (`tok-` and 12 hexadecimal digits).
"""
import json
import random
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

TOKEN = re.compile(rb"tok-[0-9a-f]{12}")
PREFACE = b"PRI * HTTP/2.0"
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


# The application

def header(head: bytes, name: str) -> str:
    found = re.search(rb"(?im)^" + name.encode() + rb":\s*([^\r\n]*)", head)
    return found[1].decode() if found else ""


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


# The clients

class Clients:
    """Runs a plan: {"tls": files, "clients": [{"address", "lanes": [[session, ...], ...]}]}; a lane is a thread."""

    def __init__(self, truth: str, plan: dict):
        self.truth, self.plan, self.contexts, self.failures = truth, plan, {}, []
        self.started = time.time()

    def run(self):
        lanes = [threading.Thread(target=self.lane, args=(client.get("address"), lane))
                 for client in self.plan["clients"] for lane in client["lanes"]]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        print("done", flush=True)
        if self.plan.get("linger"):             # what stays open is open when the capture ends
            sys.stdin.readline()
        for connection in list(Connection.standing):
            connection.record()
        sessions = sum(len(lane) for client in self.plan["clients"] for lane in client["lanes"])
        if self.failures:
            print("\n".join(self.failures), file=sys.stderr)
        if len(self.failures) * 50 > sessions:      # a proxy under load resets one now and then
            sys.exit(1)

    def lane(self, address: str | None, sessions: list[dict]):
        for session in sessions:
            time.sleep(max(0.0, session.get("at", 0) - (time.time() - self.started)) + session.get("gap", 0))
            try:
                self.session(address, session)
            except Exception as error:
                self.failures.append(f"{session} from {address}: {error!r}")

    def context(self, version: str, alpn: str) -> ssl.SSLContext:
        if (version, alpn) not in self.contexts:
            files = self.plan["tls"]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(files["ca"])
            context.load_cert_chain(files["cert"], files["key"])
            context.minimum_version = context.maximum_version = {
                "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
            context.set_alpn_protocols([alpn])
            self.contexts[version, alpn] = context
        return self.contexts[version, alpn]

    def session(self, address: str | None, session: dict):
        host, port = session["to"]
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(8)
        if address:
            sock.bind((address, 0))
        sock.connect((host, port))
        version, connected = session.get("tls"), time.time()
        local, peer = sock.getsockname()[:2], sock.getpeername()[:2]
        time.sleep(session.get("wait", 0))      # silent before the TLS handshake
        if version:
            alpn = {"h2": "h2", "http1": "istio-http/1.1"}.get(session["do"], "istio")
            sock = self.context(version, alpn).wrap_socket(sock, server_hostname="outbound_.80_._.svc.default")
        connection = Connection(sock, self.truth, "client", protocol=session["do"], tls=version, connected=connected,
                                ready=time.time())
        connection.row |= {"local": local, "peer": peer}
        try:
            {"http1": http1_client, "h2": h2_client, "tcp": tcp_client}[session["do"]](connection, session)
        except BaseException:
            connection.close()
            raise
        connection.close(session.get("close", "fin"))


def new_token() -> str:
    return f"tok-{random.randbytes(6).hex()}"


def request_id() -> str:
    text = random.randbytes(16).hex()
    return "-".join((text[:8], text[8:12], "4" + text[13:16], "a" + text[17:20], text[20:]))


def http1_client(connection: Connection, session: dict):
    for request in session["exchanges"]:
        token, identity = new_token(), request_id() if session.get("ids") else ""
        entry = connection.exchange(token, request_id=identity, sent=time.time())
        body = b"b" * request["up"]
        connection.send(f"{'POST' if body else 'GET'} /items HTTP/1.1\r\nHost: svc.default.svc.cluster.local\r\n"
                        f"User-Agent: rig\r\nX-Token: {token}\r\nX-Want: {request['down']},{request['think']}\r\n"
                        f"{f'X-Request-Id: {identity}' if identity else 'X-Plain: 1'}\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = connection.until(b"\r\n\r\n")
        if head is None:
            raise ConnectionError("no answer")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.split(b"\r\n")[0].decode())
        entry["first"] = time.time()
        connection.exactly(int(header(head, "content-length") or 0))
        entry["last"] = time.time()
        time.sleep(request["gap"])


def h2_client(connection: Connection, session: dict):
    """The exchanges in groups of `at_once` streams."""
    client, waiting = h2.connection.H2Connection(), {}
    client.initiate_connection()
    exchanges = list(session["exchanges"])
    while exchanges:
        group, exchanges = exchanges[:session["at_once"]], exchanges[session["at_once"]:]
        running = {}
        for request in group:
            token, stream = new_token(), client.get_next_available_stream_id()
            identity = [("x-request-id", request_id())] if session.get("ids") else []
            running[stream] = connection.exchange(token, request_id=identity[0][1] if identity else "",
                                                  sent=time.time())
            client.send_headers(stream, [
                (":method", "POST" if request["up"] else "GET"), (":path", "/items"), (":scheme", "http"),
                (":authority", "svc.default.svc.cluster.local"), ("user-agent", "rig"), ("x-token", token),
                ("x-want", f"{request['down']},{request['think']}"), ("content-length", str(request["up"])), *identity],
                end_stream=not request["up"])
            if request["up"]:
                waiting[stream] = b"b" * request["up"]
        while running:
            send_waiting(client, waiting)
            if data := client.data_to_send():
                connection.send(data)
            if not (data := connection.receive()):
                raise ConnectionError("no answer")
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    running[event.stream_id]["first"] = time.time()
                elif isinstance(event, h2.events.DataReceived):
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    running.pop(event.stream_id)["last"] = time.time()
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionError("stream reset")
        time.sleep(group[-1]["gap"])


def tcp_client(connection: Connection, session: dict):
    if session.get("greeting"):
        found = TOKEN.search(connection.exactly(GREETING))
        connection.exchange(found[0].decode(), last=time.time())
    time.sleep(session.get("idle", 0))
    for number, exchange in enumerate(session["exchanges"]):
        final = number == len(session["exchanges"]) - 1
        flags = "-" + (session.get("flags", "") if final else "")
        entry = connection.exchange(new_token(), sent=time.time())
        connection.send(f"{entry['token']} {exchange['up']} {exchange['down']} {flags}\n".encode()
                        + b"b" * exchange["up"])
        if "e" in flags:
            connection.sock.shutdown(socket.SHUT_WR)
        connection.exactly(exchange["down"])
        entry["last"] = time.time()
        if "c" in flags:
            await_end(connection)
        time.sleep(exchange["gap"])


def await_end(connection: Connection):
    """Waits for the server's end of the stream. In TLS the proxy does not always pass it on: not for long."""
    if connection.row["tls"]:
        connection.sock.settimeout(0.5)
    try:
        if connection.receive():
            raise ConnectionError("bytes after the last")
    except TimeoutError:
        if not connection.row["tls"]:
            raise


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        Clients(sys.argv[2], json.loads(sys.stdin.readline())).run()
