#!/usr/bin/env python3
"""The applications and clients of the rig; each writes down what its own sockets saw.

    apps.py serve TRUTH     HTTP on 8080, a line echo on 6379 and 9000, IPv4 and IPv6, until SIGTERM
    apps.py one TRUTH PORT KIND     one more server at a port: http, echo, or crash, which resets at the first data
    apps.py dns [PORT]      the mesh's DNS server on port 15053, or PORT, of 127.0.0.1 and ::1, UDP and TCP
    apps.py client TRUTH TAG [ROLE]     runs the steps on standard input (JSON, made by steps.py)

TRUTH gets one JSON line for each connection when it ends: role, protocol, local and peer address as the socket
has them, and length and SHA-256 of the bytes sent and got; short streams stand there in full (base64).
"""
import base64
import hashlib
import json
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time

SHORT = 65536           # streams up to this length are written in full
TCP_REPAIR = 19         # linux/tcp.h: a socket in repair mode closes without a FIN or RST, and tells its numbers
TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_RECV_QUEUE, TCP_SEND_QUEUE, TCP_REPAIR_OFF_NO_WP = 20, 21, 1, 2, -1


class Connection:
    """A socket that remembers the bytes of both directions and writes them down once."""
    open: set["Connection"] = set()
    lock = threading.Lock()

    def __init__(self, sock: socket.socket, truth: str, role: str, peer: tuple[str, int] | None = None):
        self.sock, self.truth, self.role = sock, truth, role
        self.local, self.peer = sock.getsockname()[:2], peer or sock.getpeername()[:2]
        self.began = self.last = time.time()
        self.sent, self.got, self.ahead = bytearray(), bytearray(), b""
        Connection.open.add(self)

    def send(self, data: bytes):
        self.sent += data
        for attempt in range(20):
            try:
                self.sock.sendall(data)
                break
            except PermissionError:     # conntrack found no free port for the first packet, and dropped it
                if attempt == 19:
                    raise
                time.sleep(0.02)
        self.last = time.time()

    def receive(self) -> bytes:
        """What came since the last call; empty at the end of the stream."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        data = self.sock.recv(1 << 18)
        self.got += data
        self.last = time.time() if data else self.last
        return data

    def exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            if not (more := self.receive()):
                raise ConnectionError("the peer closed early")
            data += more
        self.ahead = bytes(data[length:])
        return bytes(data[:length])

    def http_message(self) -> tuple[bytes, bytes] | None:
        """The next head and body; None at the end of the stream."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self.receive()):
                return None
            data += more
        head, self.ahead = data.split(b"\r\n\r\n", 1)
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        return head, self.exactly(int(lengths[0])) if lengths else b""

    def close(self, how: str = "fin"):
        """fin: an orderly close; rst: a reset; vanish: not a packet, as a host that lost its power."""
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "vanish":
            self.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        elif isinstance(self.sock, ssl.SSLSocket):
            self.sock.unwrap()                  # says within TLS that it is done; else the close is a reset
        self.sock.close()
        self.record()

    def record(self):
        with Connection.lock:
            if self not in Connection.open:
                return
            Connection.open.discard(self)
            row = {"role": self.role, "protocol": "udp" if self.sock.type == socket.SOCK_DGRAM else "tcp",
                   "local": self.local, "peer": self.peer, "began": round(self.began, 6), "last": round(self.last, 6)}
            for name, data in (("sent", self.sent), ("got", self.got)):
                row[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                if len(data) <= SHORT:
                    row[name]["base64"] = base64.b64encode(data).decode()
            with open(self.truth, "a") as file:
                file.write(json.dumps(row) + "\n")


# Servers

def http_server(connection: Connection):
    """Answers `GET /x?size=N` with N bytes and a digest of the request's body."""
    while message := connection.http_message():
        head, body = message
        target = head.split()[1].decode()
        size = int(target.partition("size=")[2] or 0)
        answer = f"answer to {target}, body {hashlib.md5(body).hexdigest()}\n".encode() + b"x" * size
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


def echo_server(connection: Connection):
    while data := connection.receive():
        connection.send(data)


def accept(listener: socket.socket, serve, truth: str):
    def run(sock):
        connection = Connection(sock, truth, "server")
        try:
            serve(connection)
        except OSError:
            pass
        connection.close()
    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


def listen(host: str, port: int, serve, truth: str):
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in host:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    listener.listen(1024)
    threading.Thread(target=accept, args=(listener, serve, truth), daemon=True).start()


def until_terminated():
    """Returns after SIGTERM, with every open connection written down."""
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    for connection in list(Connection.open):
        connection.record()


def crash_server(connection: Connection):
    connection.receive()
    connection.close("rst")


def serve_one(truth: str, port: int, kind: str):
    listen("0.0.0.0", port, {"http": http_server, "echo": echo_server, "crash": crash_server}[kind], truth)
    until_terminated()


def serve(truth: str):
    for host in ("0.0.0.0", "::"):
        for port, server in ((8080, http_server), (6379, echo_server), (9000, echo_server)):
            listen(host, port, server, truth)
    until_terminated()


def dns_answer(query: bytes) -> bytes:
    """The question back with one A record; a name `sizeN.…` is answered with N bytes of TXT records too."""
    end = query.index(b"\0", 12) + 5
    answers = [b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\x0a\x60\0\x0a"]
    label = query[13:13 + query[12]]
    size = int(label[4:]) if label.startswith(b"size") else 0
    answers += [b"\xc0\x0c\0\x10\0\1\0\0\0\x1e\0\xfb\xfa" + bytes([97 + i % 26]) * 250 for i in range(size // 263)]
    counts = struct.pack(">HHHH", 1, len(answers), 0, 0)
    return query[:2] + b"\x81\x80" + counts + query[12:end] + b"".join(answers)


def answer_datagrams(udp: socket.socket):
    """Until a query for `stop.…`: that is answered, and then nothing listens any more."""
    while True:
        query, peer = udp.recvfrom(65535)
        udp.sendto(dns_answer(query), peer)
        if query[13:17] == b"stop":
            return udp.close()


def answer_stream(connection: Connection):
    while True:
        length, = struct.unpack(">H", connection.exactly(2))
        answer = dns_answer(connection.exactly(length))
        connection.send(struct.pack(">H", len(answer)) + answer)


def dns(port: int):
    for host in ("127.0.0.1", "::1"):
        udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, port))
        threading.Thread(target=answer_datagrams, args=(udp,), daemon=True).start()
        listen(host, port, answer_stream, "/dev/null")
    until_terminated()


# Clients

ROLE = "client"         # of the connections of this process


def connect(truth: str, step: dict, kind=socket.SOCK_STREAM) -> Connection:
    host, port = step["to"]
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if step.get("bind"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(tuple(step["bind"]))
    if step.get("buffer"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, step["buffer"])
    sock.settimeout(step.get("silent", 20))
    try:
        sock.connect((host, port))
    except (ConnectionRefusedError, TimeoutError) as error:
        if not step.get("refused" if isinstance(error, ConnectionRefusedError) else "silent"):
            raise
        return Connection(sock, truth, ROLE, peer=(host, port))
    if step.get("tls"):
        sock = tls(step["tls"]).wrap_socket(sock)
    return Connection(sock, truth, ROLE)


def tls(version: str) -> ssl.SSLContext:
    """Takes any certificate; `version` is TLSv1_2 or TLSv1_3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


def dns_query(name: str, identity: int, padding: int) -> bytes:
    """One question for A records; `padding` adds an EDNS option of that length (RFC 7830)."""
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    query = struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 1 if padding else 0) + labels + b"\0\0\1\0\1"
    if padding:
        query += struct.pack(">BHHIHHH", 0, 41, 4096, 0, padding + 4, 12, padding) + bytes(padding)
    return query


def run_dns(truth: str, step: dict):
    """Names asked one after the other on one socket; nobody answers the step's `unanswered` names."""
    stream = step.get("stream", False)
    connection = connect(truth, step, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    for number, name in enumerate(step["names"]):
        connection.sock.settimeout(0.3 if name in step.get("unanswered", ()) else 20)
        query = dns_query(name, 0x1200 + number, step.get("padding", 0))
        try:
            if stream:
                connection.send(struct.pack(">H", len(query)) + query)
                connection.exactly(*struct.unpack(">H", connection.exactly(2)))
            else:
                connection.send(query)
                connection.receive()
        except (ConnectionRefusedError, TimeoutError):
            if name not in step.get("unanswered", ()):
                raise
    connection.close()


def run_stream(truth: str, step: dict, tag: str):
    """`n` exchanges on one connection: HTTP requests or lines to echo."""
    connection = connect(truth, step)
    if step.get("refused"):
        return connection.close()
    if step.get("dropped"):
        try:
            if connection.receive():
                raise ConnectionError("nobody should have answered")
        except ConnectionResetError:
            pass
        return connection.close()
    if step["do"] == "idle":
        time.sleep(step["seconds"])
        return connection.close()
    for number in range(step.get("n", 1)):
        if step["do"] == "http":
            body = b"b" * step.get("body", 0)
            request = (f"{'POST' if body else 'GET'} /{tag}-{number}?size={step.get('size', 0)} HTTP/1.1\r\n"
                       f"Host: svc.default.svc.cluster.local\r\nContent-Length: {len(body)}\r\n"
                       f"{step.get('fields', '')}\r\n".encode()
                       + body)
            if step.get("half"):
                connection.send(request[:len(request) // 2])
                time.sleep(step["half"])
                break
            connection.send(request)
            if step.get("ended"):
                return expect_end(connection)
            time.sleep(step.get("pause", 0))
            if connection.http_message() is None:
                raise ConnectionError("no answer")
        else:
            line = f"{tag}-{number} ".encode() + b"y" * step.get("size", 0) + b"\n"
            connection.send(line)
            if step.get("ended"):
                return expect_end(connection)
            connection.exactly(len(line))
        time.sleep(step.get("gap", 0))
        if os.path.exists(step.get("until", "")):
            break
    if step.get("stray"):
        send_stray(connection)
        time.sleep(0.2)
        return connection.record()
    connection.close(step.get("close", "fin"))


def expect_end(connection: Connection):
    """The server says nothing, and ends the connection."""
    try:
        if connection.receive():
            raise ConnectionError("nobody should have answered")
    except ConnectionResetError:
        pass
    connection.close()


def send_stray(connection: Connection):
    """A segment of the connection, far out of the window: one that was late, or that conntrack counted wrongly."""
    sock = connection.sock
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    numbers = []
    for queue in (TCP_SEND_QUEUE, TCP_RECV_QUEUE):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        numbers.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xffffffff)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
    (source, source_port), (target, target_port) = connection.local, connection.peer
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    sequence = (numbers[0] + (1 << 24)) & 0xffffffff
    header = struct.pack(">HHIIBBHHH", source_port, target_port, sequence, numbers[1], 5 << 4, 0x18, 512, 0, 0) + b"late"
    words = struct.unpack(f">{(len(ends) + 4 + len(header)) // 2}H", ends + struct.pack(">HH", 6, len(header)) + header)
    total = sum(words)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    header = header[:16] + struct.pack(">H", ~total & 0xffff) + header[18:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.bind((source, 0))
        raw.sendto(header, (target, 0))


def run(truth: str, step: dict, tag: str):
    if os.path.exists(step.get("skip", "")):
        return
    if step["do"] == "sleep":
        time.sleep(step["seconds"])
    elif step["do"] == "in-turn":
        for number, inner in enumerate(step["steps"]):
            run(truth, inner, f"{tag}.{number}")
    elif step["do"] == "at-once":
        failures = []

        def guarded(number, inner):
            try:
                run(truth, inner, f"{tag}.{number}")
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=guarded, args=job) for job in enumerate(step["steps"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    elif step["do"] == "dns":
        run_dns(truth, step)
    else:
        run_stream(truth, step, tag)


if __name__ == "__main__":
    if sys.argv[1] == "client":
        ROLE = sys.argv[4] if sys.argv[4:] else ROLE
        run(sys.argv[2], json.load(sys.stdin), sys.argv[3])
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        match sys.argv[1:]:
            case ["serve", truth]:
                serve(truth)
            case ["one", truth, port, kind]:
                serve_one(truth, int(port), kind)
            case ["dns", *port]:
                dns(int(port[0]) if port else 15053)
