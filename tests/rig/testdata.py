#!/usr/bin/env python3
"""Writes testdata/ anew: records scenarios and keeps what one pod captured, with the truth beside it.

    testdata.py [DIRECTORY…]    all, or those of testdata/; needs what live.py needs, but no meshpcap
    testdata.py --to DIR SCENARIO…      every case of the scenarios, below another directory

Each directory gets the captures, truth.jsonl, case.json (what stored.py expects), and the pod's iptables rules,
conntrack entries, TLS secrets and access log. testdata/README.md is written from the scenarios' docstrings.
"""
import inspect
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import frames                               # noqa: E402
from live import Live                       # noqa: E402
from record import Case                     # noqa: E402
from scenarios import SCENARIOS             # noqa: E402

TESTDATA = Path(__file__).parents[2] / "testdata"
# directory: (scenario, pod)
KEPT = {
    "basic": ("basic", "a"), "inbound": ("basic", "b"), "both-ways": ("both-ways", "a"), "selfcall": ("selfcall", "a"),
    "dns": ("dns-capture", "a"), "dns-two-servers": ("dns-two-servers", "a"),
    "ipv6": ("ipv6", "a"), "ipv6-inbound": ("ipv6", "b"),
    "app-loopback": ("app-loopback", "b"), "four-destinations": ("four-destinations", "a"),
    "reuse-after-reset": ("reuse-after-reset", "a"), "reuse-after-fin": ("reuse-after-fin", "a"),
    "forgotten": ("forgotten", "a"), "midstream": ("midstream", "a"), "midstream-one-port": ("midstream-one-port", "a"),
    "any": ("any-interface", "a"), "any-cooked-v1": ("any-cooked-v1", "a"), "any-beside-lo": ("any-beside-lo", "a"),
    "snaplen96": ("snaplen96", "a"), "four-tcpdumps": ("four-tcpdumps", "a"), "one-direction": ("one-direction", "a"),
    "dumpcap": ("dumpcap", "a"), "fragments": ("fragments", "a"), "icmp": ("icmp", "a"),
    "icmp-translated": ("icmp-translated", "a"), "proxy-gone": ("proxy-gone", "a"),
    "ambient-same-addresses": ("ambient-clash", "a"),
    "secrets-tls12": ("secrets-tls12", "a"), "secrets-tls13": ("secrets-tls13", "b"),
    **{name: (name, "a") for name in (
        "port-collision", "silent-peer", "proxy-stopped", "stray-packet", "crash", "half-a-request", "short-packets", "plaintext-service", "strict-mtls",
        "overrun", "lost-inside", "lost-outside", "slow-reader", "capture-port", "admin-port", "telemetry-port", "bypass-user",
        "stale-ports")}}
BESIDE = ("iptables", "ip6tables", "nftables.json", "conntrack", "keys.log", "access.log", "hosts")
DEFAULTS = {field: Case.__dataclass_fields__[field].default for field in Case.__dataclass_fields__}
README = """\
# Captures of sidecar pods

Real captures: two pods as network namespaces, Istio's iptables rules, Envoy, tcpdump. Pod `a` is 172.21.206.227 and
fd00:21::227, pod `b` is 172.21.206.228 and fd00:21::228. Services: 10.96.0.10:80 and [fd00:96::10]:80 are HTTP of the
other pod, 10.96.0.20:6379 is TCP of the other pod, 10.96.0.40:80 is HTTP of the pod itself; 10.96.0.53, 10.96.0.54 and
fd00:96::53 are nameservers.

Each directory was written by `python3 tests/rig/testdata.py DIRECTORY` (as root; `tests/rig/live.py` says what it
needs), which runs the scenario named below in `tests/rig/scenarios/`. `python3 tests/rig/stored.py MESHPCAP` repairs
all of them and judges the outputs; it needs tshark and tcpdump, but neither root nor Envoy.

Beside the captures:

- `truth.jsonl`: what the applications' sockets saw, a line for each connection: `role` (client or server), `protocol`,
  `local` and `peer` address, `began` and `last` (when it was made and when bytes last moved, in seconds since 1970),
  and for `sent` and `got` the number of bytes and their SHA-256; where the capture began mid-stream, also the bytes
  (base64).
- `case.json`: the inputs in order, more arguments, and what is expected (see `Case` in `tests/rig/record.py`).
- `proxy.jsonl`: the same of the proxy's own connections (role `proxy`), where a stand-in is the proxy.
- `iptables`, `ip6tables`, `nftables.json`: the rules (`iptables-save`, `nft -j list ruleset`); `conntrack`: `conntrack -L -o extended` at the end;
  `keys.log`: the proxy's TLS secrets; `access.log`: the proxy's access log, in Istio's default format; `hosts`: names
  of addresses.

"""


def keep(target: Path, pod: str, scenario: str, case: Case):
    """Writes one directory."""
    folder = case.truth.parent
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in case.inputs:
        shutil.copy(path, target / path.name)
    # Of an incident, all is in what check finds.
    for name in ("truth.jsonl", "proxy.jsonl") if case.codes is None else ():
        if not (folder / name).exists():
            continue
        with open(target / name, "w") as truth:
            for line in (folder / name).read_text().splitlines():
                row = json.loads(line)
                if case.compare != "suffix":
                    row["sent"].pop("base64", None)
                    row["got"].pop("base64", None)
                truth.write(json.dumps(row) + "\n")
    for file in {*BESIDE, *(path.name for path in case.rules)}:
        if (folder / file).exists() and (folder / file).stat().st_size:
            shutil.copy(folder / file, target / file)
    expected = {"scenario": scenario, "pod": pod, "inputs": [path.name for path in case.inputs],
                "own": sorted(case.own)}
    for field in DEFAULTS:
        value = getattr(case, field)
        if field == "rules":
            value = tuple(path.name for path in value)
        if field not in ("name", "truth", "inputs", "own") and value != DEFAULTS[field]:
            expected[field] = sorted(value) if isinstance(value, frozenset) else value
    (target / "case.json").write_text(json.dumps(expected, indent=1) + "\n")


def stored_case(folder: Path) -> Case:
    """The case that keep() wrote."""
    row = json.loads((folder / "case.json").read_text())
    row.pop("scenario"), row.pop("pod")
    for field in ("own", "ports", "may_leave", "proxy_ports", "proxies", "mirrored", "direct", "gap_rows", "alarms",
                  "mesh_alarms", "may_alarm", "codes"):
        if field in row:
            row[field] = frozenset(row[field])
    row["inputs"] = tuple(folder / name for name in row["inputs"])
    row["rules"] = tuple(folder / name for name in row.get("rules", ()))
    row["expects"] = tuple(row.get("expects", ()))
    row["arguments"] = tuple(row.get("arguments", ()))
    row["beside"] = tuple(map(tuple, row.get("beside", ())))
    return Case(name=folder.name, truth=folder / "truth.jsonl", **row)


def write_readme():
    sections = [README]
    for name in KEPT:
        if not (TESTDATA / name / "case.json").exists():
            continue
        row = json.loads((TESTDATA / name / "case.json").read_text())
        inputs = " ".join(f"testdata/{name}/{file}" for file in row["inputs"])
        shows = inspect.getdoc(SCENARIOS[row["scenario"]][0])
        where = f"Scenario `{row['scenario']}`, pod `{row['pod']}`."
        held = ", ".join(f"{file} {len(frames.read(TESTDATA / name / file))}" for file in row["inputs"])
        files = "".join(f" {option} testdata/{name}/{file}" for option, file in row.get("beside", ()))
        rules = "".join(f" --rules testdata/{name}/{file}" for file in row.get("rules", ()) if row.get("expects"))
        checked = "codes" in row or rules
        command = f"    meshpcap check {inputs}{rules}" if checked else f"    meshpcap merge {inputs} -o fixed.pcapng{files}"
        sections.append(f"## {name}\n\n{shows}\n\n{where} Packets: {held}.\n\n{command}\n\n")
    (TESTDATA / "README.md").write_text("".join(sections).rstrip() + "\n")


def keep_elsewhere(target: Path, names: list[str]):
    """Every case of the scenarios, below the target."""
    with tempfile.TemporaryDirectory(prefix="meshrig-") as folder:
        Path(folder).chmod(0o755)
        live = Live(Path("unused"), Path(folder))
        for name in names:
            for case in live.record(name):
                keep(target / name / case.name.replace(" ", "-"), case.name.split()[0], name, case)
            print(name, flush=True)


def main():
    if sys.argv[1:2] == ["--to"]:
        return keep_elsewhere(Path(sys.argv[2]), sys.argv[3:])
    wanted = sys.argv[1:] or list(KEPT)
    if unknown := set(wanted) - set(KEPT):
        sys.exit(f"no directory {', '.join(sorted(unknown))}; there are: {' '.join(KEPT)}")
    with tempfile.TemporaryDirectory(prefix="meshrig-") as folder:
        Path(folder).chmod(0o755)
        live, recorded = Live(Path("unused"), Path(folder)), {}
        for name in wanted:
            scenario, pod = KEPT[name]
            if scenario not in recorded:
                recorded[scenario] = live.record(scenario)
            case = next(case for case in recorded[scenario] if case.name.split()[0] == pod)
            keep(TESTDATA / name, pod, scenario, case)
            size = sum(file.stat().st_size for file in (TESTDATA / name).iterdir())
            print(f"{name}: {size} bytes", flush=True)
    write_readme()


if __name__ == "__main__":
    main()
