#!/usr/bin/env python3
"""The test of `meshpcap plan`: its filters on live captures of real parts, its script run as printed.

    planned.py MESHPCAP [filters|meshes|gateway|script|kubectl…] [--keep DIR]

Prints a row for each judgement and a closing line; exit status 1 if one failed, 2 if the rig itself could not work.
Needs what live.py needs, and shellcheck and busybox.
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import sidecar                                                  # noqa: E402
from judge import Judgement                                     # noqa: E402
from planning import PARTS                                      # noqa: E402
from pod import make_certificates, remove_stale                 # noqa: E402

PROGRAMS = ("ip", "iptables-restore", "ip6tables-restore", "iptables-save", "conntrack", "nft", "ss", "tcpdump", "tshark",
            "mergecap", "reordercap", "capinfos", "openssl", "setpriv", "nsenter", "timeout", "tar", "shellcheck",
            "busybox", "dash", "bash")


class Rig:
    """What the parts share."""

    def __init__(self, meshpcap: Path, folder: Path):
        self.meshpcap, self.folder = meshpcap, folder
        self.certificates = folder / "certificates"
        self.envoy = sidecar.place(folder)
        make_certificates(self.certificates)


def run(rig: Rig, names: list[str]) -> int:
    passed, failed, broken = 0, 0, 0
    for name in names:
        try:
            rows: list[Judgement] = PARTS[name](rig, rig.folder / name)
        except Exception as error:
            traceback.print_exception(error)
            print(f"BROKEN  {name}: {error}", flush=True)
            broken += 1
            continue
        for row in rows:
            print(f"{'pass' if row.good else 'FAIL'}  {name:8} {row.what:34} {row.told}".rstrip(), flush=True)
            passed, failed = passed + row.good, failed + (not row.good)
    print(f"{passed} passed, {failed} failed" + (f", {broken} broken" if broken else ""))
    return 2 if broken else 1 if failed or not passed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshpcap", type=Path, nargs="?")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--check", action="store_true", help="only tell whether everything needed is there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep everything in this new directory")
    options = parser.parse_intermixed_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {' '.join(PARTS)}")
    if os.geteuid():
        parser.error("namespaces need root")
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        parser.error(f"not installed: {' '.join(missing)}")
    sidecar.find()
    if options.check:
        return 0
    if not options.meshpcap:
        parser.error("which meshpcap?")
    if options.keep and options.keep.exists():
        parser.error(f"{options.keep} exists")
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="meshrig-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)                         # Envoy runs as another user
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    remove_stale()
    try:
        return run(Rig(options.meshpcap.resolve(), folder), options.parts or list(PARTS))
    except KeyboardInterrupt:
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
