#!/usr/bin/env python3
"""Judges the judge: spoils meshpcap's output in known ways, and each must be seen, in the row that is there for it.

    mutate.py MESHPCAP      needs what stored.py needs
"""
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import frames                                       # noqa: E402
from judge import judge                             # noqa: E402
from testdata import TESTDATA, stored_case          # noqa: E402

IP = 28 + frames.HEADER[frames.ETHERNET]        # where the IP header is in a packet block
REPAIRED = bytes([10, 96, 0, 10])       # a service's address: where a repaired packet goes


class Output:
    """A pcapng file as its blocks; packets are numbers of Enhanced Packet Blocks."""

    def __init__(self, data: bytes):
        self.blocks, at = [], 0
        while at < len(data):
            size = struct.unpack_from("<I", data, at + 4)[0]
            self.blocks.append(bytearray(data[at:at + size]))
            at += size
        self.packets = [i for i, block in enumerate(self.blocks) if block[:4] == b"\6\0\0\0"]

    def find(self, wanted) -> bytearray:
        """The first packet block whose IP packet is wanted."""
        return next(self.blocks[i] for i in self.packets if wanted(bytes(self.blocks[i][IP:])))

    def bytes(self) -> bytes:
        return b"".join(self.blocks)


def repaired(packet: bytes) -> bool:
    return packet[9] == 6 and packet[16:20] == REPAIRED


def another_port(output: Output):
    """One leg's forward half gets another service port, with right checksums: two halves again."""
    for i in output.packets:
        block = output.blocks[i]
        if repaired(bytes(block[IP:])):
            block[IP + 23] ^= 1                                             # destination port 80 -> 81
            before = struct.unpack_from(">H", block, IP + 36)[0]
            struct.pack_into(">H", block, IP + 36, (before - 1) % 0xffff)   # RFC 1624: the sum grew by one


def payload(output: Output):
    block = output.find(lambda packet: repaired(packet) and b"GET " in packet)
    block[bytes(block).index(b"GET ")] ^= 1


def untouched(output: Output):
    """An acknowledgement number of a whole leg."""
    block = output.find(lambda packet: packet[9] == 6 and not repaired(packet))
    block[IP + 20 + 11] ^= 1


def link(output: Output):
    output.blocks[output.packets[0]][28] ^= 2


def checksum(output: Output):
    block = output.find(repaired)
    block[IP + 36] ^= 0x55


def lost(output: Output):
    del output.blocks[output.packets[-1]]


def doubled(output: Output):
    output.blocks.insert(output.packets[5], output.blocks[output.packets[5]])


def order(output: Output):
    one, other = output.packets[10:12]
    output.blocks[one], output.blocks[other] = output.blocks[other], output.blocks[one]


def time(output: Output):
    block = output.blocks[output.packets[10]]
    struct.pack_into("<I", block, 16, struct.unpack_from("<I", block, 16)[0] + 1)       # 1 ns


def truncated(output: Output):
    output.blocks[-1] = output.blocks[-1][:-4]


def unstable(output: Output):
    header = output.blocks[0]
    header[bytes(header).index(b"meshpcap")] = os.urandom(1)[0] % 26 + 97


def sealed(output: Output):
    """Without one session's secrets."""
    output.blocks.remove(next(block for block in output.blocks if block[:4] == b"\x0a\0\0\0"))


def secrets_twice(output: Output):
    number = next(i for i, block in enumerate(output.blocks) if block[:4] == b"\x0a\0\0\0")
    output.blocks.insert(number, output.blocks[number])


def late_names(output: Output):
    """Names come a packet too late."""
    number = next(i for i, block in enumerate(output.blocks) if block[:4] == b"\4\0\0\0")
    packet = next(i for i in output.packets if i > number)
    output.blocks.insert(packet, output.blocks.pop(number))


def streams(report: str) -> str:
    """The report numbers its first two streams the other way round."""
    lines = [line.split(",") for line in report.splitlines()]
    column = lines[0].index("tcp_stream")
    lines[1][column], lines[2][column] = lines[2][column], lines[1][column]
    return "\n".join(map(",".join, lines)) + "\n"


def one_stream(output: Output):
    """The first leg that the proxy makes on lo in a client's name gets the port of the client's own leg on eth0."""
    client, ports = bytes([172, 21, 206, 1]), {}
    for i in output.packets:
        packet, interface = output.blocks[i][IP:], bytes(output.blocks[i][8:12])
        if packet[0] == 0x45 and client in (packet[12:16], packet[16:20]):
            at = IP + (20 if packet[12:16] == client else 22)
            port = struct.unpack_from(">H", output.blocks[i], at)[0]
            first = ports.setdefault(interface, port)
            other = next((known for where, known in ports.items() if where != interface), None)
            if other and first == port and interface != next(iter(ports)):
                add = struct.unpack_from(">H", output.blocks[i], IP + 36)[0] + port - other     # RFC 1624
                struct.pack_into(">H", output.blocks[i], at, other)
                struct.pack_into(">H", output.blocks[i], IP + 36, add % 0xffff)


# mutation: a row that must be red
OUTPUTS = {another_port: "clients", payload: "follow", untouched: "bytes", link: "bytes", checksum: "checksums",
           lost: "packets", doubled: "packets", order: "time", time: "bytes", truncated: "opens",
           unstable: "same again", one_stream: "legs apart"}
# of an output with secrets and names
BESIDE = {sealed: "decrypted HTTP", secrets_twice: "only what began", late_names: "names"}


def spoil():
    """As meshpcap: runs the real one (REAL) and spoils what it wrote (MUTATION)."""
    done = subprocess.run([os.environ["REAL"], *sys.argv[1:]], capture_output=True)
    name = os.environ["MUTATION"]
    if sys.argv[1] == "check":
        sys.stdout.write('{"findings": []}' if name == "blind" else done.stdout.decode())
        return done.returncode
    output = Path(sys.argv[sys.argv.index("-o") + 1])
    report = Path(sys.argv[sys.argv.index("--report") + 1])
    if name == "unrepaired":
        inputs = sys.argv[2:sys.argv.index("-o")]
        subprocess.run(["mergecap", "-w", output, *inputs], check=True)
    elif name == "streams":
        report.write_text(streams(report.read_text()))
    elif name != "blind":           # which is spoiled above
        spoiled = Output(output.read_bytes())
        globals()[name](spoiled)
        output.write_bytes(spoiled.bytes())
    sys.stderr.buffer.write(done.stderr)
    return done.returncode


def main() -> int:
    os.environ["REAL"] = str(Path(sys.argv[1]).resolve())
    names = ("basic", "ambient-same-addresses", "secrets-tls13", "forgotten")
    basic, ambient, secrets, forgotten = stored = [stored_case(TESTDATA / name) for name in names]
    expected = {function.__name__: (row, basic) for function, row in OUTPUTS.items()}
    expected |= {"unrepaired": ("clients", basic), "streams": ("report", basic), "one_stream": ("legs apart", ambient),
                 "blind": ("check", forgotten)}
    expected |= {function.__name__: (row, secrets) for function, row in BESIDE.items()}
    unseen = []
    with tempfile.TemporaryDirectory(prefix="meshrig-") as folder:
        for case in stored:
            good = Path(folder) / f"good-{case.name}"
            if red := [j.what for j in judge(Path(os.environ["REAL"]), case, good) if not j.good]:
                sys.exit(f"the unspoiled output of {case.name} is red: {red}")
        for name, (row, case) in expected.items():
            os.environ["MUTATION"] = name
            red = [j.what for j in judge(Path(__file__).resolve(), case, Path(folder) / name) if not j.good]
            print(f"{'seen' if row in red else 'NOT SEEN'}  {name:14} red: {', '.join(red)}")
            unseen += [] if row in red else [name]
    print(f"{len(expected) - len(unseen)} of {len(expected)} mutations seen")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(spoil() if "MUTATION" in os.environ else main())
