#!/usr/bin/env python3
"""Holds the model of netfilter against the kernel: real connections and datagrams under real rules.

Usage (as root): agree.py MESHPCAP RULES... [--probes N] [--seed SEED] [--only TEXT]

RULES are files (iptables-save as .rules, with .v6. in the name for IPv6; nft -j as .nft.json) or folders of them. Each
set that loads here is loaded into a namespace made for it; sockets with drawn owners, marks, sources and interfaces send
to drawn destinations; the receiving socket and conntrack say what happened, `meshpcap explain` said it before. A
disagreement is shrunk to the smallest rules and probe. The exit status is 1 if there is one.
"""

import argparse
import collections
import glob
import json
import os
import random
import re
import subprocess
import sys
import time

import pod as lab

BATCH = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshpcap")
    parser.add_argument("rules", nargs="+")
    parser.add_argument("--probes", type=int, default=200, help="for each set of rules (default 200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", default="", help="only files whose path has this text")
    args = parser.parse_args()
    files = []
    for place in args.rules:
        found = sorted(glob.glob(f"{place}/**/*", recursive=True)) if os.path.isdir(place) else [place]
        files += [f for f in found if f.endswith((".rules", ".nft.json")) and args.only in f]
    print(f"seed {args.seed}")
    total, failures, begin = collections.Counter(), 0, time.monotonic()
    for path in files:
        random_of_set = random.Random(f"{args.seed} {os.path.basename(path)}")
        with open(path) as file:
            text = file.read()
        counts, wrong = check(args.meshpcap, path, text, args.probes, random_of_set)
        total.update(counts)
        print(f"{path}: {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}", flush=True)
        if wrong:
            failures += 1
            shrink(args.meshpcap, path, text, wrong)
    seconds = time.monotonic() - begin
    print(f"{total['probes']} probes, {total['disagree']} disagree, {total['undecided']} undecided, "
          f"{total['not sent']} not sent, {total['sets']} sets, {seconds:.0f} s, seed {args.seed}")
    return 1 if failures or total["probes"] == 0 else 0


def check(meshpcap, path, text, wanted, rng, probes=None):
    """Draws probes (or takes those given) and counts what came of them; returns the first disagreement too."""
    counts, wrong = collections.Counter(), None
    words = Words(text)
    pod = lab.Pod(words.interfaces)
    try:
        try:
            pod.load(path, text)
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            return collections.Counter({f"sets that do not load ({first[:80]})": 1}), None
        model = Model(meshpcap, path, text, pod)
        if not model.reads():
            return collections.Counter({"sets that are refused": 1}), None
        pod.listen(words.ports)
        pod.watch()
        counts["sets"] = 1
        drawn = 0
        while drawn < wanted:
            batch = probes or draw_batch(rng, words, pod, min(BATCH, wanted - drawn))
            drawn += len(batch)
            verdicts = [model.verdict(probe) for probe in batch]
            arriving = [n for n, v in enumerate(verdicts) if v["outcomes"][0]["fate"] in ("delivered", "sent", "proxied")]
            for probe, verdict, (got, new) in zip(batch, verdicts, pod.try_batch(batch, arriving)):
                what, reason = compare(probe, verdict, got, new, words)
                if what == "disagree" and probes is None:
                    # Once more and alone: a lost packet is no disagreement.
                    [(got, new)] = pod.try_batch([probe], [0])
                    what, reason = compare(probe, verdict, got, new, words)
                counts[what] += 1
                counts["probes"] += what not in ("not sent", "undecided")
                if what == "disagree" and wrong is None:
                    wrong = (probe, verdict, got, new, reason)
        model.end()
        return counts, wrong
    finally:
        pod.remove()


class Words:
    """What a rules file names: to draw what its rules can tell apart."""

    def __init__(self, text):
        self.is_json = text.lstrip().startswith("{")
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        keys = (lambda *names: [w for n in names for w in re.findall(rf'"{n}"}}}}, "right": "?([^",}}\s]+)', text)]) if self.is_json else None
        find = lambda pattern: re.findall(pattern, text)
        if self.is_json:
            names, uids, gids = keys("iifname", "oifname"), keys("skuid"), keys("skgid")
            marks = find(r'"key": "mark"}}, \d+\]}, "right": (\d+)') + keys("mark") + find(r'"value": (\d+)')
            ports = find(r'port"?}*, "right": (\d+)') + find(r'"port": (\d+)') + re.findall(r"\d+", " ".join(find(r'"(?:set|range)": \[([\d, ]+)\]')))
            addresses = find(r'addr"}}, "right": "([0-9a-f.:]+)"') + find(r'"addr": "([0-9a-f.:]+)"')
        else:
            names = find(r"-[io] (\S+)")
            uids, gids = find(r"--uid-owner (\d+)"), find(r"--gid-owner (\d+)")
            marks = find(r"mark (0x[0-9a-f]+)")
            ports = re.findall(r"\d+", " ".join(find(r"(?:ports?|on-port) ([\d,:]+)") + find(r"--to-destination \S+:(\d+)$")))
            addresses = find(r"(?:-s|-d|to-destination|to-source) \[?([0-9a-f.:]+?)(?:\]|/|:\d+$|\s|$)")
        names = {n.rstrip("+*") + ("0" if n[-1] in "+*" else "") for n in names} - {"lo"}
        self.interfaces = ["eth0"] + sorted(names - {"eth0"})
        near = lambda numbers: sorted({max(0, int(n, 0) + d) for n in numbers for d in (0, 1)})
        self.uids = near(uids) + [0, 1000]
        self.gids = near(gids) + [0, 1000]
        self.marks = sorted({int(m, 0) ^ x for m in marks for x in (0, 1, 0x1000)} | {0, 7})
        self.named_ports = sorted({int(p) for p in ports if 0 < int(p) < 65535})[:60]
        self.ports = sorted(set(self.named_ports) | {80, 53, 8080} | {p + 1 for p in self.named_ports[:10]})
        usable = [a for a in addresses if re.search(r"[1-9a-f]", a) and not a.endswith(":ffff")]
        # Of a network, its first address and one inside it.
        self.v4 = sorted({a for x in usable if "." in x and ":" not in x for a in (x, re.sub(r"\.0$", ".9", x))
                          if not a.endswith(".0") and not a.startswith(("0.", "10.244."))})
        self.v6 = sorted({x + "5" if x.endswith("::") else x for x in usable if ":" in x and x.count(":") > 1})
        self.only = None if self.is_json else ("v6" if re.search(r"-[sd] \S*:\S*:", text) else None)
        self.has_nat = "nat" in text


def draw_batch(rng, words, pod, size):
    batch, used = [], set()
    while len(batch) < size:
        probe = draw(rng, words, pod)
        key = (probe["protocol"], lab.address(probe["source"])[1])
        if key not in used:
            used.add(key)
            batch.append(probe)
    return batch


def draw(rng, words, pod):
    v6 = rng.random() < pod_share(words)
    tcp = rng.random() < 0.7
    dport = rng.choice(words.named_ports) if words.named_ports and rng.random() < 0.6 else rng.choice(words.ports)
    sport = rng.choice(words.named_ports) if words.named_ports and rng.random() < 0.1 else rng.randrange(20000, 60000)
    own = [a for a in pod.addresses["eth0"] if (":" in a) == v6]
    named = words.v6 if v6 else words.v4
    probe = {"protocol": "tcp" if tcp else "udp"}
    if rng.random() < 0.3:
        probe["in"] = rng.choice(words.interfaces)
        k = words.interfaces.index(probe["in"])
        sources = [f"fd00:244:{k}::9" if v6 else f"10.244.{k}.9"] + [a for a in named if not is_loopback(a)]
        source = rng.choice(sources)
        destination = rng.choice([a for a in pod.addresses[probe["in"]] if (":" in a) == v6])
    else:
        loop = "::1" if v6 else "127.0.0.1"
        loops = [loop, "::6"] if v6 else [loop, "127.0.0.6", "127.0.0.53", "127.255.0.5"]
        others = ["fd00:96::10", "fd00:244:0::9"] if v6 else ["10.96.0.10", "10.244.0.9"]
        destination = rng.choice(rng.choice([own, loops, others, named or others]))
        is_here = destination in own or is_loopback(destination) or destination in loops
        # From ::1, only addresses of lo can be reached, whatever the rules.
        from_lo = loops[:2] if is_here and not (v6 and destination in own) else []
        source = rng.choice(own + from_lo)
        probe.update(uid=rng.choice(words.uids), gid=rng.choice(words.gids), mark=rng.choice([0, rng.choice(words.marks)]))
    probe.update(source=lab.end(source, sport), destination=lab.end(destination, dport))
    return probe


def pod_share(words):
    """How many probes are IPv6: those of the family that the rules are for, and a few of the other."""
    if words.is_json:
        return 0.5
    return 0.95 if words.only == "v6" else 0.05


def is_loopback(address):
    return address.startswith("127.") or address == "::1"


class Model:
    """`meshpcap explain`, which answers line by line."""

    def __init__(self, meshpcap, path, text, pod):
        # Under its own name: the IP version may show nowhere else.
        self.file = f"/tmp/agree-{os.getpid()}-{os.path.basename(path)}"
        with open(self.file, "w") as file:
            file.write(text)
        addresses = [f"--address={name}={a}" for name, all in pod.addresses.items() for a in all] + ["--address=lo=::6"]
        self.process = subprocess.Popen([meshpcap, "explain", "--rules", self.file, *addresses, "--probes", "-"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def reads(self):
        try:
            self.verdict(dict(protocol="tcp", source="10.0.0.1:1", destination="10.0.0.2:2"))
            return True
        except (BrokenPipeError, json.JSONDecodeError):
            self.end()
            return False

    def verdict(self, probe):
        line = {key: probe[key] for key in ("uid", "gid", "mark", "in") if key in probe}
        line.update(probe=f"{probe['protocol']} {probe['source']} -> {probe['destination']}", socket=False)
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        os.unlink(self.file)


def compare(probe, verdict, got, new, words):
    """What became of a probe, and for a disagreement, why it is one."""
    if got and "error" in got and "Operation not permitted" not in got["error"]:
        return "not sent", got["error"]
    outcome = verdict["outcomes"][0]
    if len(verdict["outcomes"]) > 1 or outcome["fate"] == "unknown":
        return "undecided", None
    received = got if got and "error" not in got else None
    fate = outcome["fate"]
    if fate in ("dropped", "rejected"):
        return ("disagree", f"{fate}, but it was received: {received}") if received else ("agree", None)
    if not received:
        return "disagree", f"{fate}, but nothing was received"
    where = "peer" if fate == "sent" else "pod"
    port = outcome["socket_port"] or lab.address(outcome["destination"])[1]
    expected = dict(where=where, local=outcome["destination"], peer=outcome["source"], port=port)
    if probe["protocol"] == "tcp" and fate == "proxied":
        expected["local"] = probe["destination"]
    if expected != received:
        return "disagree", f"expected {expected}, received {received}"
    if words.has_nat and outcome["tracked"]:
        if new is None:
            return "disagree", "conntrack saw no new connection"
        if new["reply"] != (outcome["destination"], outcome["source"]):
            return "disagree", f"conntrack expects replies {new['reply']}"
        if new["zone"] != outcome["zone"]:
            return "disagree", f"conntrack has zone {new['zone']}, expected {outcome['zone']}"
    return "agree", None


def shrink(meshpcap, path, text, wrong):
    """Takes rules and fields of the probe away as long as model and kernel still disagree; prints what is left."""
    probe = wrong[0]

    def still(text, probe):
        _, found = check(meshpcap, path, text, 1, None, probes=[probe])
        return found

    if not still(text, probe):
        print(f"  disagreed, but alone it does not: {probe}\n  {wrong[4]}")
        return
    is_json = text.lstrip().startswith("{")
    units = json.loads(text)["nftables"] if is_json else text.splitlines()
    removable = (lambda u: "rule" in u) if is_json else (lambda u: u.startswith("-A") or u.startswith("#"))
    joined = (lambda us: json.dumps({"nftables": us})) if is_json else (lambda us: "\n".join(us) + "\n")
    index = 0
    while index < len(units):
        fewer = units[:index] + units[index + 1:]
        if removable(units[index]) and still(joined(fewer), probe):
            units = fewer
        else:
            index += 1
    for field in ("uid", "gid", "mark"):
        simpler = {**probe, field: 0}
        if probe.get(field) and still(joined(units), simpler):
            probe = simpler
    found = still(joined(units), probe) or wrong
    print(f"  DISAGREEMENT in {path}: {found[4]}\n  probe: {json.dumps(probe)}\n  verdict: {json.dumps(found[1])}\n"
          f"  received: {found[2]}\n  conntrack: {found[3]}\n  rules:")
    for unit in units:
        if not is_json or removable(unit):
            print(f"    {json.dumps(unit) if is_json else unit}")


if __name__ == "__main__":
    sys.exit(main())
