"""Judges what files beside the captures add to an output: TLS secrets, names of addresses."""
import hashlib
import re
import subprocess
from collections import Counter
from pathlib import Path

import wireshark
from record import Case

# Without it, Wireshark takes what goes to port 8080 for plain HTTP
TLS_ON_ANY_PORT = ("-o", "tcp.try_heuristic_first:TRUE")
VERSIONS = {"0x0303": "TLSv1_2", "0x0304": "TLSv1_3"}


def judge(case: Case, seen: list, output: Path, plain: Path) -> list[tuple[str, bool, str]]:
    """What was looked at, whether it is good, and what it showed. `plain` is the same capture without files beside it."""
    options = {option for option, _ in case.beside}
    judgements = []
    if "--keys" in options:
        judgements += [requests(output, plain), *streams(case, seen, output), sessions(case, output)]
    if "--names" in options:
        judgements.append(names(case, output))
    return judgements


def fields(path: Path, filter_: str, *names_: str) -> list[tuple[str, ...]]:
    words = [word for name in names_ for word in ("-e", name)]
    text = wireshark.tshark(path, *TLS_ON_ANY_PORT, "-Y", filter_, "-T", "fields", *words)
    return [tuple(line.split("\t")) for line in text.splitlines()]


def requests(output: Path, plain: Path) -> tuple[str, bool, str]:
    """Requests and responses inside the mTLS legs are those of the plaintext legs; without secrets none shows."""
    def messages(path: Path, where: str) -> Counter:
        return Counter(fields(path, f"http && {where}", "http.request.method", "http.request.uri", "http.response.code",
                              "http.file_data"))
    inside, outside, before = messages(output, "tls"), messages(output, "!tls"), messages(plain, "tls")
    good = inside == outside and bool(inside) and not before
    return "decrypted HTTP", good, (f"{inside.total()} messages inside TLS, {outside.total()} outside, "
                                    f"{before.total()} without secrets")


def streams(case: Case, seen: list, output: Path) -> list[tuple[str, bool, str]]:
    """Follow TLS Stream shows the exact bytes of the TCP connections that go through mTLS, in the version expected."""
    numbers = sorted({int(row[0]) for row in fields(output, "tls.handshake.type == 1", "tcp.stream")})
    taps = [word for number in numbers for word in ("-z", f"follow,tls,raw,{number}")]
    shown = set()
    for block in re.split(r"^Follow: ", wireshark.tshark(output, *TLS_ON_ANY_PORT, "-q", *taps), flags=re.M)[1:]:
        sent = [bytearray(), bytearray()]
        for tab, text in re.findall(r"^(\t?)([0-9a-f]+)$", block, re.M):
            sent[bool(tab)] += bytes.fromhex(text)
        shown.add(tuple(hashlib.sha256(data).hexdigest() for data in sent))
    through = [one for one in seen if 6379 in (one.local[1], one.peer[1])]
    sides = [(one.sent, one.got) if one.role == "client" else (one.got, one.sent) for one in through]
    whole = sum((client["sha256"], server["sha256"]) in shown for client, server in sides)
    # what a ServerHello of TLS 1.3 says of its version stands in an extension
    hellos = fields(output, "tls.handshake.type == 2", "tls.handshake.version", "tls.handshake.extensions.supported_version")
    versions = {VERSIONS.get(newer or older, newer or older) for older, newer in hellos}
    return [("decrypted TCP", whole == len(through) > 0, f"{whole}/{len(through)} exact bytes"),
            ("TLS version", versions == {case.tls}, f"{len(hellos)} sessions of {' '.join(sorted(versions))}")]


def sessions(case: Case, output: Path) -> tuple[str, bool, str]:
    """The output holds the secrets of the sessions that begin in it, and of no other; the key log holds more."""
    held = subprocess.run(["editcap", "--extract-secrets", str(output), "/dev/stdout"], capture_output=True)
    if held.returncode:         # editcap before 4.2
        held_text = secrets_blocks(output)
    else:
        held_text = held.stdout
    randoms = {line.split()[1].lower() for line in held_text.splitlines()}
    begun = {row[0].encode() for row in fields(output, "tls.handshake.type == 1", "tls.handshake.random")}
    logs = [case.truth.parent / name for option, name in case.beside if option == "--keys"]
    known = {line.split()[1].lower() for log in logs for line in log.read_bytes().splitlines()}
    lines = Counter(held_text.splitlines())
    good = randoms == begun & known == begun and max(lines.values(), default=0) == 1 and len(known) > len(randoms)
    return "only what began", good, f"secrets of {len(randoms)} sessions; {len(begun)} begin, the key log has {len(known)}"


def secrets_blocks(path: Path) -> bytes:
    """The text of all Decryption Secrets Blocks of a little-endian pcapng file."""
    data, at, text = path.read_bytes(), 0, b""
    while at < len(data):
        kind, length = (int.from_bytes(data[at + i:at + i + 4], "little") for i in (0, 4))
        if kind == 10:
            text += data[at + 16:at + 16 + int.from_bytes(data[at + 12:at + 16], "little")]
        at += length
    return text


def names(case: Case, output: Path) -> tuple[str, bool, str]:
    """tshark, which reads once from front to end, has a name for every address of the file of names from its first packet."""
    named = {}
    for option, name in case.beside:
        if option == "--names":
            for line in (case.truth.parent / name).read_text().splitlines():
                address, first, *_ = line.split()
                named.setdefault(address, first)
    shown = subprocess.run(["tshark", "-r", str(output), "-N", "n", "-T", "fields",
                            *(word for family in ("ip", "ipv6") for end in ("src", "dst")
                              for field in (f"{family}.{end}", f"{family}.{end}_host") for word in ("-e", field))],
                           capture_output=True, text=True, check=True).stdout
    good = total = 0
    for line in shown.splitlines():
        cells = (line + "\t" * 8).split("\t")
        for address, host in zip(cells[:8:2], cells[1:8:2]):
            # of an ICMP error, the quoted address stands behind
            address, host = address.split(",")[0], host.split(",")[0]
            if address in named:
                total += 1
                good += host == named[address]
    return "names", good == total > 0, f"{good}/{total} addresses named"
