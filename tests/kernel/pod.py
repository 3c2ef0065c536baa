"""A pod and its peer as two network namespaces, and sockets that say what arrived where.

The pod has eth0 and, for each other interface that the rules name, a link of its own to the peer. The peer answers for
every address. All sockets are opened by this process, which enters a namespace to open one.
"""

import ctypes
import errno
import ipaddress
import os
import re
import resource
import selectors
import socket
import struct
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
SO_MARK = 36


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespace:
    """Where `with` enters and leaves a network namespace."""

    home = os.open("/proc/self/ns/net", os.O_RDONLY)

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.file = os.open(f"/run/netns/{name}", os.O_RDONLY)

    def __enter__(self):
        self._enter(self.file)

    def __exit__(self, *_):
        self._enter(Namespace.home)

    @staticmethod
    def _enter(file):
        if LIBC.setns(file, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def ip(self, batch):
        lines = [line.strip() for line in batch.strip().splitlines()]
        for option, chosen in (([], [l for l in lines if not l.startswith("-6 ")]),
                               (["-6"], [l[3:] for l in lines if l.startswith("-6 ")])):
            if chosen:
                run("ip", *option, "-n", self.name, "-batch", "-", input="\n".join(chosen))

    def sysctl(self, **settings):
        with self:
            for name, value in settings.items():
                path = f"/proc/sys/net/{name.replace('__', '/')}"
                with open(path, "w") as file:
                    file.write(str(value))

    def remove(self):
        os.close(self.file)
        run("ip", "netns", "del", self.name)


class Pod:
    def __init__(self, interfaces):
        # Each port has eight listeners, each probe two sockets.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.names = interfaces
        tag = os.getpid()
        self.pod, self.peer = Namespace(f"mp-pod-{tag}"), Namespace(f"mp-peer-{tag}")
        self.pod.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv4__conf__all__rp_filter=0, ipv4__conf__default__rp_filter=0,
                        ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
        self.peer.sysctl(ipv4__conf__all__accept_local=1, ipv4__conf__all__rp_filter=0, ipv4__conf__default__rp_filter=0,
                         ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
        for namespace in (self.pod, self.peer):
            namespace.ip("link set lo up")
        self.pod.ip("addr add ::6/128 dev lo")
        self.addresses = {}
        for k, name in enumerate(interfaces):
            here, there = f"02:00:00:00:{k:02x}:07", f"02:00:00:00:{k:02x}:09"
            self.pod.ip(f"link add {name} address {here} type veth peer name p{k} address {there} netns {self.peer.name}")
            v4, v6 = [f"10.244.{k}.7"], [f"fd00:244:{k}::7"]
            if k == 0:
                v4, v6 = v4 + ["10.244.0.200"], v6
            self.addresses[name] = v4 + v6
            for address in v4:
                self.pod.ip(f"addr add {address}/24 dev {name}")
            for address in v6:
                self.pod.ip(f"addr add {address}/64 dev {name} nodad")
            self.peer.ip(f"""addr add 10.244.{k}.9/24 dev p{k}
                addr add fd00:244:{k}::9/64 dev p{k} nodad
                link set p{k} up
                rule add iif p{k} lookup 100
                -6 rule add iif p{k} lookup 100""")
            # Rules that reject neighbour discovery are there, too.
            self.pod.ip(f"link set {name} up\nneigh add fd00:244:{k}::9 lladdr {there} dev {name}")
            self.peer.ip(f"neigh add fd00:244:{k}::7 lladdr {here} dev p{k}")
        # What arrives at the peer is for the peer, whatever its destination.
        self.peer.ip("""route add local 0.0.0.0/0 dev lo table 100
            -6 route add local ::/0 dev lo table 100
            route add default via 10.244.0.7
            -6 route add default via fd00:244:0::7""")
        self.pod.ip("""route add default via 10.244.0.9
            -6 route add default via fd00:244:0::9""")
        self.events = None
        self.selector = selectors.DefaultSelector()
        self.opened = []

    def load(self, path, text):
        """Loads rules; false with the reason if this kernel or these tools cannot."""
        if path.endswith(".json"):
            command = ["nft", "-j", "-f", "-"]
        else:
            command = ["ip6tables-restore" if ".v6." in os.path.basename(path) else "iptables-restore"]
        with self.pod:
            run("nft", "flush", "ruleset")
            run(*command, input=text)

    def listen(self, ports):
        """A listener for each protocol, family and port, here and there."""
        for where, namespace in (("pod", self.pod), ("peer", self.peer)):
            with namespace:
                for family in (socket.AF_INET, socket.AF_INET6):
                    for port in ports:
                        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                            self._listen(where, family, kind, port)

    def _listen(self, where, family, kind, port):
        s = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        s.bind(("" if family == socket.AF_INET else "::", port))
        if kind == socket.SOCK_STREAM:
            s.listen(256)
        self.selector.register(s, selectors.EVENT_READ, ("listener", where, kind, port))
        self.opened.append(s)

    def watch(self):
        """Starts to listen to conntrack: what it says of new connections goes to `self.new`."""
        self.new = {}
        with self.pod:
            self.events = subprocess.Popen(["conntrack", "-E", "-e", "NEW", "-b", "8388608"], stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self._read_events, args=(self.events.stdout,), daemon=True).start()
        time.sleep(0.2)

    def _read_events(self, lines):
        for line in lines:
            protocol = line.split()[1] if "[NEW]" in line else ""
            if protocol not in ("tcp", "udp"):
                continue
            src, dst = re.findall(r"src=(\S+)", line), re.findall(r"dst=(\S+)", line)
            sport, dport = re.findall(r"sport=(\d+)", line), re.findall(r"dport=(\d+)", line)
            zone, mark = re.search(r"zone=(\d+)", line), re.search(r"mark=(\d+)", line)
            ends = [end(a, p) for a, p in zip(src + dst, sport + dport)]
            # original source, reply source, original destination, reply destination
            original, reply = (ends[0], ends[2]), (ends[1], ends[3])
            seen = dict(reply=reply, zone=int(zone[1]) if zone else 0, mark=int(mark[1]) if mark else None)
            self.new.setdefault((protocol, *original), seen)

    def try_batch(self, probes, quick):
        """Sends probes; returns for each what its receiver saw, and conntrack's new connection.

        `quick` has the numbers of those that are expected to arrive: when they have, the rest gets a moment more.
        """
        self.new.clear()
        got, senders, accepted = {}, {}, []
        for number, probe in enumerate(probes):
            try:
                senders[number] = self._send(number, probe)
            except OSError as error:
                got[number] = dict(error=f"{error}")
        deadline = time.monotonic() + 1.2
        grace = None
        while time.monotonic() < (grace or deadline):
            for key, _ in self.selector.select(0.01):
                role, *rest = key.data
                s = key.fileobj
                if role == "listener" and rest[1] == socket.SOCK_STREAM:
                    try:
                        connection, peer = s.accept()
                    except OSError:
                        continue
                    connection.setblocking(False)
                    accepted.append(connection)
                    self.selector.register(connection, selectors.EVENT_READ, ("connection", rest[0], peer, rest[2]))
                elif role == "listener":
                    self._datagram(s, rest[0], rest[2], got)
                elif role == "connection":
                    self._accepted(s, *rest, got)
                elif role == "sender":
                    self.selector.unregister(s)
                    try:
                        s.send(struct.pack("!I", rest[0]))
                    except OSError:
                        pass
            if grace is None and all(number in got for number in quick):
                grace = time.monotonic() + 0.06
        for s in list(senders.values()) + accepted:
            if s in self.selector.get_map().values() or s.fileno() in self.selector.get_map():
                self.selector.unregister(s)
            if s.type & socket.SOCK_STREAM:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        time.sleep(0.02)
        new = dict(self.new)
        with self.pod:
            subprocess.run(["conntrack", "-F"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [(got.get(n), new.get((p["protocol"], p["source"], p["destination"]))) for n, p in enumerate(probes)]

    def _send(self, number, probe):
        kind = socket.SOCK_STREAM if probe["protocol"] == "tcp" else socket.SOCK_DGRAM
        source, destination = address(probe["source"]), address(probe["destination"])
        v6 = ":" in source[0]
        outgoing = probe.get("in") is None
        with self.pod if outgoing else self.peer:
            # The owner of a socket is who opens it.
            os.setegid(probe.get("gid") or 0)
            os.seteuid(probe.get("uid") or 0)
            try:
                s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
            finally:
                os.seteuid(0)
                os.setegid(0)
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.get("mark"):
                s.setsockopt(socket.SOL_SOCKET, SO_MARK, probe["mark"])
            if not outgoing:
                # Any source, its own or not.
                s.setsockopt(*((socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1) if v6 else (socket.IPPROTO_IP, IP_TRANSPARENT, 1)))
            s.bind(source)
            result = s.connect_ex(destination)
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, os.strerror(result))
            if kind == socket.SOCK_DGRAM:
                s.send(struct.pack("!I", number))
            else:
                self.selector.register(s, selectors.EVENT_WRITE, ("sender", number))
        except OSError:
            s.close()
            raise
        return s

    def _datagram(self, s, where, port, got):
        try:
            data, ancillary, _, peer = s.recvmsg(64, 256)
        except OSError:
            return
        if len(data) != 4:
            return
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET, value[8:12])
            elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET6, value[:16])
        got[struct.unpack("!I", data)[0]] = dict(where=where, local=end(local, port), peer=end(*peer[:2]), port=port)

    def _accepted(self, s, where, peer, port, got):
        try:
            data = s.recv(64)
        except OSError:
            data = b""
        self.selector.unregister(s)
        if len(data) == 4:
            got[struct.unpack("!I", data)[0]] = dict(where=where, local=end(*s.getsockname()[:2]), peer=end(*peer[:2]), port=port)

    def stop_listening(self):
        for s in self.opened:
            self.selector.unregister(s)
            s.close()
        self.opened = []

    def remove(self):
        self.stop_listening()
        if self.events:
            self.events.kill()
            self.events.wait()
        self.pod.remove()
        self.peer.remove()


def end(address, port):
    """`10.0.0.1:80` or `[::1]:80`, with the address in its shortest form."""
    if ":" in address:
        # `::7f00:35`, as Rust prints it; C prints the last part with dots.
        return f"[{ipaddress.IPv6Address(address).compressed}]:{port}"
    return f"{address}:{port}"


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)
