#!/usr/bin/env python3
"""Merges every capture of a collection by itself: tshark has to see the same packets in the output.

    collection.py MESHPCAP DIRECTORY…

For collections such as Wireshark's test/captures and tcpdump's tests. What tshark does not read whole is counted, and
merged all the same: meshpcap may refuse it, but with one clear line.
"""
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MAGICS = [bytes.fromhex(magic) for magic in (
    "0a0d0d0a", "a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "1c0001ac", "ac01001c", "1c0001ab",
    "ab01001c")]
COMPRESSED = [bytes.fromhex(magic) for magic in ("1f8b", "28b52ffd", "04224d18")]


def is_capture(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(4)
    return head in MAGICS or any(head.startswith(magic) for magic in COMPRESSED)


def packets(path: Path) -> tuple[bool, list[tuple[str, ...]]]:
    """Whether tshark read all of it; length, captured length and time of each packet."""
    fields = [word for name in ("len", "cap_len", "time_epoch") for word in ("-e", f"frame.{name}")]
    done = subprocess.run(["tshark", "-n", "-r", str(path), "-T", "fields", *fields], capture_output=True, text=True,
                          errors="replace")
    return done.returncode == 0, [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def nanoseconds(time: str) -> int:
    whole, _, fraction = time.partition(".")
    return max(0, int(whole) * 10**9 + int(fraction or 0)) if not whole.startswith("-") else 0


def check(meshpcap: Path, path: Path) -> tuple[str, str]:
    """What came of it, and what was wrong."""
    with tempfile.TemporaryDirectory(prefix="meshrig-") as folder:
        output = Path(folder) / "out.pcapng"
        done = subprocess.run([str(meshpcap), "merge", "--quiet", str(path), "-o", str(output)], capture_output=True, text=True,
                              errors="replace")
        whole, before = packets(path)
        if done.returncode not in (0, 1, 2) or (done.returncode == 2) == output.exists() or done.stderr.count("\n") > 2:
            return "WRONG", f"exit status {done.returncode}: {done.stderr.strip()}"
        if done.returncode == 2:
            return ("REFUSED", done.stderr.strip()) if whole else ("refused, as by tshark", "")
        _, after = packets(output)
        if not whole and not before:
            return "merged, not read by tshark", ""
        if Counter(packet[:2] for packet in before) != Counter(packet[:2] for packet in after):
            return "LOST", f"{len(before)} packets in, {len(after)} out"
        times = [nanoseconds(packet[2]) for packet in after]
        if times != sorted(times):
            return "UNORDERED", "time goes back"
        return ("same packets" if whole else "same packets, cut or damaged", "")


def main() -> int:
    meshpcap, folders = Path(sys.argv[1]).resolve(), sys.argv[2:]
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*") if path.is_file() and is_capture(path))
    counts = Counter()
    with ThreadPoolExecutor(2) as pool:
        for path, (what, told) in zip(paths, pool.map(lambda path: check(meshpcap, path), paths)):
            counts[what] += 1
            if told:
                print(f"{what}  {path}: {told}", flush=True)
    for what, count in sorted(counts.items()):
        print(f"{count:6}  {what}")
    failed = sum(count for what, count in counts.items() if what.isupper())
    print(f"{len(paths) - failed} passed, {failed} failed")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main())
