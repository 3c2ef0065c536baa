"""The judge of ties: report and output of `meshpcap merge` against the truth of a recording of ties.py.

What it asks of meshpcap stands in Contract; all else is the truth, and Wireshark's view of the output. An app-side
leg is right when it bears its one client, none when it was left, wrong when it bears another: that is never allowed.
"""
import json
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import wireshark
from tie_truth import text

SAMPLED = 12            # ties whose filter is given to tshark; the others are read
TOLERANCE = 0.002       # seconds between times of the report and of the access log
SHARE = 0.9             # of the TCP legs of one client, from the captures alone
PROXY = ("127.0.0.6", "::6")


class Contract:
    """Options and columns of meshpcap that carry ties."""
    ACCESS_LOG, CONNTRACK = "--access-log", "--conntrack"
    TIE, FILTER, REAL_CLIENT = "tie", "tie_filter", "real_client"
    COLUMNS = (TIE, "tie_evidence", "tie_grade", FILTER, REAL_CLIENT)
    # per exchange of a leg, if the report has it: request id, times of its first and last byte, seconds since 1970
    EXCHANGES, REQUEST_ID, FIRST, LAST = "exchanges", "request_id", "first_time", "last_time"


@dataclass
class Verdict:
    what: str
    good: bool
    told: str = ""


@dataclass
class Streams:
    """Wireshark's view of a capture: the frames of each `tcp.stream`, and its ends as CLIENT > SERVER or reverse."""
    frames: dict[int, set[int]] = field(default_factory=dict)
    ends: dict[int, frozenset[str]] = field(default_factory=dict)

    def of(self, row: dict) -> set[int]:
        return self.frames.get(row["tcp_stream"], set())

    def between(self, one: str, other: str) -> int:
        """Frames of all streams with these ends."""
        return sum(len(self.frames[stream]) for stream, ends in self.ends.items() if ends == {one, other})


def streams(path: Path) -> Streams:
    seen = Streams()
    names = ("frame.number", "tcp.stream", "ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport")
    for line in wireshark.tshark(path, "-Y", "tcp", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f",
                                 *(word for name in names for word in ("-e", name))).splitlines():
        frame, stream, source, source6, source_port, target, target6, target_port = line.split("|")
        seen.frames.setdefault(int(stream), set()).add(int(frame))
        seen.ends.setdefault(int(stream), frozenset((text((source or source6, source_port)),
                                                     text((target or target6, target_port)))))
    return seen


def host(end: str) -> str:
    return end.rpartition(":")[0].strip("[]")


def port(end: str) -> str:
    return end.rpartition(":")[2]


def is_of(client: str, wanted: list[str]) -> bool:
    """Whether a client, with or without port, has the address of one of those wanted.

    Not the port: where one client port calls two ports of the pod, the proxy, and its log, know one of them by
    another number, since both are redirected to 15006.
    """
    known = {host(end) for end in wanted}
    return client.strip("[]") in known or host(client) in known


def captured(row: dict) -> str:
    """The client's end of a leg before anything was changed."""
    return row["captured_client"] or row["client"]


def near(row: dict, began: float, ended: float) -> bool:
    return float(row["first_time"]) < ended + 1 and float(row["last_time"]) > began - 1


# Many clients of one pod

def carried_clients(leg: dict, since: float) -> list[str]:
    """The clients of what the leg carried while it was captured."""
    if not leg["carried"]:
        return leg["clients"]
    return sorted({row["client"] for row in leg["carried"]
                   if row["client"] and max((row["client_times"] | row).get(name, 0)
                                            for name in ("last", "answered", "whole", "got")) >= since})


def reachable(truth: dict) -> dict[str, set[str]]:
    """By client: the clients that share application connections with it, however far around."""
    group: dict[str, set[str]] = {}
    for leg in truth["legs"]:
        joined = set(leg["clients"]).union(*(group.get(client, ()) for client in leg["clients"]))
        group.update(dict.fromkeys(joined, joined))
    return group


def judge_leg(leg: dict, wanted: list[str], row: dict, tied: list[dict], group: dict[str, set[str]]) -> tuple[str, str]:
    """`right`, `none` or `wrong`, and why it is wrong. `tied`: the peers' legs of the same tie."""
    one = len({host(end) for end in wanted}) == 1
    always = len({host(end) for end in leg["clients"]}) == 1        # also before the capture began
    shown, told = row["client"], row[Contract.REAL_CLIENT] or []
    if strangers := [client for client in told if not is_of(client, leg["clients"])]:
        return "wrong", f"{leg['proxy']} names {strangers[0]}, carried {' '.join(wanted)[:100]}"
    if row["server"] != leg["app"] or port(shown) != port(leg["proxy"]):
        return "wrong", f"{leg['proxy']} became {shown} > {row['server']}"
    if host(shown) not in PROXY and (not one or host(shown) != host(wanted[0])):
        return "wrong", f"{leg['proxy']} bears {shown}, carried {' '.join(wanted)[:100]}"
    if strangers := [other["client"] for other in tied
                     if captured(other) not in group[wanted[0]] or other["server"] != leg["app"]]:
        return "wrong", f"{leg['proxy']} is tied to {strangers[0]}, carried {' '.join(wanted)[:100]}"
    if one and (always or host(shown) not in PROXY):
        return ("right" if host(shown) == host(wanted[0]) else "none"), ""
    return ("right" if all(any(is_of(client, [end]) for client in told) for end in wanted) else "none"), ""


def row_of(leg: dict, sides: list[dict]) -> dict | None:
    """The proxy uses a port again, for other ports of the application also at once."""
    same = [row for row in sides if captured(row) == leg["proxy"] and near(row, leg["began"], leg["ended"])]
    return min(same, default=None, key=lambda row: (row["server"] != leg["app"],
                                                    abs(float(row["first_time"]) - leg["began"])))


def judge_many(truth: dict, rows: list[dict], since: float,
               logged: set[tuple[str, str]] | None) -> tuple[list[Verdict], Counter]:
    """`logged`: both ends of the app-side legs that the access log names, if meshpcap was given it."""
    counts, wrong, missed, group, peers = Counter(), [], [], reachable(truth), {}
    for row in rows:
        if row[Contract.TIE] is not None and row["role"] == "inbound-peer":
            peers.setdefault(row[Contract.TIE], []).append(row)
    sides = [row for row in rows if row["protocol"] == "tcp" and host(captured(row)) in PROXY]
    for leg in truth["legs"]:
        wanted = carried_clients(leg, since)
        row = row_of(leg, sides)
        if row is None or not wanted:
            counts["not in the capture" if row is None else "without truth"] += 1
            continue
        kind = ("tcp" if leg["protocol"] == "tcp" else "http") if len({host(end) for end in wanted}) == 1 else "pooled"
        told, why = judge_leg(leg, wanted, row, peers.get(row[Contract.TIE], []), group)
        counts[kind, told] += 1
        wrong += [why] if why else []
        # One that keeps the proxy's address though its client is named: something was sent on it later than the log tells,
        # as HTTP/2 acknowledges settings on a busy machine.
        if told == "none" and not row[Contract.REAL_CLIENT] and (leg["proxy"], leg["app"]) in (logged or ()):
            missed.append(leg["proxy"])
    told = ", ".join(f"{kind} {told} {n}" for (kind, told), n in sorted(
        (key, n) for key, n in counts.items() if isinstance(key, tuple)))
    verdicts = [Verdict("clients", not wrong and any(isinstance(key, tuple) for key in counts),
                        told + "".join(f"; {why}" for why in wrong[:3]))]
    if logged is not None:
        verdicts.append(Verdict("all logged", not missed, f"{len(missed)} legs of the log left: {' '.join(missed[:3])}"
                                if missed else ""))
    return verdicts, counts


# Chains over two pods

def judge_chains(truth: dict, rows: list[dict]) -> tuple[list[Verdict], Counter]:
    """Every tie stays within a chain; a chain is right when all its legs share one."""
    chain_of, known, counts, wrong = {}, {}, Counter(), []
    for number, chain in enumerate(truth["chains"]):
        for leg in chain:
            chain_of[leg.partition(" ")[2]] = number
    for row in rows:
        for name in {f"{row['client']} > {row['server']}", f"{captured(row)} > {row['server']}"} & chain_of.keys():
            known.setdefault(chain_of[name], []).append(row)
    of_tie: dict = {}
    for number, legs in known.items():
        for row in legs:
            if row[Contract.TIE] is not None:
                of_tie.setdefault(row[Contract.TIE], set()).add(number)
    for number, chain in enumerate(truth["chains"]):
        legs = known.get(number, [])
        ties = {row[Contract.TIE] for row in legs}
        if any(len(of_tie[tie]) > 1 for tie in ties - {None}):
            counts["wrong"] += 1
            wrong.append(f"a tie also holds legs of another chain: {' | '.join(chain)[:160]}")
        elif len(legs) == len(chain) and len(ties) == 1 and None not in ties:
            counts["right"] += 1
        else:
            counts["part" if ties - {None} else "none"] += 1
    told = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
    return [Verdict("chains", not wrong and counts["right"] > 0, "; ".join([told, *wrong[:3]]))], counts


def judge_once(truth: dict, output: Streams, inputs: list[Streams]) -> Verdict:
    """Each connection between the pods is in the output as often as in the one capture that has more of it."""
    wrong, seen = [], 0
    for wire in sorted({row["b_wire"] or row["a_wire"] for row in truth["exchanges"]} - {None}):
        ends = wire.split(" > ")
        most, found = max(one.between(*ends) for one in inputs), output.between(*ends)
        seen += 1
        if most != found:
            wrong.append(f"{wire}: {found} packets, {most} captured by one pod")
    return Verdict("wire once", seen > 0 and not wrong, "; ".join([f"{seen} connections", *wrong[:3]]))


# Both

def judge_filters(rows: list[dict], output: Streams, ask) -> Verdict:
    """`tie_filter` selects the packets of its tie's legs, no more and no less. ask(filter) gives tshark's frames."""
    ties: dict = {}
    for row in rows:
        if row[Contract.TIE] is not None:
            ties.setdefault(row[Contract.TIE], []).append(row)
    wrong, step = [], max(1, len(ties) // SAMPLED)
    for number, (tie, legs) in enumerate(sorted(ties.items())):
        filters = {row[Contract.FILTER] for row in legs}
        wanted = set().union(*(output.of(row) for row in legs))
        if len(filters) != 1 or len(legs) < 2 or not all(output.of(row) for row in legs):
            wrong.append(f"tie {tie}: {len(legs)} legs, filters {' and '.join(map(str, filters))}")
        elif found := re.fullmatch(r"tcp\.stream in \{([\d, ]+)\}", next(iter(filters)) or ""):
            if set(map(int, found[1].split(","))) != {row["tcp_stream"] for row in legs}:
                wrong.append(f"tie {tie}: {found[0]} is not its streams")
            elif number % step == 0 and ask(found[0]) != wanted:
                wrong.append(f"tie {tie}: {found[0]} selects other packets in tshark")
        else:
            wrong.append(f"tie {tie}: no filter")
    return Verdict("filters", bool(ties) and not wrong, f"{len(ties)} ties" + "".join(f"; {why}" for why in wrong[:3]))


def judge_streams(rows: list[dict], output: Streams) -> Verdict:
    """Each row's stream number has its ends in tshark, and no two rows share it."""
    wrong = [f"{row['client']} > {row['server']}" for row in rows if row["protocol"] == "tcp"
             and output.ends.get(row["tcp_stream"]) != {row["client"], row["server"]}]
    return Verdict("addresses", not wrong, f"{len(wrong)} legs have other ends in tshark: {wrong[0]}" if wrong else "")


def judge_times(rows: list[dict], log: list[dict]) -> Verdict | None:
    """DURATION lies between the time of the exchange on the proxy's far side and that on its near side.

    The proxy's clock starts when it reads the request: what lay in its socket until then is in the capture alone, so
    the near side may take longer. None where the report gives no times.
    """
    taken: dict[tuple[str, str], float] = {}
    for row in rows:
        for exchange in row.get(Contract.EXCHANGES) or ():
            if exchange.get(Contract.REQUEST_ID) and exchange.get(Contract.FIRST) and exchange.get(Contract.LAST):
                taken[captured(row), exchange[Contract.REQUEST_ID]] = (
                    float(exchange[Contract.LAST]) - float(exchange[Contract.FIRST]))
    compared, close, wrong = 0, 0, []
    for line in log:
        request, duration = line.get("request_id"), (line.get("duration") or 0) / 1000
        near = taken.get((line["downstream_remote_address"], request))
        far = taken.get((line["upstream_local_address"], request))
        if near is None or far is None or line["response_code"] == 0:
            continue
        compared, close = compared + 1, close + (abs(near - duration) <= TOLERANCE)
        if not far - TOLERANCE <= duration <= near + TOLERANCE:
            wrong.append(f"{request} took {near:.4f} s, beyond the proxy {far:.4f} s, by the log {duration:.3f} s")
    if not compared:
        return None
    return Verdict("times", not wrong, f"{compared} exchanges, {close} within 2 ms on the near side" + "".join(
        f"; {why}" for why in wrong[:2]))


def judge_folder(meshpcap: Path, folder: Path, with_logs: bool) -> tuple[list[Verdict], Counter]:
    truth = json.loads((folder / "truth.json").read_text())
    many = truth["scenario"] == "many-clients"
    pods = [folder] if many else [folder / "a", folder / "b"]
    captures = [pod / name for pod in pods for name in ("eth0.pcap", "lo.pcap")]
    with tempfile.TemporaryDirectory() as work:
        output, report = Path(work, "fixed.pcapng"), Path(work, "legs.json")
        command = [str(meshpcap), "merge", *map(str, captures), "-o", str(output), "--report", str(report)]
        for pod in pods if with_logs else ():
            log = "access.log" if truth["parameters"]["seed"] % 2 else "access.json"
            command += [Contract.ACCESS_LOG, str(pod / log), Contract.CONNTRACK, str(pod / "conntrack-events")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return [Verdict("merge", False, done.stderr.strip().splitlines()[0] if done.stderr else "")], Counter()
        rows = json.loads(report.read_text())
        rows = rows["legs"] if isinstance(rows, dict) else rows
        if not rows or any(name not in rows[0] for name in Contract.COLUMNS):
            missing = [name for name in Contract.COLUMNS if not rows or name not in rows[0]]
            return [Verdict("report", False, f"no {missing[0]} column")], Counter()
        seen = streams(output)
        logs = [[json.loads(line) for line in (pod / "access.json").read_text().splitlines()] for pod in pods]
        if many:
            both_ends = {(line["upstream_local_address"], line["upstream_host"]) for line in logs[0]}
            logged = both_ends if with_logs else None
            since = min(float(row["first_time"]) for row in rows)
            verdicts, counts = judge_many(truth, rows, since, logged)
        else:
            verdicts, counts = judge_chains(truth, rows)
            verdicts.append(judge_once(truth, seen, [streams(pod / "eth0.pcap") for pod in pods]))
        verdicts.append(judge_filters(rows, seen, lambda wanted: {int(number) for number in wireshark.tshark(
            output, "-Y", wanted, "-T", "fields", "-e", "frame.number").split()}))
        verdicts.append(judge_streams(rows, seen))
        return verdicts + [verdict for log in logs if (verdict := judge_times(rows, log))], counts


def judge_all(meshpcap: Path, folders: list[Path]) -> int:
    """Prints a row for each verdict, and the shares over all folders; gives the exit status."""
    failed, passed, total = 0, 0, Counter()

    def tell(name: str, mode: str, verdict: Verdict):
        nonlocal failed, passed
        failed, passed = failed + (not verdict.good), passed + verdict.good
        print(f"{'pass' if verdict.good else 'FAIL'}  {name:16} {mode:6} {verdict.what:20} {verdict.told}".rstrip(),
              flush=True)

    for folder in folders:
        for mode, with_logs in (("alone", False), ("logs", True)):
            verdicts, counts = judge_folder(meshpcap, folder, with_logs)
            total.update({(mode, *(key if isinstance(key, tuple) else ("chain", key))): n for key, n in counts.items()})
            for verdict in verdicts:
                tell(folder.name, mode, verdict)
    for mode in ("alone", "logs"):
        for kind in ("tcp", "http", "pooled", "chain"):
            counts = {told: total[mode, kind, told] for told in ("right", "part", "none", "wrong")}
            if every := sum(counts.values()):
                told = ", ".join(f"{told} {n}" for told, n in counts.items() if n)
                enough = mode == "logs" or kind != "tcp" or counts["right"] >= SHARE * every
                tell("all", mode, Verdict(f"{kind} total", enough and not counts["wrong"],
                                          f"{told}: {counts['right'] / every:.1%} right"))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
