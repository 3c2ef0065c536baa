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
FIELDS = ["frame.number", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst",
          "tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.len", "tcp.payload",
          "udp.stream", "udp.srcport", "udp.dstport", "udp.length", "udp.payload"]


def tshark(path: Path, *arguments: str) -> str:
    done = subprocess.run(["tshark", "-n", "-r", str(path), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RigError(f"tshark {' '.join(arguments)[:200]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def count(path: Path, display_filter: str, *arguments: str) -> int:
    return tshark(path, *arguments, "-Y", display_filter, "-T", "fields", "-e", "frame.number").count("\n")


@dataclass
class Stream:
    """One conversation as Wireshark numbers it."""
    protocol: str
    number: int
    ends: tuple[End, End]
    lengths: dict[End, int]
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
class Streams:
    all: list[Stream]
    of_frame: dict[int, tuple[str, int]]        # frame number -> (protocol, stream)

    def between(self, protocol: str, one: End, other: End) -> list[Stream]:
        return self.by_ends.get((protocol, frozenset((one, other))), [])

    def __post_init__(self):
        self.by_ends, self.by_number = {}, {}
        for stream in self.all:
            self.by_ends.setdefault((stream.protocol, frozenset(stream.ends)), []).append(stream)
            self.by_number[stream.protocol, stream.number] = stream


def streams(path: Path) -> Streams:
    """Every TCP and UDP conversation of a capture."""
    text = tshark(path, "-Y", "(tcp || udp) && !icmp && !icmpv6", "-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields",
                  "-E", "separator=|", "-E", "occurrence=f", *(word for name in FIELDS for word in ("-e", name)))
    found, of_frame = {}, {}
    for line in text.splitlines():
        row = dict(zip(FIELDS, line.split("|")))
        protocol = "tcp" if row["tcp.stream"] else "udp"
        number = int(row[f"{protocol}.stream"])
        source = (row["ip.src"] or row["ipv6.src"], int(row[f"{protocol}.srcport"]))
        target = (row["ip.dst"] or row["ipv6.dst"], int(row[f"{protocol}.dstport"]))
        stream = found.get((protocol, number))
        if stream is None:
            stream = found[protocol, number] = Stream(protocol, number, (source, target), {source: 0, target: 0},
                                                      {source: [], target: []})
        of_frame[int(row["frame.number"])] = (protocol, number)
        stream.lengths[source] += int(row["tcp.len"] or 0) if protocol == "tcp" else int(row["udp.length"]) - 8
        if payload := row[f"{protocol}.payload"]:
            stream.pieces[source].append((int(row["tcp.seq"] or 0), payload))
    return Streams(list(found.values()), of_frame)


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
