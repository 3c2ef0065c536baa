#!/usr/bin/env python3
"""A proxy that stands in for those of the meshes: takes what was redirected to it and passes the bytes on.

    standin.py CONFIG

CONFIG (JSON, made by flavours.py) says on which ports it listens, where services lead, and from which address it
calls the application. Every connection that it made is written to the truth file as role `proxy`, by apps.py.
"""
import contextlib
import json
import signal
import socket
import struct
import sys
import threading
import time

from apps import Connection, until_terminated

SO_ORIGINAL_DST = 80        # linux/netfilter_ipv4.h; the same number in ip6_tables.h, on SOL_IPV6
SOL_IPV6, IPV6_TRANSPARENT = 41, 75
SOL_IP, IP_TRANSPARENT = 0, 19
SO_MARK = 36
SO_LINGER_RESET = struct.pack("ii", 1, 0)
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
SIX = {4: "127.0.0.6", 6: "::6"}


def family(host: str) -> int:
    return 6 if ":" in host else 4


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Where the client wanted to go, before netfilter's redirect."""
    if sock.family == socket.AF_INET6:
        data = sock.getsockopt(SOL_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), struct.unpack_from(">H", data, 2)[0]
    data = sock.getsockopt(SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntop(socket.AF_INET, data[4:8]), struct.unpack_from(">H", data, 2)[0]


def make_transparent(sock: socket.socket):
    """May bind, and listen on, addresses that are not this host's."""
    level, name = (SOL_IPV6, IPV6_TRANSPARENT) if sock.family == socket.AF_INET6 else (SOL_IP, IP_TRANSPARENT)
    sock.setsockopt(level, name, 1)


class Proxy:
    """All listeners of one pod's proxy."""

    def __init__(self, config: dict):
        self.config = config
        self.services = {(host, port): tuple(to) for host, port, to in config["services"]}
        self.freed: list[tuple[str, int]] = []      # ends of clients whose connection is closed

    def listen(self, port: int, serve, transparent: bool = False):
        for host in ("0.0.0.0", "::"):
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in host:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if transparent:
                make_transparent(listener)
            if self.config["mark_all"]:
                listener.setsockopt(socket.SOL_SOCKET, SO_MARK, self.config["mark"])
            listener.bind((host, port))
            listener.listen(1024)
            threading.Thread(target=self.accept, args=(listener, serve), daemon=True).start()

    def accept(self, listener: socket.socket, serve):
        while True:
            sock = listener.accept()[0]
            threading.Thread(target=self.guarded, args=(sock, serve), daemon=True).start()

    def guarded(self, sock: socket.socket, serve):
        """A connection that leads nowhere is reset, as the meshes' proxies do."""
        try:
            serve(sock)
        except OSError as error:
            print(error, flush=True)
            time.sleep(0.05)                    # the client knows that it is connected
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_RESET)
        sock.close()

    def outbound(self, sock: socket.socket):
        """From the application: a service leads to its endpoint, anything else to where it wanted to go."""
        wanted = original_destination(sock)
        host, port = self.services.get(wanted, wanted)
        upstream = self.socket_to(host)
        if (tunnel := self.config["tunnel"]) and host in self.config["peers"]:
            # HBONE in short: the proxy of the other pod is told where to go, and for whom
            upstream.connect((host, tunnel))
            client = sock.getpeername()[0]
            return self.pump(sock, upstream, f"CONNECT {host} {port} {client}\n".encode())
        upstream.connect((host, port))
        self.pump(sock, upstream)

    def inbound(self, sock: socket.socket):
        """From a peer to the application."""
        to = sock.getsockname()[:2] if self.config["tproxy"] else original_destination(sock)
        self.pump(sock, self.to_application(to, sock.getpeername()[:2]))

    def tunnelled(self, sock: socket.socket):
        """From another pod's proxy, through the tunnel."""
        line = bytearray()
        while not line.endswith(b"\n"):
            line += sock.recv(1)
        _, host, port, client = line.split()
        self.pump(sock, self.to_application((host.decode(), int(port)), (client.decode(), 0)))

    def to_application(self, to: tuple[str, int], client: tuple[str, int]) -> socket.socket:
        """A connection to the application from the address that the mesh's proxy uses."""
        host, port = to
        kind, source = self.config["source"], None
        if kind == "loopback":
            host = LOOPBACK[family(host)]
        elif kind == "six":
            source = (SIX[family(host)], 0)
        elif kind == "client" and client[0] != host:
            source = (client[0], self.freed_port(client[0]))
        upstream = self.socket_to(host, spoof=kind == "client")
        if source:
            upstream.bind(source)
        upstream.connect((host, port))
        return upstream

    def freed_port(self, host: str) -> int:
        """If it is to clash: the port of a client whose connection is over; else the kernel picks one."""
        if self.config["clash"]:
            for end in self.freed:
                if end[0] == host:
                    self.freed.remove(end)
                    return end[1]
        return 0

    def socket_to(self, host: str, spoof: bool = False) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if spoof:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            make_transparent(sock)
        if self.config["mark"] and (spoof or self.config["mark_all"]):
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, self.config["mark"])
        return sock

    def pump(self, down: socket.socket, up: socket.socket, preface: bytes = b""):
        """Both directions, to the end of both."""
        client = down.getpeername()[:2]
        above = Connection(up, self.config["truth"], "proxy")
        if preface:
            above.send(preface)
        failed = threading.Event()

        def back():
            try:
                while data := above.receive():
                    down.sendall(data)
                down.shutdown(socket.SHUT_WR)
            except OSError:
                failed.set()
                with contextlib.suppress(OSError):
                    down.shutdown(socket.SHUT_RD)       # ends the wait for more
        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        try:
            while data := down.recv(1 << 18):
                above.send(data)
            up.shutdown(socket.SHUT_WR)
        except OSError:
            failed.set()
            with contextlib.suppress(OSError):
                up.shutdown(socket.SHUT_RD)                 # ends the other wait
        thread.join()
        if failed.is_set():
            down.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_RESET)
        above.close("rst" if failed.is_set() else "fin")
        down.close()
        time.sleep(0.05)                    # the last acknowledgement is through
        self.freed.append(client)

    def run(self):
        self.listen(self.config["outbound"], self.outbound)
        self.listen(self.config["inbound"], self.inbound, transparent=self.config["tproxy"])
        if tunnel := self.config["tunnel"]:
            self.listen(tunnel, self.tunnelled)
        until_terminated()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with open(sys.argv[1]) as file:
        Proxy(json.load(file)).run()
