#!/usr/bin/env python3
"""The clients of the recordings in ties.py; each writes down what its own sockets saw.

    tie_clients.py TRUTH        runs the plan on standard input (JSON, made by tie_plan.py)

TRUTH gets a JSON line for each connection, as from tie_apps.py.
"""
import json
import random
import re
import socket
import ssl
import sys
import threading
import time

import h2.connection
import h2.events

from tie_sockets import GREETING, Connection, header, send_waiting

TOKEN = re.compile(rb"tok-[0-9a-f]{12}")


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
    Clients(sys.argv[1], json.loads(sys.stdin.readline())).run()
