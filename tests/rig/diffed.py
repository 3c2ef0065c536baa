#!/usr/bin/env python3
"""The live test of `meshpcap diff`: one scenario recorded again, and with one thing changed, in pods made afresh.

    diffed.py MESHPCAP [--apart SECONDS] [--keep DIR]

Prints a row for each judgement and a closing line; exit status 1 if one failed, 2 if the rig itself could not work.
Needs what live.py needs.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                              # noqa: E402
import sidecar                                                  # noqa: E402
from judge import Judgement                                     # noqa: E402
from live import PROGRAMS                                       # noqa: E402
from pod import Mesh, Options, TooBusy, make_certificates                   # noqa: E402
from record import record                                       # noqa: E402
from steps import SERVICE_HTTP, SERVICE_NOBODY, SERVICE_SELF, SERVICE_TCP, at_once, dns, echo, http, sleep  # noqa: E402

# A field that counts, and three that do not; {} differs each time.
FIELDS = "x-tenant: {tenant}\r\nx-request-id: {random}\r\ntraceparent: 00-{random}-01\r\nDate: {random}\r\n"


def fields(tenant: str = "red") -> str:
    return FIELDS.format(tenant=tenant, random=os.urandom(16).hex())


def steps(tenant: str = "red", more: bool = False, close: str = "fin") -> list[dict]:
    """What the clients of pod a do."""
    return [
        http(SERVICE_HTTP, 3, size=3000, fields=fields()),
        http(SERVICE_HTTP, 1, body=70000, fields=fields(tenant)),
        at_once(echo(SERVICE_TCP, 3, size=100), echo(SERVICE_TCP, 2, size=40), http(SERVICE_SELF, 2, fields=fields())),
        sleep(0.2),
        echo(SERVICE_TCP, 2, size=20000, close=close),
        sleep(0.2),
        dns("web.default.svc.cluster.local", "db.default.svc.cluster.local"),
        http(SERVICE_NOBODY, dropped=True),
        http(SERVICE_HTTP, 1, size=1, fields=fields()),
        # Last, since clients number what they do.
        *([echo(SERVICE_TCP, 1, size=77)] if more else []),
        sleep(0.5),
    ]


# What a busy machine may add to a recording.
BUSY = ("--ignore", "retransmission,loopback-retransmission,zero-window")


class Rig:
    """Recordings, each of a mesh of its own."""

    def __init__(self, meshpcap: Path, folder: Path):
        self.meshpcap, self.folder = meshpcap, folder
        self.certificates, self.envoy = folder / "certificates", sidecar.place(folder)
        make_certificates(self.certificates)

    def record(self, name: str, **changed) -> Path:
        """A folder for each pod, with its captures, rules and logs. A second try if the machine was too busy."""
        for folder in (self.folder / name, self.folder / f"{name}-again"):
            try:
                with Mesh(folder, self.envoy, self.certificates, Options(dns=True)) as mesh:
                    with record(mesh):
                        mesh.a.client(*steps(**changed))
                return folder
            except TooBusy as error:
                print(f"again   {name}: {error}", flush=True)
        raise TooBusy(f"{name}: this machine is too busy to capture")

    def diff(self, *arguments: object) -> tuple[int, str, str]:
        return self.run("diff", *arguments)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        done = subprocess.run([self.meshpcap, *map(str, arguments)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def differences(self, *arguments: object) -> list[dict]:
        """Each with its kind and what of it changed."""
        status, out, err = self.diff(*arguments, "--json")
        told = json.loads(out) if out else {"differences": [], "same": None}
        if status not in (0, 1) or told["same"] != (status == 0):
            raise RuntimeError(f"status {status}: {out}{err}")
        return told["differences"]


def brief(difference: dict) -> str:
    leg = difference["new"] or difference["old"]
    changed = "; ".join(f"{f['what']}: {f['old']} -> {f['new']}" for f in difference["fields"])
    return f"{difference['kind']} {leg['role']} {leg['server']} {changed}".strip()


def same(rig: Rig, what: str, *arguments: object, command: str = "diff") -> Judgement:
    status, out, err = rig.run(command, *arguments)
    return Judgement(what, status == 0 and not out, f"{out}{err}".strip()[:2000])


def exactly(rig: Rig, what: str, arguments: list, expected: list[str]) -> Judgement:
    """The differences are these, one regular expression each."""
    found = [brief(difference) for difference in rig.differences(*arguments)]
    left = list(found)
    for pattern in expected:
        match = next((one for one in left if re.fullmatch(pattern, one)), None)
        if match is None:
            return Judgement(what, False, f"no {pattern} in {found}")
        left.remove(match)
    return Judgement(what, not left, " | ".join(left or found))


def judge(rig: Rig, apart: float) -> list[Judgement]:
    started = time.time()
    first = rig.record("first")
    header, more, reset = rig.record("header", tenant="blue"), rig.record("more", more=True), rig.record("reset", close="rst")
    time.sleep(max(0.0, apart - (time.time() - started)))
    between = time.time() - started
    second = rig.record("second")
    rows = []
    for pod in "ab":
        rows.append(same(rig, f"{pod}: again, {between:.0f} s later", first / pod, second / pod))
        # Without the logs ties are inferred, which differs in what it can prove.
        captures = [[folder / pod / name for name in ("eth0.pcap", "lo.pcap")] for folder in (first, second)]
        rows.append(same(rig, f"{pod}: again, captures alone", *captures[0], "--to", *captures[1]))
    for folder in (first, second):
        fixed = folder / "fixed.pcapng"
        subprocess.run([rig.meshpcap, "merge", "-q", folder / "a", "-o", fixed], check=True, capture_output=True)
    rows.append(same(rig, "a: repaired files", first / "fixed.pcapng", second / "fixed.pcapng"))
    rows.append(same(rig, "a: repaired and not", first / "fixed.pcapng", second / "a"))

    tenant = r"changed {} sent, message 1 \(POST /\S+ HTTP/1.1\), header x-tenant: red -> blue"
    rows.append(exactly(rig, "a: one header", [first / "a", header / "a"], [tenant.format(r"outbound-app 10.96.0.10:80")]))
    rows.append(same(rig, "a: that header ignored", first / "a", header / "a", "--ignore-header", "X-Tenant"))
    rows.append(exactly(rig, "a: one connection more", [first / "a", more / "a"],
                        [r"added outbound-app 10.96.0.20:6379", r"added outbound-peer 172.21.206.228:6379"]))
    rows.append(exactly(rig, "b: one connection more", [first / "b", more / "b"],
                        [r"added inbound-peer 172.21.206.228:6379", r"added inbound-app 172.21.206.228:6379"]))
    # Envoy hands a reset on: every leg of the connection has it.
    end = "changed {} end: closed by both -> reset by the client"
    for pod, legs in (("a", ("outbound-app 10.96.0.20:6379", "outbound-peer 172.21.206.228:6379")),
                      ("b", ("inbound-peer 172.21.206.228:6379", "inbound-app 172.21.206.228:6379"))):
        rows.append(exactly(rig, f"{pod}: one reset", [first / pod, reset / pod], [end.format(leg) for leg in legs]))

    # A regression trace: written once, held against, and found out.
    trace = first / "trace"
    shutil.copytree(first / "a", trace)
    status, out, err = rig.run("check", "--bless", trace)
    rows.append(Judgement("trace: written", status == 0 and (trace / "expect.json").exists(), err.strip()))
    rows.append(same(rig, "trace: held", "--expect", trace, command="check"))
    for name in ("eth0.pcap", "lo.pcap", "access.log", "conntrack"):
        if (second / "a" / name).exists():
            shutil.copy(second / "a" / name, trace / name)
    rows.append(same(rig, "trace: by another recording", "--expect", trace, *BUSY, command="check"))
    for name in ("eth0.pcap", "lo.pcap", "access.log", "conntrack"):
        if (header / "a" / name).exists():
            shutil.copy(header / "a" / name, trace / name)
    status, out, err = rig.run("check", "--expect", trace)
    rows.append(Judgement("trace: found out", status == 1 and out.count("header x-tenant") == 1, (out + err).strip()))
    return rows


def main() -> int:
    parser = commandline.parser(__doc__)
    parser.add_argument("--apart", type=float, default=0, help="seconds between the two recordings, at least")
    options = parser.parse_args()
    return commandline.run(parser, options, PROGRAMS,
                       lambda meshpcap, folder: commandline.tell(judge(Rig(meshpcap, folder), options.apart), 34))


if __name__ == "__main__":
    sys.exit(main())
