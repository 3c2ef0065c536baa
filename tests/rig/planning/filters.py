"""Filters of a sidecar: captured with each beside captures without, they keep the packets of their legs and no others.

Which leg a packet is of is taken from the report of a merge of the captures without filters, which knows nothing of
filters.
"""
import csv
import ipaddress
import json
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import frames
import pod as pods
import sidecar
import steps
from judge import Judgement
from pod import Mesh, Options, Pod, run

APPS = {8080, 6379, 9000}
PEERS = {"inbound-peer", "outbound-peer"}
ASKED = [("outbound-app",), ("inbound-app",), ("self-call",), ("dns",), ("outbound-peer",), ("inbound-peer",),
         ("outbound-app", "inbound-app"), ("outbound-peer", "inbound-peer"), ()]
ALL = {"outbound-app", "inbound-app", "self-call", "dns", *PEERS}

UNWANTED = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ({!r}, {}))"

End = tuple[str, int]


@dataclass(frozen=True)
class Packet:
    """What a filter sees of a packet."""
    protocol: str
    source: End
    destination: End


def packet(data: bytes) -> Packet:
    """Of an Ethernet frame; icmp stands for errors alone."""
    if data[12:14] == b"\x08\x00":
        head, number = (data[14] & 15) * 4, data[23]
        ends = [".".join(map(str, data[at:at + 4])) for at in (26, 30)]
        later = struct.unpack_from(">H", data, 20)[0] & 0x1fff
        icmp = number == 1 and data[14 + head] in (3, 11, 12)
    elif data[12:14] == b"\x86\xdd":
        head, number, later = 40, data[20], 0
        ends = [str(ipaddress.IPv6Address(data[at:at + 16])) for at in (22, 38)]
        icmp = number == 58 and data[54] < 128
    else:
        return Packet("other", ("", 0), ("", 0))
    at = 14 + head
    if number not in (6, 17) or later:
        return Packet("icmp" if icmp else "other", (ends[0], 0), (ends[1], 0))
    ports = struct.unpack_from(">HH", data, at)
    return Packet("tcp" if number == 6 else "udp", (ends[0], ports[0]), (ends[1], ports[1]))


def end(text: str) -> End:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def roles(report: Path) -> dict[Packet, str]:
    """By the ends that a packet shows as captured, in the direction that it has."""
    known = {}
    with open(report) as file:
        for row in csv.DictReader(file):
            client, server = end(row["client"]), end(row["server"])
            there = (client, server)
            if row["captured_server"]:
                there = (end(row["captured_client"]), end(row["captured_server"]))
            known[Packet(row["protocol"], *there)] = row["role"]
            known[Packet(row["protocol"], server, client)] = row["role"]
    return known


def is_kept(one: Packet, role: str | None, legs: set[str], own: set[str], inbound_is_local: bool) -> bool:
    """Whether a filter for these legs has to keep a packet."""
    inside = {one.source[0], one.destination[0]} <= own
    if one.protocol == "icmp":
        return bool({one.source[0], one.destination[0]} & own)
    if role in legs - PEERS:
        return True
    if "dns" in legs and 53 in (one.source[1], one.destination[1]) and role in PEERS:
        return True
    if role in legs & PEERS:
        return one.protocol == "tcp"
    if role == "local" and inside and one.protocol == "tcp":
        # What cannot be told apart, as plan says: replies of self-call, and without an address of the proxy's own,
        # the way to the application.
        if "self-call" in legs and one.source[1] in APPS and one.source[0] == one.destination[0]:
            return not one.source[0].startswith("127.") and one.source[0] != "::1"
        return inbound_is_local and "inbound-app" in legs and bool({one.source[1], one.destination[1]} & APPS)
    return False


def plan(meshpcap: Path, pod: Pod, *arguments: str) -> dict:
    addresses = f"{pod.ip},{pod.ip6}"
    text = run(str(meshpcap), "plan", "--pod", addresses, "--json", *arguments)
    return {capture["interface"]: capture["filter"] for capture in json.loads(text)["captures"]}


class Captures:
    """Any number of tcpdumps in a pod, by the name of the file."""

    def __init__(self, pod: Pod, filters: dict[str, tuple[str, str]]):
        self.pod, self.filters, self.running = pod, filters, []

    def __enter__(self):
        for name, (interface, text) in self.filters.items():
            self.running.append(self.pod.start(
                f"{name}.log", "tcpdump", "-i", interface, "-n", "-U", "-B", "8192", "-Z", "root", "--immediate-mode",
                "-w", str(self.pod.folder / f"{name}.pcap"), text, ready="listening on"))
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        for process in self.running:
            self.pod.stop(process)
        for name in self.filters:
            told = (self.pod.folder / f"{name}.log").read_text()
            if "\n0 packets dropped by kernel" not in told:
                raise pods.TooBusy(f"{name}: {told}")

    def frames(self, name: str) -> list[bytes]:
        return [frame.data for frame in frames.read(self.pod.folder / f"{name}.pcap")]


def traffic(mesh: Mesh):
    """All legs that a pod can have, and some that none of the filters wants."""
    a, b = mesh.a, mesh.b
    a.client(steps.http(steps.SERVICE_HTTP, n=2, size=3000), steps.echo(steps.SERVICE_TCP, n=3),
             steps.echo((b.ip, 9000)), steps.http(steps.SERVICE_SELF), steps.http((a.ip, 8080)),
             steps.http(("127.0.0.1", 8080)))
    b.client(steps.http(steps.SERVICE_HTTP, n=2), steps.echo(steps.SERVICE_TCP), steps.echo((a.ip, 9000)))
    if mesh.options.dns:
        a.client(steps.dns("a.test", "b.test"), steps.dns("c.test", stream=True))
        # the proxy's own query, which nobody answers
        query = UNWANTED.format(steps.NAMESERVERS[0][0], 53)
        a.inside("setpriv", "--reuid", str(sidecar.UID), "--regid", str(sidecar.UID), "--clear-groups", "python3", "-c", query)
    if mesh.options.ipv6:
        a.client(steps.http(steps.SERVICE6_HTTP, n=2), steps.http((a.ip6, 8080)), steps.http(("::1", 8080)))
        b.client(steps.http(steps.SERVICE6_HTTP, n=2))
    a.inside("python3", "-c", UNWANTED.format(b.ip, 9999))
    time.sleep(0.2)


def judge(rig, mesh: Mesh, *arguments: str, inbound_is_local: bool = False, must: set[str] = frozenset(ALL)) -> list[Judgement]:
    """Captures pod a with the filters for each set of legs and without any."""
    pod, taps, wanted = mesh.a, {"lo": ("lo", ""), "eth0": ("eth0", "")}, {}
    for legs in [legs for legs in ASKED if set(legs) <= must]:
        name = "+".join(legs) or "all"
        chosen = ("--leg", ",".join(legs)) if legs else ()
        for interface, text in plan(rig.meshpcap, pod, *arguments, *chosen).items():
            taps[f"{name}.{interface}"] = (interface, text)
            wanted[f"{name}.{interface}"] = set(legs) or must
    with Captures(pod, taps) as captures:
        traffic(mesh)
    report = pod.folder / "legs.csv"
    run(str(rig.meshpcap), "merge", "-q", *(str(pod.folder / f"{name}.pcap") for name in ("eth0", "lo")),
        "-o", str(pod.folder / "all.pcapng"), "--report", str(report))
    known = roles(report)
    seen = {role for role in known.values()}
    rows = [Judgement("legs", must <= seen | ({"inbound-app"} if inbound_is_local else set()), f"{sorted(seen)} captured")]
    own = pod.own
    for name, legs in wanted.items():
        interface = name.rpartition(".")[2]
        everything = captures.frames(interface)
        expected = Counter(data for data in everything
                           if is_kept(one := packet(data), known.get(one), legs, own, inbound_is_local))
        kept = Counter(captures.frames(name))
        lost, extra = expected - kept, kept - expected
        told = f"{sum(kept.values())} of {len(everything)} packets"
        for what, which in (("lost", lost), ("not asked for", extra)):
            if which:
                some = "; ".join(str(packet(data)) for data in list(which)[:3])
                told += f"; {sum(which.values())} {what}: {some}"
        rows.append(Judgement(name, not lost and not extra and bool(kept), told))
    return rows


def istio(rig, folder: Path) -> list[Judgement]:
    """Istio's sidecar, IPv4 and IPv6, with DNS capture: the filters come from the pod's own rules."""
    with Mesh(folder, rig.envoy, rig.certificates, Options(ipv6=True, dns=True)) as mesh:
        files = [word for name in ("iptables", "ip6tables") for word in ("--rules", str(mesh.a.folder / name))]
        return judge(rig, mesh, "--port", ",".join(map(str, sorted(APPS))), *files)


def linkerd(rig, folder: Path) -> list[Judgement]:
    """Another mesh's ports, and a proxy without an address of its own: Envoy in the place of Linkerd's proxy."""
    preset = Path(__file__).parents[3] / "src/nat/presets/linkerd.rules"
    text = preset.read_text().replace("2102", str(sidecar.UID))
    before = pods.rules, sidecar.OUTBOUND, sidecar.INBOUND, sidecar.configuration

    def configuration(*arguments):
        config = before[3](*arguments)
        for cluster in config["static_resources"]["clusters"]:
            cluster.pop("upstream_bind_config", None)
        return config
    try:
        pods.rules, sidecar.OUTBOUND, sidecar.INBOUND = (lambda *_: text), 4140, 4143
        sidecar.configuration = configuration
        with Mesh(folder, rig.envoy, rig.certificates, Options(ipv6=True)) as mesh:
            files = [word for name in ("iptables", "ip6tables") for word in ("--rules", str(mesh.a.folder / name))]
            return judge(rig, mesh, "--port", ",".join(map(str, sorted(APPS))), *files, inbound_is_local=True,
                         must={"outbound-app", "inbound-app", *PEERS})
    finally:
        pods.rules, sidecar.OUTBOUND, sidecar.INBOUND, sidecar.configuration = before
