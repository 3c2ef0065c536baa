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
import signal
import subprocess
import sys
import time

import pod as lab

BATCH = 100


def main():
    parser = arguments(__doc__, probes=200)
    parser.add_argument("--no-shrink", action="store_true", help="print every disagreement as it was found")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    total, begin = collections.Counter(), time.monotonic()
    for path, text, rng in sets(args):
        counts = check(args.meshpcap, path, text, args.probes, rng, not args.no_shrink)
        total.update(counts)
        print(f"{path}: {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}", flush=True)
    seconds = time.monotonic() - begin
    print(f"{total['probes']} probes, {total['disagree']} disagree, {total['undecided']} undecided, "
          f"{total['not sent']} not sent, {total['lost']} lost, {total['sets']} sets, {seconds:.0f} s, seed {args.seed}")
    return 1 if total['disagree'] or total["probes"] == 0 else 0


def arguments(about, probes):
    """The arguments that views.py has as well."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshpcap")
    parser.add_argument("rules", nargs="+")
    parser.add_argument("--probes", type=int, default=probes, help=f"for each set of rules (default {probes})")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", default="", help="only files whose path has this text")
    return parser


def sets(args):
    """The sets of rules asked for: the path of each, its text, and what draws for it."""
    for place in args.rules:
        found = sorted(glob.glob(f"{place}/**/*", recursive=True)) if os.path.isdir(place) else [place]
        for path in found:
            if path.endswith((".rules", ".nft.json")) and args.only in path:
                with open(path) as file:
                    text = file.read()
                yield path, text, random.Random(f"{args.seed} {os.path.basename(path)}")


class Bench:
    """A pod with one set of rules after another, and the model that foretells what they do."""

    def __init__(self, meshpcap, words):
        self.meshpcap, self.words = meshpcap, words
        self.pod = lab.Pod(words.interfaces)
        self.pod.listen(words.ports)
        self.pod.watch()

    def load(self, path, text):
        """Loads rules into kernel and model; returns why not, or None."""
        self.nat_families = families_with_nat(path, text)
        try:
            self.pod.load(path, text)
        except RuntimeError as error:
            return f"does not load here: {str(error).splitlines()[0][:100]}"
        self.model = Model(self.meshpcap, path, text, self.pod)
        return None if self.model.reads() else "refused by the model"

    def judge(self, batch):
        """For each probe what became of it: (word, reason, verdict, received, conntrack)."""
        verdicts = [self.model.verdict(probe) for probe in batch]
        arriving = [n for n, v in enumerate(verdicts) if v["outcomes"][0]["fate"] in ("delivered", "sent", "proxied")]
        results = []
        for probe, verdict, (got, new) in zip(batch, verdicts, self.pod.try_batch(batch, arriving)):
            what, reason = compare(probe, verdict, got, new, self.nat_families)
            results.append((what, reason, verdict, got, new))
        return results

    def disagree(self, probe):
        """Tries a probe alone, twice: a packet that was lost is no disagreement."""
        for _ in range(2):
            [result] = self.judge([probe])
            if result[0] != "disagree":
                return None
        return result

    def end(self):
        self.pod.remove()


def check(meshpcap, path, text, wanted, rng, shrinking):
    """Draws probes for a set of rules and counts what came of them."""
    counts = collections.Counter()
    words = Words(text, path)
    bench = Bench(meshpcap, words)
    try:
        problem = bench.load(path, text)
        if problem:
            counts[problem] += 1
            return counts
        counts["sets"] = 1
        drawn, wrong = 0, None
        while drawn < wanted:
            batch = draw_batch(rng, words, bench.pod, min(BATCH, wanted - drawn))
            drawn += len(batch)
            for probe, (what, reason, *_) in zip(batch, bench.judge(batch)):
                if what == "disagree":
                    if bench.disagree(probe):
                        wrong = wrong or probe
                        if not shrinking:
                            print(f"  {json.dumps(probe)}: {reason}", flush=True)
                    else:
                        what = "lost"
                if what == "not sent":
                    counts[f"not sent ({reason})"] += 1
                counts[what] += 1
                counts["probes"] += what in ("agree", "disagree")
        bench.model.end()
        if wrong and shrinking:
            shrink(bench, path, text, wrong)
        return counts
    finally:
        bench.end()


def families_with_nat(path, text):
    if path.endswith(".json"):
        kinds = [o["chain"] for o in json.loads(text)["nftables"] if "chain" in o and o["chain"].get("type") == "nat"]
        return {f for kind in kinds for f in {"ip": "4", "ip6": "6", "inet": "46"}[kind["family"]]}
    return {"6" if ".v6." in path else "4"} if "*nat" in text else set()


class Words:
    """What a rules file names: to draw what its rules can tell apart."""

    def __init__(self, text, path):
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
            ports = re.findall(r"\d+", " ".join(find(r"(?:ports?|on-port) ([\d,:]+)") + find(r"(?m)--to-destination \S+:(\d+)$")))
            addresses = find(r"(?:-s|-d|to-destination|to-source) \[?([0-9a-f.:]+?)(?:\]|/|:\d+$|\s|$)")
        names = {n.rstrip("+*") + ("0" if n[-1] in "+*" else "") for n in names} - {"lo"}
        self.interfaces = ["eth0"] + sorted(names - {"eth0"})
        near = lambda numbers: sorted({max(0, int(n, 0) + d) for n in numbers if n[0].isdigit() for d in (0, 1)})
        self.uids = near(uids) + [0, 1000]
        self.gids = near(gids) + [0, 1000]
        self.marks = sorted({int(m, 0) ^ x for m in marks for x in (0, 1, 0x1000)} | {0, 7})
        # A port for each rule that has one of its own; of a range that a translation picks from, all.
        picked = find(r"--to-(?:ports|destination) \S*?(\d+)-(\d+)") + find(r'"port": {"range": \[(\d+), (\d+)\]}')
        ports += [str(p) for first, last in picked for p in range(int(first), min(int(last), int(first) + 16) + 1)]
        self.named_ports = sorted({int(p) for p in ports if 0 < int(p) < 65535})[:120]
        self.ports = sorted(set(self.named_ports) | {80, 53, 8080} | {p + 1 for p in self.named_ports[:10]})
        usable = [a for a in addresses if re.search(r"[1-9a-f]", a) and not a.endswith(":ffff")]
        # Of a network, its first address and one inside it.
        self.v4 = sorted({a for x in usable if "." in x and ":" not in x for a in (x, re.sub(r"\.0$", ".9", x))
                          if not a.endswith(".0") and not a.startswith(("0.", "10.244."))})
        self.v6 = sorted({x + "5" if x.endswith("::") else x for x in usable
                          if ":" in x and x.count(":") > 1 and not x.startswith("fd00:244:")})
        # Of the probes, so many are IPv6: most for IPv6 rules, and a few of the other family.
        self.share_v6 = 0.5 if self.is_json else 0.95 if ".v6." in path else 0.05


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
    v6 = rng.random() < words.share_v6
    tcp = rng.random() < 0.7
    dport = rng.choice(words.named_ports) if words.named_ports and rng.random() < 0.6 else rng.choice(words.ports)
    own = [a for a in pod.addresses["eth0"] if (":" in a) == v6]
    named = words.v6 if v6 else words.v4
    probe = {"protocol": "tcp" if tcp else "udp"}
    if rng.random() < 0.3:
        probe["in"] = rng.choice(words.interfaces)
        k = words.interfaces.index(probe["in"])
        sources = [f"fd00:244:{k}::9" if v6 else f"10.244.{k}.9"] + [a for a in named if not is_loopback(a) and not a.startswith("::")]
        source = rng.choice(sources)
        destination = rng.choice([a for a in pod.addresses[probe["in"]] if (":" in a) == v6])
        if rng.random() < 0.2 and probe["in"] == "eth0":
            # Through the pod, from somebody who is not next to it.
            source, destination = ("fd00:99::1", "fd00:96::10") if v6 else ("10.99.0.1", "10.96.0.10")
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
    # A port that a listener has is free for datagrams only, and only if they do not come back to their own sender.
    sport = rng.randrange(20000, 60000)
    if not tcp and (probe.get("in") or not is_here) and words.named_ports and rng.random() < 0.3:
        sport = rng.choice(words.named_ports)
    probe.update(source=lab.end(source, sport), destination=lab.end(destination, dport))
    return probe


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


def compare(probe, verdict, got, new, nat_families):
    """What became of a probe, and for a disagreement, why it is one."""
    if got and "error" in got and "Operation not permitted" not in got["error"]:
        return "not sent", got["error"]
    outcome = verdict["outcomes"][0]
    if len(verdict["outcomes"]) > 1 or outcome["fate"] == "unknown" or any("ip rule" in a for a in outcome["assumes"]):
        return "undecided", None
    received = got if got and "error" not in got else None
    fate = outcome["fate"]
    if fate in ("dropped", "rejected"):
        return ("disagree", f"{fate}, but it was received: {received}") if received else ("agree", None)
    if fate == "sent" and is_loopback(lab.address(outcome["source"])[0]):
        # The peer drops what comes from 127.0.0.0/8; conntrack says whether it went.
        expected_reply = (outcome["destination"], outcome["source"])
        return ("agree", None) if new and new["reply"] == expected_reply else ("disagree", f"conntrack has {new}")
    if not received and fate == "sent" and "in" in probe and any("let the replies pass" in a for a in outcome["assumes"]):
        # Without replies there is no connection, and a rule may have kept them.
        return "undecided", None
    if not received:
        return "disagree", f"{fate}, but nothing was received"
    where = "peer" if fate == "sent" else "pod"
    port = outcome["socket_port"] or lab.address(outcome["destination"])[1]
    sent_from, sent_to = outcome["source"], outcome["destination"]
    if fate != "proxied":
        # Of a range, the kernel picks any port.
        sent_from = picked(sent_from, outcome["source_last_port"], received["peer"])
        sent_to = picked(sent_to, outcome["destination_last_port"], received["local"])
        port = lab.address(sent_to)[1]
    expected = dict(where=where, local=sent_to, peer=sent_from, port=port)
    if fate == "proxied":
        # A datagram bears the destination's address only; the port is that of its socket.
        to = lab.address(probe["destination"])
        expected["local"] = lab.end(to[0], to[1] if probe["protocol"] == "tcp" else port)
    if expected != received:
        return "disagree", f"expected {expected}, received {received}"
    if outcome["tracked"] and ("6" if "[" in probe["source"] else "4") in nat_families:
        if new is None:
            return "disagree", "conntrack saw no new connection"
        if new["reply"] != (sent_to, sent_from):
            return "disagree", f"conntrack expects replies {new['reply']}"
        if new["zone"] != outcome["zone"]:
            return "disagree", f"conntrack has zone {new['zone']}, expected {outcome['zone']}"
    return "agree", None


def picked(expected, last, seen):
    """What was seen, if it is expected but for a port that the kernel picks up to `last`; else what is expected."""
    (address, first), (other, port) = lab.address(expected), lab.address(seen)
    return seen if address == other and first <= port <= last else expected


def shrink(bench, path, text, probe):
    """Takes rules and fields of the probe away as long as model and kernel still disagree; prints what is left."""

    def still(text, probe):
        problem = bench.load(path, text)
        found = None if problem else bench.disagree(probe)
        if not problem:
            bench.model.end()
        return found

    is_json = path.endswith(".json")
    units = json.loads(text)["nftables"] if is_json else text.splitlines()
    removable = (lambda u: "rule" in u) if is_json else (lambda u: u.startswith("-A"))
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
    found = still(joined(units), probe)
    if not found:
        print(f"  disagreed, but not again: {probe}")
        return
    what, reason, verdict, got, new = found
    print(f"  DISAGREEMENT in {path}: {reason}\n  probe: {json.dumps(probe)}\n  verdict: {json.dumps(verdict['outcomes'])}\n"
          f"  received: {got}\n  conntrack: {new}\n  rules:")
    for unit in filter(removable, units):
        print(f"    {json.dumps(unit) if is_json else unit}")


if __name__ == "__main__":
    # Ended from outside, it still removes its namespaces.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    sys.exit(main())
