"""What Wireshark sees in a capture, by tshark."""
import csv
import hashlib
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from pod import RigError

End = tuple[str, int]       # address, port
VERIFY = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
LOOPBACKS = frozenset({"127.0.0.1", "::1"})
FIELDS = ["frame.number", "frame.len", "frame.cap_len", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "icmp.type",
          "icmpv6.type", "tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.len", "tcp.payload",
          "udp.stream", "udp.srcport", "udp.dstport", "udp.length", "udp.payload", "ip.checksum.status",
          "tcp.checksum.status", "udp.checksum.status", "tcp.analysis.lost_segment", "tcp.analysis.ack_lost_segment"]


def tshark(path: Path, *arguments: str) -> str:
    done = subprocess.run(["tshark", "-n", "-r", str(path), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RigError(f"tshark {' '.join(arguments)[:200]}: {done.stderr.strip()[-300:]}")
    return done.stdout


@dataclass
class Stream:
    """One conversation as Wireshark numbers it."""
    protocol: str
    number: int
    ends: tuple[End, End]
    lengths: dict[End, int]
    packets: dict[End, int]
    pieces: dict[End, list] = field(default_factory=dict)       # (sequence number, hex)

    def bytes_from(self, end: End) -> bytes:
        """The bytes that an end sent, in order, each once."""
        if self.protocol == "udp":
            return bytes.fromhex("".join(text for _, text in self.pieces[end]))
        stream, first = bytearray(), None
        for sequence, text in sorted(self.pieces[end], key=lambda piece: piece[0]):
            data = bytes.fromhex(text)
            first = sequence if first is None else first
            known = first + len(stream) - sequence          # bytes that are there already
            if known >= 0:
                stream += data[known:]
        return bytes(stream)


@dataclass
class View:
    """A whole capture: its conversations, and what is striking about its frames."""
    streams: dict[tuple[str, int], Stream] = field(default_factory=dict)
    of_frame: dict[int, tuple[str, int]] = field(default_factory=dict)      # frame number -> stream
    to_proxy: int = 0       # frames with an address and a port of the proxy, quoted ones included
    bad_checksums: int = 0  # in whole frames
    bad_quoted: int = 0     # in packets quoted by ICMP errors
    gaps: int = 0           # segments that Wireshark misses

    def between(self, protocol: str, one: End, other: End) -> list[Stream]:
        return self.by_ends.get((protocol, frozenset((one, other))), [])

    def index(self) -> "View":
        self.by_ends = {}
        for stream in self.streams.values():
            self.by_ends.setdefault((stream.protocol, frozenset(stream.ends)), []).append(stream)
        return self


def view(path: Path, proxies: frozenset[str], ports: frozenset[str]) -> View:
    """The capture; netfilter redirects to these addresses and ports."""
    text = tshark(path, *VERIFY, "-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields", "-E", "separator=|",
                  *(word for name in FIELDS for word in ("-e", name)))
    seen = View()
    for line in text.splitlines():
        row = {name: value.split(",") for name, value in zip(FIELDS, line.split("|"))}
        addresses = {value for name in ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst") for value in row[name]}
        used = {value for name in ("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport") for value in row[name]}
        seen.to_proxy += bool(addresses & proxies and used & ports)
        seen.gaps += row["tcp.analysis.lost_segment"] != [""] or row["tcp.analysis.ack_lost_segment"] != [""]
        if row["frame.len"] == row["frame.cap_len"]:
            bad = any("0" in row[f"{name}.checksum.status"] for name in ("ip", "tcp", "udp"))
            quoting = row["icmp.type"] != [""] or row["icmpv6.type"] != [""]
            seen.bad_checksums += bad and not quoting
            seen.bad_quoted += bad and quoting
        add(seen, {name: values[0] for name, values in row.items()})
    return seen.index()


def add(seen: View, row: dict[str, str]):
    """Adds a frame to its stream; one that only quotes a packet (ICMP) has none."""
    protocol = "tcp" if row["tcp.stream"] else "udp" if row["udp.stream"] else None
    if protocol is None or row["icmp.type"] or row["icmpv6.type"]:
        return
    key = (protocol, int(row[f"{protocol}.stream"]))
    source = (row["ip.src"] or row["ipv6.src"], int(row[f"{protocol}.srcport"]))
    target = (row["ip.dst"] or row["ipv6.dst"], int(row[f"{protocol}.dstport"]))
    stream = seen.streams.get(key)
    if stream is None:
        stream = seen.streams[key] = Stream(*key, (source, target), {source: 0, target: 0},
                                            {source: 0, target: 0}, {source: [], target: []})
    seen.of_frame[int(row["frame.number"])] = key
    stream.packets[source] += 1
    stream.lengths[source] += int(row["tcp.len"] or 0) if protocol == "tcp" else int(row["udp.length"]) - 8
    if payload := row[f"{protocol}.payload"]:
        stream.pieces[source].append((int(row["tcp.seq"] or 0), payload))


def follow(path: Path, wanted: list[Stream]) -> dict[tuple[str, int], dict[End, str]]:
    """Follow Stream, raw: for each stream the SHA-256 of the bytes that each end sent."""
    taps = [word for stream in wanted for word in ("-z", f"follow,{stream.protocol},raw,{stream.number}")]
    result = {}
    # tshark prints the taps in no promised order: the filter line names the stream
    for block in re.split(r"^Follow: ", tshark(path, "-q", *taps), flags=re.M)[1:]:
        protocol, number = re.search(r"^Filter: (\w+)\.stream eq (\d+)", block, re.M).groups()
        ends = [(host.strip("[]"), int(port)) for host, port in re.findall(r"^Node \d: (.*):(\d+)$", block, re.M)]
        sent = [bytearray(), bytearray()]
        for tab, text in re.findall(r"^(\t?)([0-9a-f]+)$", block, re.M):
            sent[bool(tab)] += bytes.fromhex(text)
        result[protocol, int(number)] = {end: hashlib.sha256(data).hexdigest() for end, data in zip(ends, sent)}
    return result


def read_report(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
