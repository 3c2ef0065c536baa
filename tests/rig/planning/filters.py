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
from flavours import FLAVOURS
from judge import Judgement
from pod import Mesh, Options, Pod, run

APPS = {8080, 6379, 9000}
PEERS = {"inbound-peer", "outbound-peer"}
ASKED = [("outbound-app",), ("inbound-app",), ("self-call",), ("dns",), ("outbound-peer",), ("inbound-peer",),
         ("outbound-app", "inbound-app"), ("outbound-peer", "inbound-peer"), ()]
MESHES = ("linkerd", "ambient", "tproxy", "consul", "osm", "kuma", "app-mesh", "exclusions", "nft-families",
          "istio-dns-1.6", "osm-mirrored")
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


@dataclass(frozen=True)
class Alike:
    """What a mesh's filters cannot tell from the legs asked for, as the notes of the plan say."""
    inside: bool = False        # connections between any of the pod's own addresses, from inbound-app
    calls: bool = False         # calls to the pod's address, from inbound-app
    replies: bool = False       # replies to such calls, from outbound-app

    @classmethod
    def said(cls, notes: list[str]) -> "Alike":
        text = " ".join(notes)
        return cls("no address of its own" in text, "may bear the client's address" in text, "redirected as others" in text)


def is_kept(one: Packet, role: str | None, legs: set[str], own: set[str], alike: Alike) -> bool:
    """Whether a filter for these legs has to keep a packet, or cannot but keep it."""
    if one.protocol == "icmp":
        return bool({one.source[0], one.destination[0]} & own)
    if role in legs - PEERS:
        return True
    if "dns" in legs and 53 in (one.source[1], one.destination[1]) and role in PEERS:
        return True
    if role in legs & PEERS:
        return one.protocol == "tcp"
    if one.protocol != "tcp" or not {one.source[0], one.destination[0]} <= own:
        return False
    loopback = bool({one.source[0], one.destination[0]} & {"127.0.0.1", "::1"})
    application = bool({one.source[1], one.destination[1]} & APPS)
    reply = one.source[1] in APPS and not loopback
    return ("self-call" in legs and reply or "inbound-app" in legs and alike.inside and application
            or "inbound-app" in legs and alike.calls and application and not loopback
            or "outbound-app" in legs and alike.replies and reply)


def plan(meshpcap: Path, pod: Pod, *arguments: str) -> dict:
    return json.loads(run(str(meshpcap), "plan", "--pod", f"{pod.ip},{pod.ip6}", "--json", *arguments))


class Captures:
    """Any number of tcpdumps in a pod, by the name of the file."""

    def __init__(self, pod: Pod, filters: dict[str, tuple[str, str]], buffer: int = 8192):
        self.pod, self.filters, self.buffer, self.running = pod, filters, buffer, []

    def __enter__(self):
        for name, (interface, text) in self.filters.items():
            self.running.append(self.pod.start(
                f"{name}.log", "tcpdump", "-i", interface, "-n", "-U", "-B", str(self.buffer), "-Z", "root", "--immediate-mode",
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
        server = ("127.0.0.1", 53) if mesh.options.flavour == "consul" else steps.NAMESERVERS[0]
        a.client(steps.dns("a.test", "b.test", to=server))
        if mesh.options.flavour != "kuma":      # which captures UDP alone
            a.client(steps.dns("c.test", to=server, stream=True))
    if not mesh.flavour:
        # the proxy's own query, which nobody answers
        query = UNWANTED.format(steps.NAMESERVERS[0][0], 53)
        a.inside("setpriv", "--reuid", str(sidecar.UID), "--regid", str(sidecar.UID), "--clear-groups", "python3", "-c", query)
    if mesh.options.ipv6:
        a.client(steps.http(steps.SERVICE6_HTTP, n=2), steps.http((a.ip6, 8080)), steps.http(("::1", 8080)))
        b.client(steps.http(steps.SERVICE6_HTTP, n=2))
    a.inside("python3", "-c", UNWANTED.format(b.ip, 9999))
    time.sleep(0.2)


def judge(rig, mesh: Mesh, *rules: str) -> list[Judgement]:
    """Captures pod a with the filters for each set of legs and without any."""
    pod, taps, wanted = mesh.a, {"lo": ("lo", ""), "eth0": ("eth0", "")}, {}
    arguments = ("--port", ",".join(map(str, sorted(APPS))), *rules)
    planned = plan(rig.meshpcap, pod, *arguments)
    there, alike = set(planned["legs"]), Alike.said(planned["notes"])
    for legs in [legs for legs in ASKED if set(legs) <= there]:
        name = "+".join(legs) or "all"
        chosen = ("--leg", ",".join(legs)) if legs else ()
        for capture in plan(rig.meshpcap, pod, *arguments, *chosen)["captures"]:
            taps[f"{name}.{capture['interface']}"] = (capture["interface"], capture["filter"])
            wanted[f"{name}.{capture['interface']}"] = set(legs) or there
    with Captures(pod, taps) as captures:
        traffic(mesh)
    report = pod.folder / "legs.csv"
    run(str(rig.meshpcap), "merge", "-q", "--keep-proxy-address", *(str(pod.folder / f"{name}.pcap") for name in ("eth0", "lo")), *rules,
        "-o", str(pod.folder / "all.pcapng"), "--report", str(report))
    known = roles(report)
    seen = set(known.values())
    rows = [Judgement("legs", {"outbound-app", *PEERS} <= seen, f"{sorted(seen)} captured, {sorted(there)} planned")]
    for name, legs in wanted.items():
        everything = captures.frames(name.rpartition(".")[2])
        expected = Counter(data for data in everything
                           if is_kept(one := packet(data), known.get(one), legs, pod.own, alike))
        kept = Counter(captures.frames(name))
        lost, extra = expected - kept, kept - expected
        told = f"{sum(kept.values())} of {len(everything)} packets"
        for what, which in (("lost", lost), ("not asked for", extra)):
            if which:
                some = "; ".join(f"{known.get(packet(data))} {packet(data)}" for data in list(which)[:3])
                told += f"; {sum(which.values())} {what}: {some}"
        # Some meshes made no packet of some leg here: nothing is to be kept then.
        rows.append(Judgement(name, not lost and not extra, told))
    return rows


def istio(rig, folder: Path) -> list[Judgement]:
    """Istio's sidecar, IPv4 and IPv6, with DNS capture: the filters come from the pod's own rules."""
    with Mesh(folder, rig.envoy, rig.certificates, Options(ipv6=True, dns=True)) as mesh:
        files = [word for name in ("iptables", "ip6tables") for word in ("--rules", str(mesh.a.folder / name))]
        rows = judge(rig, mesh, *files)
        # Envoy makes all of them; else the rows show little.
        legs = next(row.told for row in rows if row.what == "legs")
        return [*rows, Judgement("all legs", all(f"'{leg}'" in legs.split(" captured")[0] for leg in ALL), legs)]


def meshes(rig, folder: Path) -> list[Judgement]:
    """Other meshes' rules, ports and proxies, with a stand-in for the proxy."""
    rows = []
    for name in MESHES:
        flavour = FLAVOURS[name]
        with Mesh(folder / name, rig.envoy, rig.certificates, Options(ipv6=True, dns=bool(flavour.dns), flavour=name)) as mesh:
            if flavour.preset and not flavour.rules:
                rules = ("--mesh", flavour.preset)
            else:
                rules = [word for path in mesh.saved_rules(mesh.a) for word in ("--rules", str(path))]
            rows += [Judgement(f"{name}: {row.what}", row.good, row.told) for row in judge(rig, mesh, *rules)]
    return rows
