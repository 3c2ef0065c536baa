"""The judge: runs meshpcap on a case and compares its output with Wireshark's view, the input and the truth.

judge() gives a Judgement for every thing looked at. What an application's socket saw is the measure; mergecap's
output of the same inputs must fail it, or the case shows nothing.
"""
import base64
import hashlib
import json
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import beside
import frames
import wireshark
from pod import RigError, run
from record import Case
from wireshark import End, Stream, View

FOLLOWED = 40       # connections compared with Follow Stream too; all are compared by their segments

# options of merge that say how the output is written
OF_OUTPUT = {"--linktype", "--lookahead"}
# what check says of a connection against the rules
OF_RULES = {"stale": "stale-rules", "bypass": "bypass"}


@dataclass
class Judgement:
    what: str
    good: bool
    told: str = ""


@dataclass
class Seen:
    """A connection as an application's socket saw it."""
    role: str
    protocol: str
    local: End
    peer: End
    last: float         # when bytes last moved
    sent: dict
    got: dict

    def __str__(self):
        return f"{self.role} {self.local[0]}:{self.local[1]} > {self.peer[0]}:{self.peer[1]}"


def read_truth(case: Case) -> list[Seen]:
    """The connections that must be in the capture."""
    seen, beside = [], case.truth.with_name("proxy.jsonl")
    for line in case.truth.read_text().splitlines() + (beside.read_text().splitlines() if beside.exists() else []):
        row = json.loads(line)
        one = Seen(row["role"], row["protocol"], tuple(row["local"]), tuple(row["peer"]), row["last"],
                   row["sent"], row["got"])
        service = one.peer if one.role == "client" else one.local
        if (not case.ports or service[1] in case.ports) and (case.servers or one.role != "server"):
            seen.append(one)
    return seen


def fits(stream: Stream, one: Seen, compare: str) -> bool:
    """Whether the stream holds the connection, as far as the capture can."""
    if not any(stream.lengths.values()) and compare == "suffix":
        return False
    for end, expected in ((one.local, one.sent), (one.peer, one.got)):
        if not stream.packets[end]:
            return False
        if compare == "lengths":
            good = stream.lengths[end] == expected["bytes"]
        else:
            data = stream.bytes_from(end)
            if compare == "bytes":
                good = hashlib.sha256(data).hexdigest() == expected["sha256"]
            else:
                good = base64.b64decode(expected["base64"]).endswith(data)
        if not good:
            return False
    return True


def sides(one: Seen, case: Case) -> list[Seen]:
    """The connection as its ends saw it: under mirrored rules, the proxy called 127.0.0.1, and the application was
    called at the pod's address."""
    if not case.mirrored or not {one.local[0], one.peer[0]} <= case.mirrored | wireshark.LOOPBACKS:
        return [one]
    six = ":" in one.local[0]
    own = [host for host in (*sorted(case.mirrored), *wireshark.LOOPBACKS) if (":" in host) == six]
    field, end = ("local", one.local) if one.role == "server" else ("peer", one.peer)
    return [one, *(replace(one, **{field: (host, end[1])}) for host in own if host != end[0])]


def match(seen: list[Seen], view: View, case: Case) -> tuple[list[tuple[Seen, Stream]], list[Seen]]:
    """Each connection with a stream of its own, and the connections without one."""
    pairs, missing, used = [], [], set()
    for one in seen:
        candidates = (stream for side in sides(one, case) for stream in view.between(one.protocol, side.local, side.peer)
                      if (one.role, one.protocol, stream.number) not in used and fits(stream, side, case.compare))
        if stream := next(candidates, None):
            used.add((one.role, one.protocol, stream.number))
            pairs.append((one, stream))
        else:
            missing.append(one)
    return pairs, missing


def merge(meshpcap: Path, case: Case, output: Path, report: Path) -> subprocess.CompletedProcess:
    """Runs meshpcap; the result has `streamed`: a pipe gave packets before it had got all."""
    names = [str(path) for path in case.inputs]
    files = [word for option, name in case.beside for word in (option, str(case.truth.parent / name))]
    # Whose the legs from the proxy's address are is for ties.py to judge: here they stay as the application saw them.
    files.append("--keep-proxy-address")
    if case.stdin is None:
        command = [str(meshpcap), "merge", *names, "-o", str(output), "--report", str(report), *files,
                   *case.arguments]
        return subprocess.run(command, capture_output=True, text=True)
    names[case.stdin] = "-"
    command = [str(meshpcap), "merge", *names, "-o", "-", "--report", str(report), *files, *case.arguments]
    data = case.inputs[case.stdin].read_bytes()
    most = len(data) * 9 // 10
    with open(output, "wb") as file, open(output.with_name("stderr.txt"), "w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=errors)
        try:
            process.stdin.write(data[:most])
            process.stdin.flush()
            for _ in range(100):
                if streamed := output.stat().st_size > len(data) // 10:
                    break
                time.sleep(0.02)
            process.stdin.write(data[most:])
            process.stdin.close()
        except BrokenPipeError:
            pass
        status = process.wait()
        errors.seek(0)
        done = subprocess.CompletedProcess(command, status, stderr=errors.read())
    done.streamed = streamed
    return done


def ways(case: Case) -> list[Case]:
    """The case with the pod's rules, with the mesh named, and as it is."""
    every = []
    if case.rules:
        arguments = (word for path in case.rules for word in ("--rules", str(path)))
        every.append(replace(case, name=f"{case.name} rules", arguments=(*case.arguments, *arguments)))
    if case.mesh:
        every.append(replace(case, name=f"{case.name} mesh", arguments=(*case.arguments, "--mesh", case.mesh),
                             alarms=case.alarms | case.mesh_alarms))
    return [*every, replace(case, expects=case.expects if case.found else ())]


def judge(meshpcap: Path, case: Case, folder: Path) -> list[Judgement]:
    """Everything there is to say about one case; output, report and summary stay in the folder."""
    if case.codes is not None:
        return [checked(meshpcap, case)]
    judgements = judge_rows(meshpcap, case, folder)
    if not case.gap:
        return judgements
    red = {judgement.what for judgement in judgements if not judgement.good}
    return [Judgement("known gap", red == case.gap_rows, f"{case.gap}; red: {', '.join(sorted(red)) or 'nothing any more'}")]


def judge_rows(meshpcap: Path, case: Case, folder: Path) -> list[Judgement]:
    folder.mkdir(parents=True, exist_ok=True)
    output, report = folder / "fixed.pcapng", folder / "report.csv"
    merged, plain = folder / "mergecap.pcapng", folder / "reordercap.pcapng"
    done = merge(meshpcap, case, output, report)
    (folder / "summary.txt").write_text(done.stderr)
    if done.returncode:
        return [Judgement("runs", False, f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")]
    run("mergecap", "-w", str(merged), *map(str, case.inputs))
    run("reordercap", str(merged), str(plain))
    try:
        fixed, unrepaired = (wireshark.view(path, case.proxies, case.proxy_ports) for path in (output, plain))
    except RigError as error:
        return [Judgement("opens", False, str(error)[-200:])]
    seen = read_truth(case)
    if case.compare == "suffix":        # what fell silent before the capture began is not in it
        # of all taps: one may begin before another
        began = max(min(frame.time for frame in frames.read(path)) for path in case.inputs) / 1e9
        # On a busy machine an application reads some milliseconds after the packet came.
        seen = [one for one in seen if one.last > began + 0.02]
    streams = [Judgement("streams", done.streamed, "packets come out before all are in")] if case.streams else []
    rows = wireshark.read_report(report)
    added = [Judgement(*told_) for told_ in beside.judge(case, seen, output, plain)] if case.beside else []
    return [*streams, *added, *connections(case, seen, fixed, output), *baseline(case, seen, unrepaired),
            *packets(case, seen, output, done.stderr), *apart(case, fixed, output), *by_wireshark(case, rows, fixed, unrepaired),
            *as_expected(case, rows, done.stderr), told(case, rows, fixed), opens(output, done.stderr),
            again(meshpcap, case, output, folder), checked(meshpcap, case)]


def connections(case: Case, seen: list[Seen], view: View, output: Path) -> list[Judgement]:
    """Every connection of the applications, whole; of a case that must be left, none that was redirected."""
    if case.left:
        pairs, _ = match([one for one in seen if redirected(case, one)], view, case)
        return [Judgement("left alone", not pairs, f"{len(pairs)} redirected connections repaired")]
    pairs, missing = match(seen, view, case)
    judgements = [] if seen else [Judgement("connections", False, "the applications saw none")]
    for role in sorted({one.role for one in seen}):
        all_, whole = sum(one.role == role for one in seen), sum(one.role == role for one, _ in pairs)
        lost = "; ".join(str(one) for one in missing if one.role == role)[:300]
        judgements.append(Judgement(f"{role}s", whole == all_, f"{whole}/{all_} whole {lost}".strip()))
    if case.compare == "bytes":
        judgements.append(followed(case, seen, view, output))
    return judgements


def followed(case: Case, seen: list[Seen], view: View, output: Path) -> Judgement:
    """Follow Stream on the streams between a connection's ends: one of them has its exact bytes."""
    sample = seen[::-(-len(seen) // FOLLOWED) or 1]
    between = [[(side, stream) for side in sides(one, case)
                for stream in view.between(one.protocol, side.local, side.peer)] for one in sample]
    wanted = {(stream.protocol, stream.number): stream for pairs in between for _, stream in pairs}
    sent = wireshark.follow(output, list(wanted.values())) if wanted else {}
    good = 0
    for one, pairs in zip(sample, between):
        shown = ((side, sent.get((stream.protocol, stream.number), {})) for side, stream in pairs)
        good += any((by.get(side.local), by.get(side.peer)) == (one.sent["sha256"], one.got["sha256"])
                    for side, by in shown)
    return Judgement("follow", good == len(sample) > 0, f"{good}/{len(sample)} exact bytes")


def redirected(case: Case, one: Seen) -> bool:
    return one.role == "client" and one.peer[0] not in case.own and one.peer[1] not in case.direct


def baseline(case: Case, seen: list[Seen], view: View) -> list[Judgement]:
    """mergecap's output may hold no redirected client whole."""
    clients = [one for one in seen if redirected(case, one)]
    if not clients:
        return []
    pairs, _ = match(clients, view, case)
    # begun mid-stream, little of a connection may be left: a last packet that came after conntrack had forgotten it
    most = len(clients) // 50 if case.compare == "suffix" else 0
    told_ = f"{len(pairs)}/{len(clients)} redirected clients whole without repair"
    return [Judgement("mergecap fails", len(pairs) <= most, told_)]


def packets(case: Case, seen: list[Seen], output: Path, summary: str) -> list[Judgement]:
    """Every packet in is a packet out, in order, and only what a repair may change was changed."""
    inputs = [frames.read(path, source) for source, path in enumerate(case.inputs)]
    expected, duplicates = frames.merged(inputs, "--keep-duplicates" in case.arguments)
    written = frames.read(output)
    reported = int((re.search(r"(\d+) duplicates? dropped", summary) or [0, 0])[1])
    translated = int(re.search(r"(\d+) packets? got", summary)[1])
    total = sum(map(len, inputs))
    same = len(written) == len(expected) and reported == duplicates >= case.duplicates_at_least
    back = sum(one.time > next_.time for one, next_ in zip(written, written[1:]))
    counts = f"{total} in, {len(written)} out, {reported} duplicates"
    if reported != duplicates:
        counts += f" (counted here: {duplicates})"
    judgements = [Judgement("time", not back, f"goes back {back} times"), Judgement("packets", same, counts)]
    changes, wrong = Counter(), []
    redirects = frames.Redirects(frames.packed(case.proxies), frozenset(map(int, case.proxy_ports)),
                                 frames.packed(case.mirrored))
    for number, (before, after) in enumerate(zip(expected, written), 1):
        what = change = "the time was changed" if before.time != after.time else frames.change(before, after, redirects)
        if change not in ("same", "completed", "repaired"):
            wrong.append(f"frame {number}: {what}")
        changes[what] += 1
    due = not case.left and any(redirected(case, one) for one in seen)
    good = not wrong and changes["repaired"] == translated and bool(translated) == due
    detail = "; ".join(wrong[:3]) or ", ".join(f"{n} {what}" for what, n in sorted(changes.items()))
    return [*judgements, Judgement("bytes", good, f"{detail}; {translated} reported as repaired")]


def apart(case: Case, view: View, output: Path) -> list[Judgement]:
    """No stream has packets of lo and of another interface: two legs may bear the same addresses, one after the other."""
    if not (case.rules or case.mesh):
        return []
    expected, _ = frames.merged([frames.read(path, source) for source, path in enumerate(case.inputs)])
    where = {}
    for number, frame in enumerate(expected, 1):
        if stream := view.of_frame.get(number):
            where.setdefault(stream, set()).add((frame.source, frame.interface))
    mixed = sorted(stream for stream, places in where.items() if len(places) > 1)
    return [Judgement("legs apart", bool(where) and not mixed, f"{len(where)} streams" +
                      (f", of two interfaces: {mixed[:5]}" if mixed else ""))]


def ends_as_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def as_expected(case: Case, rows: list[dict], summary: str) -> list[Judgement]:
    """Report and summary tell of each connection how it and the rules agree, and of no other that they do not."""
    if not case.expects:
        return []
    columns, wrong, named = {"stale": "contradict", "bypass": "bypass", "as-ruled": ""}, [], set()
    for one in case.expects:
        ends = tuple(ends_as_text(*one[end]) for end in ("client", "server"))
        named.add(ends)
        row = next((row for row in rows if (row["client"], row["server"]) == ends), None)
        in_summary = f"{ends[0]} > {ends[1]}" in summary
        if row is None:
            wrong.append(f"{ends[0]} > {ends[1]} has no row")
        elif one["direction"] == "inbound":     # known only when all legs are: it stands in the summary alone
            wrong += [] if in_summary else [f"{ends[0]} > {ends[1]} is not in the summary"]
        elif row["rules"] != columns[one["kind"]] or in_summary != (one["kind"] != "as-ruled"):
            wrong.append(f"{ends[0]} > {ends[1]}: {row['rules'] or 'nothing'} in the report, not {one['kind']}")
    wrong += [f"{row['client']} > {row['server']}: {row['rules']}, which nobody expects" for row in rows
              if row["rules"] in ("contradict", "bypass") and (row["client"], row["server"]) not in named]
    return [Judgement("rules", not wrong, f"{len(case.expects)} connections" + "".join(f"; {why}" for why in wrong[:3]))]


def by_wireshark(case: Case, rows: list[dict], view: View, unrepaired: View) -> list[Judgement]:
    # NAT updates a partial checksum in a quoted packet as if it were a whole one: some are beyond repair
    bad = view.bad_checksums + max(0, view.bad_quoted - unrepaired.bad_quoted)
    allowed = sum(int(row["client_packets"]) for row in rows if row["reason"] in {case.left, *case.may_leave}
                  and row["server"].rpartition(":")[2] in case.proxy_ports) if case.left or case.may_leave else 0
    good = view.to_proxy == allowed and bool(allowed) >= bool(case.left)
    judgements = [Judgement("proxy's ports", good, f"{view.to_proxy} packets with an address of the proxy, {allowed} allowed"),
                  Judgement("checksums", not bad, f"{bad} bad")]
    if case.lossless and not case.left:
        # two CPUs stamp neighbours in either order: in the order of time, a segment then comes before the one before it
        judgements.append(Judgement("no gaps", view.gaps <= unrepaired.gaps, f"{view.gaps} segments that Wireshark misses, "
                                    f"{unrepaired.gaps} without repair"))
    return judgements


def told(case: Case, rows: list[dict], view: View) -> Judgement:
    """The report's streams and addresses are Wireshark's; legs were left for the expected reason alone."""
    wrong, named = [], set()
    for row in rows:
        protocol = "tcp" if row["tcp_stream"] else "udp"
        number = int(row["tcp_stream"] or row["udp_stream"] or -1)
        named.add((protocol, number))
        stream = view.streams.get((protocol, number))
        place = view.of_frame.get(int(row["first_frame"] or 0), (protocol, number))      # a fragment has no stream
        ends = {re.sub(r"[\[\]]", "", row[end]) for end in ("client", "server")}
        if stream is None or place != (protocol, number) or ends != {f"{host}:{port}" for host, port in stream.ends}:
            wrong.append(f"leg {row['leg']} says {protocol}.stream {number}")
    missing = set(view.streams) - named
    reasons = Counter(row["reason"] for row in rows if row["status"] == "left")
    unexpected = set(reasons) - {case.left, *case.may_leave} or (case.left and not reasons[case.left])
    detail = "; ".join(wrong[:3]) + (f"; streams without a leg: {sorted(missing)[:5]}" if missing else "")
    moved = sum(bool(row["captured_client"]) and row["captured_client"] != row["client"] for row in rows)
    if moved < case.moved_at_least:
        wrong.append(f"{moved} legs with a changed source port")
    told_ = f"{len(rows)} legs, {len(view.streams)} streams" + (f", left: {dict(reasons)}" if reasons else "")
    return Judgement("report", not wrong and not missing and not unexpected, f"{told_} {detail}".strip("; "))


def opens(output: Path, summary: str) -> Judgement:
    """capinfos opens it; tcpdump does too, unless there are several link types, and then meshpcap says so."""
    several = len(frames.link_types(output)) > 1
    info = subprocess.run(["capinfos", "-M", str(output)], capture_output=True, text=True)
    dump = subprocess.run(["tcpdump", "-n", "-r", str(output)], capture_output=True, text=True)
    if several:
        good = not info.returncode and "--linktype" in summary
        return Judgement("opens", good, "several link types: meshpcap says that tcpdump does not read it")
    good = not info.returncode and not dump.returncode and "\n" in dump.stdout
    return Judgement("opens", good, "tcpdump reads it")


def again(meshpcap: Path, case: Case, output: Path, folder: Path) -> Judgement:
    """The same input gives the same bytes, from a pipe or from files."""
    second, what = folder / "again.pcapng", "same again" if case.stdin is None else "same from file"
    # files are read twice, and what is known only then is not in a pipe's output
    once = () if case.stdin is None or "--lookahead" in case.arguments else ("--lookahead", "2s,64MiB")
    merge(meshpcap, replace(case, stdin=None, arguments=(*case.arguments, *once)), second, folder / "again.csv")
    return Judgement(what, second.read_bytes() == output.read_bytes()
                     and (folder / "again.csv").read_bytes() == (folder / "report.csv").read_bytes())


def checked(meshpcap: Path, case: Case) -> Judgement:
    """`meshpcap check` on the same captures: of a healthy recording no finding but notes; else the codes that are due."""
    found = findings(meshpcap, case)
    if case.codes is not None:
        codes = {finding["code"] for finding in found}
        wrong = codes ^ case.codes
    else:
        alarms = [finding for finding in found if finding["severity"] != "note"]
        codes = {finding["code"] for finding in alarms}
        due = case.alarms | {OF_RULES[one["kind"]] for one in case.expects if one["kind"] in OF_RULES}
        wrong = (codes - case.may_alarm) ^ due
    told_ = ", ".join(f"{code} {sum(finding['code'] == code for finding in found)}" for code in sorted(codes))
    why = "".join(f"; {finding['code']}: {finding['what']}" for finding in found if finding["code"] in wrong)[:600]
    missing = "".join(f"; no {code}" for code in sorted(wrong - codes))
    return Judgement("check", not wrong, f"{told_ or 'nothing'}{missing}{why}")


def findings(meshpcap: Path, case: Case) -> list[dict]:
    """What `meshpcap check` finds, with the options of the merge that count for it."""
    words = iter(case.arguments)
    arguments = [word for word in words if word not in OF_OUTPUT or not next(words)]
    command = [str(meshpcap), "check", "--format", "json", "--fail-on", "never", *map(str, case.inputs), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RigError(f"check: exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)["findings"]
