#!/usr/bin/env python3
"""Ties: which leg belongs to which on the other side of the proxy. Records pods whose truth is known, and judges.

    ties.py record DIR [--seeds 1..20] [--scenario many-clients|two-pods] [--load gentle|bursty|heavy]
                       [--clients N] [--http SHARE] [--ipv6 SHARE]
    ties.py judge MESHPCAP DIR...

`record` writes a folder for each seed, SCENARIO-SEED in DIR, with captures, logs and truth.json. `judge` runs
`meshpcap merge` on such folders, with and without their logs, and holds report and output against the truth; exit
status 1 if a tie is wrong or missing where it must be. Needs what live.py needs, and `pip install h2`.
"""
import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                                      # noqa: E402
import sidecar                                                          # noqa: E402
import tie_judge                                                        # noqa: E402
import tie_mesh                                                         # noqa: E402
import tie_plan                                                         # noqa: E402
import tie_truth                                                        # noqa: E402
from pod import Options, Pod, RigError, TooBusy, make_certificates, remove_stale      # noqa: E402
from record import record                                               # noqa: E402

KEPT = ("eth0.pcap", "lo.pcap", "access.log", "access.json", "keys.log", "iptables", "ip6tables", "conntrack",
        "conntrack-extended", "conntrack-events", "envoy.json", "truth.jsonl")


class Running:
    """The clients of a plan, in a pod; they are done when wait() returns, and end with finish()."""

    def __init__(self, pod: Pod, plan: dict):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", pod.namespace, sys.executable, str(tie_mesh.CLIENTS), str(pod.truth)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()

    def wait(self):
        if self.process.stdout.readline() != "done\n":
            raise RigError(f"the clients failed: {self.process.communicate()[1][-500:]}")

    def finish(self):
        _, errors = self.process.communicate("\n")
        if self.process.returncode:
            raise RigError(f"the clients failed: {errors[-3000:]}")


def write_down(pod: Pod):
    """What stands when the capture ends."""
    (pod.folder / "conntrack").write_text(pod.inside("conntrack", "-L"))
    (pod.folder / "conntrack-extended").write_text(pod.inside("conntrack", "-L", "-o", "extended"))
    time.sleep(0.5)                                 # the proxy writes its log every 200 ms
    for name in ("access.log", "access.json"):      # now: what comes when the proxy ends is not there in real life
        shutil.copy(pod.folder / name, pod.folder / f"{name}.kept")


def watched(mesh: tie_mesh.TieMesh, pods: tuple[Pod, ...], plan: dict, midstream: bool):
    """Runs the plan in pod `a`, and captures on `pods`."""
    watchers = []
    for pod in pods:
        with open(pod.folder / "conntrack-events", "w") as file:
            watchers.append(subprocess.Popen(["ip", "netns", "exec", pod.namespace, "conntrack", "-E", "-b", "8388608",
                                              "-o", "timestamp,id"], stdout=file, stderr=subprocess.DEVNULL))
    clients = None
    try:
        if midstream:
            clients = Running(mesh.a, plan)
            time.sleep(1.5)
        with record(mesh, pods=pods, heavy=True):
            clients = clients or Running(mesh.a, plan)
            clients.wait()
    finally:
        for watcher in watchers:
            watcher.send_signal(signal.SIGINT)
            watcher.wait()
        if clients and clients.process.poll() is None and sys.exc_info()[0]:
            clients.process.kill()
    for pod in pods:
        write_down(pod)
    clients.finish()


def keep(pod: Pod, target: Path):
    target.mkdir(parents=True, exist_ok=True)
    for name in ("access.log", "access.json"):
        (pod.folder / f"{name}.kept").replace(pod.folder / name)
    for name in KEPT:
        if (pod.folder / name).exists():
            shutil.move(pod.folder / name, target / name)


class Recorder:
    def __init__(self, folder: Path, given: dict):
        self.folder, self.given = folder, given
        self.work = folder / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.work.chmod(0o755)
        self.envoy = sidecar.place(self.work)
        make_certificates(self.work / "certificates")

    def mesh(self, proxy: tie_mesh.Proxy, keepalive: int, ipv4: int = 0, ipv6: int = 0) -> tie_mesh.TieMesh:
        shutil.rmtree(self.work / "mesh", ignore_errors=True)
        return tie_mesh.TieMesh(self.work / "mesh", self.envoy, self.work / "certificates", Options(ipv6=True), proxy,
                                keepalive, ipv4, ipv6)

    def many_clients(self, seed: int, target: Path) -> str:
        wanted = tie_plan.parameters(seed, **self.given)
        ipv6 = round(wanted.clients * wanted.ipv6_share)
        mesh = self.mesh(tie_mesh.Proxy(wanted.concurrency, wanted.pool_per_client,
                                        certificate_header=wanted.certificate_header), wanted.keepalive,
                         wanted.clients - ipv6, ipv6)
        planner, certificates = tie_plan.Planner(wanted), self.work / "certificates"
        plan = {"linger": True,
                "tls": {name: str(certificates / file) for name, file in (
                    ("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))},
                "clients": [planner.client(address, mesh.b.ip6 if ":" in address else mesh.b.ip)
                            for address in mesh.addresses + mesh.addresses6]}
        with mesh:
            watched(mesh, (mesh.b,), plan, wanted.midstream)
        clients = tie_truth.rows(mesh.a.truth, "client")
        keep(mesh.b, target)
        truth = tie_truth.many_clients(target / "truth.jsonl", clients)
        pod = {"ip": mesh.b.ip, "ip6": mesh.b.ip6}
        self.write(target, {"scenario": "many-clients", "parameters": wanted.as_row(), "pod": pod, **truth})
        single = sum(len(leg["clients"]) == 1 for leg in truth["legs"])
        return (f"{wanted.load}, {wanted.clients} clients, {len(clients)} connections of them, {len(truth['legs'])} "
                f"app-side legs, {single} of one client")

    def two_pods(self, seed: int, target: Path) -> str:
        chance = random.Random(f"two-pods {seed}")
        wanted = tie_plan.parameters(seed, **{"clients": 6, "ipv6_share": 0.0, "midstream": False, **self.given})
        proxy = tie_mesh.Proxy(wanted.concurrency, False, ("1.3", "1.2", None, "1.3")[seed % 4 - 1], seed % 4 == 0)
        planner = tie_plan.Planner(tie_plan.Parameters(**{**wanted.as_row(), "mtls_share": 0.0}), tie_mesh.SERVICES)
        mesh = self.mesh(proxy, wanted.keepalive)
        plan = {"linger": True, "clients": [planner.client(None, mesh.b.ip) for _ in range(wanted.clients)]}
        chance.shuffle(plan["clients"])
        with mesh:
            watched(mesh, mesh.pods, plan, False)
        clients = tie_truth.rows(mesh.a.truth, "client")
        for pod in mesh.pods:
            keep(pod, target / pod.name)
        truth = tie_truth.two_pods(target, clients, proxy.wire is not None)
        pods = {pod.name: {"ip": pod.ip, "ip6": pod.ip6} for pod in mesh.pods}
        self.write(target, {"scenario": "two-pods", "parameters": wanted.as_row(), "wire": proxy.wire,
                            "wire_h2": proxy.wire_h2, "pods": pods, **truth})
        whole = sum(all(row[name] for name in ("a_app", "a_wire", "b_wire", "b_app")) for row in truth["exchanges"])
        return (f"{wanted.load}, TLS {proxy.wire}{', HTTP/2' if proxy.wire_h2 else ''}, {len(truth['exchanges'])} "
                f"exchanges, {whole} seen on all four, {len(truth['chains'])} chains")

    @staticmethod
    def write(target: Path, truth: dict):
        (target / "truth.json").write_text(json.dumps(truth, indent=1))

    def run(self, scenario: str, seed: int):
        target = self.folder / f"{scenario}-{seed}"
        for attempt in (1, 2, 3):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            try:
                told = (self.many_clients if scenario == "many-clients" else self.two_pods)(seed, target)
                print(f"{target.name}: {told}", flush=True)
                return
            except TooBusy as error:
                print(f"again   {target.name}: {error}", flush=True)
        raise TooBusy(f"{target.name}: this machine is too busy to capture")


def numbers(text: str) -> list[int]:
    """`3`, `1..20` or `1,4,7`."""
    return [number for part in text.split(",") for first, _, last in (part.partition(".."),)
            for number in range(int(first), int(last or first) + 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("record")
    making.add_argument("folder", type=Path, metavar="DIR")
    making.add_argument("--seeds", type=numbers, default=[1])
    making.add_argument("--scenario", choices=("many-clients", "two-pods"), default="many-clients")
    making.add_argument("--load", choices=tie_plan.LOADS)
    making.add_argument("--clients", type=int)
    making.add_argument("--http", type=float, dest="http_share", metavar="SHARE")
    making.add_argument("--ipv6", type=float, dest="ipv6_share", metavar="SHARE")
    judging = commands.add_parser("judge")
    judging.add_argument("meshpcap", type=Path)
    judging.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    options = parser.parse_args()
    if options.command == "judge":
        return tie_judge.judge_all(options.meshpcap.resolve(), options.folders)
    if os.geteuid():
        parser.error("namespaces need root")
    if not importlib.util.find_spec("h2"):
        parser.error("the clients speak HTTP/2: `pip install h2`")
    commandline.interruptible()
    remove_stale()
    given = {name: getattr(options, name) for name in ("load", "clients", "http_share", "ipv6_share")}
    recorder = Recorder(options.folder.resolve(), {name: value for name, value in given.items() if value is not None})
    try:
        for seed in options.seeds:
            recorder.run(options.scenario, seed)
    except RigError as error:
        print(f"BROKEN  {error}\nwhat was recorded is in {recorder.work}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    shutil.rmtree(recorder.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
