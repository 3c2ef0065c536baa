"""Packets as bytes: a small reader of pcap and pcapng, and what a repair may change in a packet.

An opinion independent of meshpcap and Wireshark; reads what tcpdump, dumpcap and meshpcap write on this machine
(little endian).
"""
import gzip
import ipaddress
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

ETHERNET, SLL, SLL2 = 1, 113, 276
ETHERTYPE_AT = {ETHERNET: 12, SLL: 14, SLL2: 0}
HEADER = {ETHERNET: 14, SLL: 16, SLL2: 20}         # bytes of the link header
LOOPBACKS = frozenset({bytes([127, 0, 0, 1]), bytes(15) + b"\1"})


@dataclass
class Frame:
    time: int           # ns since 1970
    linktype: int
    data: bytes
    length: int         # on the wire
    source: int = 0     # which input

    @property
    def is_ip(self) -> bool:
        at = ETHERTYPE_AT[self.linktype]
        return self.data[at:at + 2] in (b"\x08\x00", b"\x86\xdd")

    @property
    def interface(self) -> int:
        """Its index in a capture of `any` (LINUX_SLL2); else 0."""
        return int.from_bytes(self.data[4:8]) if self.linktype == SLL2 else 0

    @property
    def link(self) -> bytes:
        return self.data[:HEADER[self.linktype]]

    @property
    def packet(self) -> bytes:
        """What follows the link header."""
        return self.data[HEADER[self.linktype]:]


def read(path: Path, source: int = 0) -> list[Frame]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif data[:4] in (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
        program = "zstd" if data[0] == 0x28 else "lz4"
        data = subprocess.run([program, "-dc"], input=data, capture_output=True, check=True).stdout
    return list(read_pcapng(data, source) if data[:4] == b"\x0a\x0d\x0d\x0a" else read_pcap(data, source))


def read_pcap(data: bytes, source: int):
    scale = {0xa1b2c3d4: 1000, 0xa1b23c4d: 1}[struct.unpack_from("<I", data)[0]]
    linktype = struct.unpack_from("<I", data, 20)[0] & 0xffff
    at = 24
    while at < len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, at)
        at += 16
        yield Frame(seconds * 10**9 + fraction * scale, linktype, data[at:at + captured], length, source)
        at += captured


def read_pcapng(data: bytes, source: int):
    interfaces, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 1:                                       # Interface Description Block
            linktype, unit, option = struct.unpack_from("<H", data, at + 8)[0], 1000, at + 16
            while option + 4 <= at + size - 4:
                code, length = struct.unpack_from("<HH", data, option)
                if code == 9:                               # if_tsresol
                    unit = 10 ** (9 - data[option + 4])
                option += 4 + (length + 3) // 4 * 4
            interfaces.append((linktype, unit))
        elif kind == 6:                                     # Enhanced Packet Block
            interface, high, low, captured, length = struct.unpack_from("<IIIII", data, at + 8)
            linktype, unit = interfaces[interface]
            yield Frame((high << 32 | low) * unit, linktype, data[at + 28:at + 28 + captured], length, source)
        at += size


def link_types(path: Path) -> set[int]:
    """The link types of the interfaces that a pcapng file declares."""
    data, at, types = path.read_bytes(), 0, set()
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 1:
            types.add(struct.unpack_from("<H", data, at + 8)[0])
        at += size
    return types


def merged(inputs: list[list[Frame]], keep_duplicates: bool = False) -> tuple[list[Frame], int]:
    """All frames in the order of time, ties in the order of inputs, and how many duplicates were left out.

    A duplicate is equal, from the IP header on, to a frame of another input at most 1 ms earlier that has no
    duplicate from this input yet.
    """
    frames = sorted((frame for frames in inputs for frame in frames), key=lambda frame: frame.time)
    kept, recent = [], {}
    for frame in frames:
        if frame.is_ip and not keep_duplicates:
            same = recent.setdefault(frame.packet, [])
            same[:] = [(seen, by) for seen, by in same if frame.time - seen.time <= 10**6]
            if twin := next((by for _, by in same if frame.source not in by), None):
                twin.add(frame.source)
                continue
            same.append((frame, {frame.source}))
        kept.append(frame)
    return kept, len(frames) - len(kept)


@dataclass(frozen=True)
class Redirects:
    """Where netfilter sends what it redirects, with addresses as they are in packets."""
    proxies: frozenset[bytes]
    ports: frozenset[int]
    mirrored: frozenset[bytes]      # the pod's addresses, to which calls to 127.0.0.1 are sent


def packed(addresses) -> frozenset[bytes]:
    return frozenset(ipaddress.ip_address(address).packed for address in addresses)


@dataclass
class Header:
    """What is in an IP packet, as far as a repair is concerned; offsets into the packet."""
    destination: bytes
    protocol: int
    addresses: range
    checksum: range         # of the IPv4 header
    transport: int
    first: bool             # not a later fragment

    @staticmethod
    def of(packet: bytes) -> "Header | None":
        if len(packet) >= 20 and packet[0] >> 4 == 4:
            later = struct.unpack_from(">H", packet, 6)[0] & 0x1fff
            return Header(packet[16:20], packet[9], range(12, 20), range(10, 12), packet[0] % 16 * 4, not later)
        if len(packet) >= 40 and packet[0] >> 4 == 6:
            return Header(packet[24:40], packet[6], range(8, 40), range(0), 40, True)
        return None

    def checksum_of_transport(self) -> range:
        at = {6: 16, 17: 6}.get(self.protocol)
        return range(self.transport + at, self.transport + at + 2) if at and self.first else range(0)

    def to_proxy(self, packet: bytes, redirects: "Redirects") -> bool:
        """A redirected packet: to an address and a port of the proxy (or a later fragment); or one of a mirrored call."""
        if self.protocol not in (6, 17):
            return False
        source = packet[self.addresses.start:self.addresses.stop - len(self.destination)]
        if redirects.mirrored and {source, self.destination} & LOOPBACKS:
            return {source, self.destination} <= LOOPBACKS | redirects.mirrored
        if self.destination not in redirects.proxies:
            return False
        return not self.first or struct.unpack_from(">H", packet, self.transport + 2)[0] in redirects.ports

    def repairable(self) -> set[int]:
        """Where a repair may change bytes: addresses, ports, checksums."""
        ports = range(self.transport, self.transport + 4) if self.first else range(0)
        return {*self.addresses, *self.checksum, *ports, *self.checksum_of_transport()}


def partial_checksum(packet: bytes, header: Header) -> int:
    """What checksum offload leaves in the packet: the sum over the pseudo header, not complemented (Linux
    CHECKSUM_PARTIAL). The length is that of the captured packet."""
    words = packet[header.addresses.start:header.addresses.stop]
    total = sum(struct.unpack(f">{len(words) // 2}H", words)) + header.protocol + len(packet) - header.transport
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return total


def change(before: Frame, after: Frame, redirects: Redirects) -> str:
    """What became of a frame: same, completed (a partial checksum), repaired; anything else is a sentence."""
    if before.linktype == after.linktype and before.link != after.link:
        return "the link header was changed"
    old, new = before.packet, after.packet
    if before.length - len(before.data) != after.length - len(after.data) or len(old) != len(new):
        return "the length was changed"
    if old == new:
        return "same"
    changed = {i for i in range(len(old)) if old[i] != new[i]}
    header = Header.of(old) if before.is_ip else None
    if header is None:
        return "a frame that is not IP was changed"
    where = header.checksum_of_transport()
    if changed <= set(where):
        was = int.from_bytes(old[where.start:where.stop])
        return "completed" if was == partial_checksum(old, header) else "a checksum that was not partial was changed"
    if header.to_proxy(old, redirects) and changed <= header.repairable():
        return "repaired"
    if header.protocol in (1, 58) and len(old) > header.transport + 8:      # ICMP: the quoted packet
        start = header.transport + 8
        quoted = Header.of(old[start:])
        allowed = {start + i for i in quoted.repairable()} if quoted and quoted.to_proxy(old[start:], redirects) else set()
        if changed <= allowed | {*header.addresses, *header.checksum, header.transport + 2, header.transport + 3}:
            return "repaired"
    return f"an untouchable packet was changed at {sorted(changed)[:8]} after the IP header"
