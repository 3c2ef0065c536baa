#!/usr/bin/env python3
"""The test of `meshpcap plan`: its filters on live captures of real parts, its script run as printed.

    planned.py MESHPCAP [filters|meshes|gateway|script|kubectl…] [--keep DIR]

Prints a row for each judgement and a closing line; exit status 1 if one failed, 2 if the rig itself could not work.
Needs what live.py needs, and shellcheck, busybox and dash.
"""
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                              # noqa: E402
import sidecar                                                  # noqa: E402
from judge import Judgement                                     # noqa: E402
from planning import PARTS                                      # noqa: E402
from pod import make_certificates                               # noqa: E402

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
            print(commandline.row(row, 34, f"{name:8} "), flush=True)
            passed, failed = passed + row.good, failed + (not row.good)
    print(f"{passed} passed, {failed} failed" + (f", {broken} broken" if broken else ""))
    return 2 if broken else 1 if failed or not passed else 0


def main() -> int:
    parser = commandline.parser(__doc__)
    options = commandline.parse(parser, "parts", PARTS)
    return commandline.run(parser, options, PROGRAMS,
                       lambda meshpcap, folder: run(Rig(meshpcap, folder), options.parts))


if __name__ == "__main__":
    sys.exit(main())
