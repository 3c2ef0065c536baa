#!/usr/bin/env python3
"""Holds what `meshpcap explain` says that tcpdump shows against what tcpdump shows: SYN and SYN-ACK on each interface.

Usage (as root): views.py MESHPCAP RULES... [--probes N] [--seed SEED] [--only TEXT]

As agree.py, whose namespaces and probes it takes, for connections that are expected to be answered. The exit status is 1
if an interface shows other ends than foretold, or shows a connection where none was foretold.
"""

import re
import signal
import subprocess
import sys
import time

import agree
import pod as lab

LINE = re.compile(r"IP6? (\S+)\.(\d+) > (\S+)\.(\d+): Flags \[(S\.?)[EW]*\], .*?seq (\d+)(?:, ack (\d+))?")


def main():
    args = agree.arguments(__doc__, probes=60).parse_args()
    print(f"seed {args.seed}")
    views = wrong = 0
    for path, text, rng in agree.sets(args):
        seen, bad = check(args.meshpcap, path, text, args.probes, rng)
        print(f"{path}: {seen} views, {bad} wrong", flush=True)
        views, wrong = views + seen, wrong + bad
    print(f"{views} views, {wrong} wrong, seed {args.seed}")
    return 1 if wrong or not views else 0


def check(meshpcap, path, text, wanted, rng):
    words = agree.Words(text, path)
    bench = agree.Bench(meshpcap, words)
    try:
        if bench.load(path, text):
            return 0, 0
        probes = []
        while len(probes) < wanted:
            probes += [p for p in agree.draw_batch(rng, words, bench.pod, 50) if p["protocol"] == "tcp"]
        foretold = [(p, bench.model.verdict(p)["outcomes"]) for p in probes[:wanted]]
        # What the peer drops for its source is not answered; where replies leave is not known to a model without routes.
        answered = [(p, o[0]) for p, o in foretold if len(o) == 1 and o[0]["interfaces"]
                    and not any("replies leave by" in a or "ip rule" in a for a in o[0]["assumes"])
                    and all(v["replies"] for v in o[0]["interfaces"])
                    and not (o[0]["fate"] == "sent" and agree.is_loopback(lab.address(o[0]["source"])[0]))]
        bench.model.end()
        views = wrong = 0
        for begin in range(0, len(answered), agree.BATCH):
            batch = answered[begin:begin + agree.BATCH]
            sent, shown = watch(bench.pod, [p for p, _ in batch])
            seen, bad = compare([one for one, was_sent in zip(batch, sent) if was_sent], shown)
            views, wrong = views + seen, wrong + bad
        return views, wrong
    finally:
        bench.end()


def watch(pod, probes):
    """Sends probes; returns which were sent, and for each interface its SYNs and SYN-ACKs by the SYN's number."""
    tcpdumps = {}
    with pod.pod:
        for name in ["lo"] + pod.names:
            # Short packets, so that many have room in its buffer.
            command = ["tcpdump", "-i", name, "-s", "160", "-B", "16384", "-n", "-S", "-l", "--immediate-mode",
                       "tcp[13] & 2 != 0 or ip6"]
            tcpdumps[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for tcpdump in tcpdumps.values():
        while "listening on" not in tcpdump.stderr.readline():
            pass
    got = pod.try_batch(probes, range(len(probes)))
    # What is captured takes a moment to be printed.
    time.sleep(1)
    shown = {}
    for name, tcpdump in tcpdumps.items():
        tcpdump.send_signal(signal.SIGINT)
        syns, answers = {}, {}
        for source, sport, destination, dport, flags, seq, ack in LINE.findall(tcpdump.communicate()[0]):
            ends = (lab.end(source, sport), lab.end(destination, dport))
            if flags == "S":
                syns.setdefault(int(seq), set()).add(ends)
            else:
                answers.setdefault((int(ack) - 1) % (1 << 32), set()).add(ends)
        shown[name] = (syns, answers)
    return ["error" not in (received or {}) for received, _ in got], shown


def compare(answered, shown):
    """Counts views, and those that are wrong."""
    views = wrong = 0
    for probe, outcome in answered:
        expected = {}
        for view in outcome["interfaces"]:
            expected.setdefault(view["name"], []).append(view)
        # Which number is the probe's, its first view tells; the kernel may have picked a port.
        first = outcome["interfaces"][0]
        numbers = [n for n, ends in shown[first["name"]][0].items() if any(fits(first["packets"], e, outcome) for e in ends)]
        if len(numbers) != 1:
            views, wrong = views + 1, wrong + (not numbers)
            if not numbers:
                print(f"  {probe}: {first['name']} does not show {first['packets']}")
            continue
        for name, (syns, answers) in shown.items():
            for what, all_ends, key in (("packets", syns, "packets"), ("replies", answers, "replies")):
                told, seen = {tuple(v[key]) for v in expected.get(name, [])}, all_ends.get(numbers[0], set())
                views += bool(told)
                if len(told) != len(seen) or not all(any(fits(t, e, outcome) for e in seen) for t in told):
                    wrong += 1
                    print(f"  {probe}: {what} on {name} should be {told}, are {seen}")
    return views, wrong


def fits(told, seen, outcome):
    """Whether ends are those that were told, but for ports that the kernel picks."""
    last = {outcome["source"]: outcome["source_last_port"], outcome["destination"]: outcome["destination_last_port"]}
    return all(agree.picked(t, last.get(t, lab.address(t)[1]), s) == s for t, s in zip(told, seen))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    sys.exit(main())
