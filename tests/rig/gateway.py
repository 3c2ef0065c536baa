#!/usr/bin/env python3
"""The test of a gateway's legs: Envoy as a gateway in a namespace of its own, clients outside and inside, a service inside.

    gateway.py MESHPCAP [--keep DIR]

What goes through the gateway bears a name of its own in the request, which the sockets at both ends saw: that is the
truth, of roles and of ties, with the gateway's log and without it; tshark shows what a tie's filter selects.
"""
import base64
import ipaddress
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                                                                      # noqa: E402
import sidecar                                                                                          # noqa: E402
import steps                                                                                            # noqa: E402
import wireshark                                                                                        # noqa: E402
from gateway_pods import CLUSTER, GATEWAY, NETWORKS, NORMALISED, SERVICE, SERVICES, Network             # noqa: E402
from judge import Judgement                                                                             # noqa: E402
from planning.filters import Captures                                                                   # noqa: E402
from pod import APPS, TooBusy, make_certificates                                                        # noqa: E402

PROGRAMS = ("ip", "tcpdump", "tshark", "openssl", "setpriv")
# Listeners: HTTP and TCP, as they are and within TLS; TCP within TLS to a service within TLS; HTTP when nothing else
# happens, with connections to the service of its own; the gateway's health.
HTTP, HTTPS, TCP, TLS, BOTH_TLS, BACKEND_TLS, QUIET, HEALTH = 8080, 8443, 6379, 6380, 6381, 6390, 8081, 15021
SHARE = 0.75        # of the legs within TLS on both sides, from the captures alone: lengths are all that shows there
NAME = re.compile(rb"(?:/|^|\n)((?:out|in)[.\w]*-\d+)[? ]")
Leg = tuple[str, str]               # client and server as ADDRESS:PORT


def configuration(folder: Path, certificates: Path) -> dict:
    log = [{"name": "envoy.access_loggers.file", "typed_config": sidecar.extension(
        "access_loggers.file.v3.FileAccessLog", path=str(folder / "access.log"),
        log_format={"text_format_source": {"inline_string": sidecar.ACCESS_LOG}})}]
    pair = {"certificate_chain": {"filename": f"{certificates}/cert.pem"},
            "private_key": {"filename": f"{certificates}/key.pem"}}
    ends_tls = {"transport_socket": {"name": "tls", "typed_config": sidecar.extension(
        "transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={"tls_certificates": [pair]})}}
    begins_tls = {"transport_socket": {"name": "tls", "typed_config": sidecar.extension(
        "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context={})}}

    def http(route: dict, **more) -> dict:
        everything = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}
        return {"name": "http", "typed_config": sidecar.extension(
            "filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix="http",
            use_remote_address=True, **more,
            route_config={"virtual_hosts": [everything]},
            http_filters=[{"name": "router", "typed_config": sidecar.extension("filters.http.router.v3.Router")}])}

    def tcp(cluster: str) -> dict:
        return {"name": "tcp", "typed_config": sidecar.extension(
            "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster=cluster, access_log=log)}

    def listener(port: int, filter_: dict, **more) -> dict:
        return {"name": str(port), "address": sidecar.address("0.0.0.0", port),
                "filter_chains": [{"filters": [filter_], **more}]}

    def cluster(name: str, port: int, **more) -> dict:
        endpoint = {"endpoint": {"address": sidecar.address(SERVICE, port)}}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", **more,
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}

    requests, quiet = ({"route": {"cluster": name, "timeout": "0s"}} for name in ("http", "quiet"))
    return {"static_resources": {
        "listeners": [listener(HTTP, http(requests, access_log=log)),
                      listener(HTTPS, http(requests, access_log=log), **ends_tls), listener(TCP, tcp("tcp")),
                      listener(TLS, tcp("tcp"), **ends_tls), listener(BOTH_TLS, tcp("within-tls"), **ends_tls),
                      listener(QUIET, http(quiet, access_log=log)),
                      listener(HEALTH, http({"direct_response": {"status": 200}}))],
        "clusters": [cluster("http", 8080), cluster("quiet", 8080), cluster("tcp", 6379),
                     cluster("within-tls", BACKEND_TLS, **begins_tls)]}}


def backend(certificates: Path) -> dict:
    """The service's side of TLS: an Envoy of its own, on the way to the application."""
    pair = {"certificate_chain": {"filename": f"{certificates}/cert.pem"},
            "private_key": {"filename": f"{certificates}/key.pem"}}
    chain = {"filters": [{"name": "tcp", "typed_config": sidecar.extension(
        "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster="application")}],
        "transport_socket": {"name": "tls", "typed_config": sidecar.extension(
            "transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={"tls_certificates": [pair]})}}
    endpoint = {"endpoint": {"address": sidecar.address("127.0.0.1", 9000)}}
    return {"static_resources": {
        "listeners": [{"name": "tls", "address": sidecar.address("0.0.0.0", BACKEND_TLS), "filter_chains": [chain]}],
        "clusters": [{"name": "application", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
            "cluster_name": "application", "endpoints": [{"lb_endpoints": [endpoint]}]}}]}}


def traffic(number: int) -> dict:
    """What a client does; the sizes differ, as those of real ones do."""
    some = [steps.http((GATEWAY, HTTP), n=3, size=700 + 100 * number, gap=0.03, body=50 * number),
            steps.http((GATEWAY, HTTPS), n=2, size=900 + 130 * number, gap=0.03, tls="TLSv1_3"),
            steps.http((GATEWAY, HTTPS), n=2, size=300 + 170 * number, gap=0.03, tls="TLSv1_2"),
            *(steps.echo((GATEWAY, TCP), n=2, size=40 * turn + 7 * number, gap=0.02) for turn in range(1, 6)),
            *(steps.echo((GATEWAY, TLS), n=2, size=500 + 60 * turn + 7 * number, gap=0.02, tls=version)
              for turn, version in enumerate(("TLSv1_2", "TLSv1_3", "TLSv1_3", "TLSv1_3"))),
            *(steps.echo((GATEWAY, BOTH_TLS), n=2, size=1200 + 70 * turn + 7 * number, gap=0.02, tls=version)
              for turn, version in enumerate(("TLSv1_2", "TLSv1_3", "TLSv1_3", "TLSv1_3")))]
    return steps.at_once(*some)


def end(pair) -> str:
    return f"{pair[0]}:{pair[1]}"


class Truth:
    """Who called whom, and what each connection carried, by the sockets at both ends."""

    def __init__(self, pods: dict):
        self.near: dict[Leg, set[bytes]] = {}
        self.far: dict[Leg, set[bytes]] = {}
        for name in ("outside", "inside"):
            for row in self.rows(pods[name]):
                self.near[end(row["local"]), end(row["peer"])] = self.names(row["sent"])
        for row in self.rows(pods["service"]):
            if row["peer"][0] == GATEWAY:
                self.far[end(row["peer"]), end(row["local"])] = self.names(row["got"])
        self.wrapped = within_tls(pods["gateway"].folder / "access.log")

    @staticmethod
    def rows(pod) -> list[dict]:
        return [json.loads(line) for line in pod.truth.read_text().splitlines()]

    @staticmethod
    def names(sent: dict) -> set[bytes]:
        return set(NAME.findall(base64.b64decode(sent["base64"])))

    def partners(self, far: Leg) -> set[Leg]:
        return {near for near, names in self.near.items() if names & self.far[far]}


def port(text: str) -> int:
    return int(text.rpartition(":")[2])


def is_inside(text: str) -> bool:
    return any(ipaddress.ip_address(text.rpartition(":")[0]) in network for network in NETWORKS)


def merged(meshpcap: Path, folder: Path, name: str, *options: str) -> tuple[list[dict], Path, str]:
    output, report = folder / f"{name}.pcapng", folder / f"{name}.json"
    command = [str(meshpcap), "merge", str(folder / "gateway/eth0.pcap"), "-o", str(output), "--report", str(report),
               "--gateway", "--cluster-cidr", CLUSTER, "--service-cidr", SERVICES, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return [], output, done.stderr
    return json.loads(report.read_text()), output, done.stderr


def judge(name: str, truth: Truth, rows: list[dict], output: Path, told: str, with_log: bool) -> list[Judgement]:
    legs = {(row["client"], row["server"]): row for row in rows}
    wrapped = truth.wrapped.keys()
    wanted = {**dict.fromkeys(truth.near, "downstream"), **dict.fromkeys([*truth.far, *wrapped], "upstream")}
    wrong = [f"{leg}: {role}, not {legs.get(leg, {}).get('role')}" for leg, role in wanted.items()
             if legs.get(leg, {}).get("role") != role]
    wrong += [f"{leg}: nobody's" for leg in legs.keys() - wanted]
    both = Counter(is_inside(client) for client, _ in truth.near)
    judgements = [
        Judgement(f"{name}: said once", told.count(NORMALISED) == 1, told.splitlines()[0] if told else ""),
        Judgement(f"{name}: roles", not wrong and len(both) == 2 and bool(wrapped),
                  "; ".join([f"{len(wanted)} legs, {both[False]} clients' outside, {both[True]} inside", *wrong[:2]])),
        Judgement(f"{name}: health", all(bool(row["port_label"]) == (port(row["server"]) == HEALTH) for row in rows)
                  and any(row["port_label"] == "15021 health: /healthz/ready" for row in rows))]
    return judgements + judge_ties(name, truth, legs, wrapped, with_log) + [judge_filters(name, rows, output)]


def within_tls(log: Path) -> dict[Leg, Leg]:
    """The clients' legs of those that the service's Envoy ends, by the gateway's log: no application saw their ends."""
    found = re.findall(r'"([\d.:]+)" within-tls ([\d.:]+) ([\d.:]+) ([\d.:]+) ', log.read_text())
    return {(own, service): (client, listener) for service, own, listener, client in found}


def judge_ties(name: str, truth: Truth, legs: dict[Leg, dict], wrapped: set[Leg], with_log: bool) -> list[Judgement]:
    """Each leg to the service is tied to the clients' legs whose requests it carried, and names these clients."""
    of_tie: dict = {}
    for leg, row in legs.items():
        of_tie.setdefault(row["tie"], set()).add(leg)
    joined = joined_by(truth)
    counts, wrong = Counter(), []
    for far in truth.far:
        row, partners = legs.get(far), truth.partners(far)
        kind = "tcp" if port(far[1]) != 8080 else "quiet" if all(port(leg[1]) == QUIET for leg in partners) else "http"
        near = of_tie.get(row["tie"], set()) & truth.near.keys() if row and row["tie"] is not None else set()
        clients = {leg[0].rpartition(":")[0] for leg in partners}
        if near - joined[far] or row and set(row["real_client"] or ()) - clients:
            wrong.append(f"{far} carried {sorted(partners)[:2]}, is tied to {sorted(near)[:2]}, of {row['real_client']}")
            counts[kind, "wrong"] += 1
        elif near >= partners and set(row["real_client"] or ()) == clients:
            counts[kind, "right"] += 1
        else:
            counts[kind, "none"] += 1
    for far in wrapped:
        near = of_tie[legs[far]["tie"]] & truth.near.keys() if legs[far]["tie"] is not None else set()
        counts["within TLS", "right" if near == {truth.wrapped[far]} else "wrong" if near else "none"] += 1
        wrong += [f"{far} is tied to {sorted(near)[:2]}"] if near - {truth.wrapped[far]} else []
    grades = {row["tie_evidence"] for row in legs.values() if row["tie"] is not None}
    enough = {kind: counts[kind, "right"] for kind in ("http", "quiet", "tcp", "within TLS")}
    all_of = {kind: sum(count for (one, _), count in counts.items() if one == kind) for kind in enough}
    if with_log:
        good = enough == all_of and all(enough.values()) and grades == {"access-log"}
    else:
        # Where clients overlap, exchanges of HTTP may not be told apart: then nothing may be said of them.
        good = enough["quiet"] == all_of["quiet"] > 0 and enough["tcp"] >= 0.9 * all_of["tcp"] > 0 and (
            enough["within TLS"] >= SHARE * all_of["within TLS"] > 0)
    told = ", ".join(f"{kind} {what} {n}" for (kind, what), n in sorted(counts.items()))
    return [Judgement(f"{name}: ties", not wrong and good, "; ".join([told, "/".join(sorted(grades)), *wrong[:2]]))]


def joined_by(truth: Truth) -> dict[Leg, set[Leg]]:
    """By leg to the service: the clients' legs that share a call with it, also by others' requests."""
    joined = {far: truth.partners(far) for far in truth.far}
    for far in joined:
        while more := set().union(*(other for other in joined.values() if other & joined[far])) - joined[far]:
            joined[far] |= more
    return joined


def judge_filters(name: str, rows: list[dict], output: Path) -> Judgement:
    """tshark selects with a tie's filter the packets between the ends of its legs, and no others."""
    ties: dict = {}
    for row in rows:
        if row["tie"] is not None:
            ties.setdefault((row["tie"], row["tie_filter"]), []).append(row)
    fields = ("-T", "fields", "-E", "separator= ", *(word for field in ("frame.number", "ip.src", "tcp.srcport", "ip.dst",
                                                                      "tcp.dstport") for word in ("-e", field)))
    frames = {}
    for line in wireshark.tshark(output, "-Y", "tcp", *fields).splitlines():
        number, source, source_port, target, target_port = line.split()
        frames[int(number)] = frozenset((f"{source}:{source_port}", f"{target}:{target_port}"))
    wrong = []
    for (tie, filter_), legs in sorted(ties.items())[:6]:
        ends = {frozenset((row["client"], row["server"])) for row in legs}
        shown = wireshark.tshark(output, "-Y", filter_, "-T", "fields", "-e", "frame.number")
        asked = set(map(int, shown.split()))
        if not asked or asked != {number for number, between in frames.items() if between in ends}:
            wrong.append(f"tie {tie}: {filter_}")
    return Judgement(f"{name}: tshark", bool(ties) and not wrong, "; ".join([f"{len(ties)} ties", *wrong]))


def record(envoy: Path, certificates: Path, folder: Path) -> Truth:
    with Network(folder) as network:
        pods = network.pods
        gate, service = pods["gateway"], pods["service"]
        for pod, config in ((gate, configuration(gate.folder, certificates)), (service, backend(certificates))):
            (pod.folder / "envoy.json").write_text(json.dumps(config, indent=1))
            pod.start("envoy.log", str(envoy), "-c", str(pod.folder / "envoy.json"), "--disable-hot-restart",
                      "--concurrency", "1", "--file-flush-interval-msec", "100", ready="starting workers",
                      uid=sidecar.UID)
        service.start("apps.log", sys.executable, str(APPS), "serve", str(service.truth), ready="ready")
        with Captures(gate, {"eth0": ("eth0", "tcp")}, buffer=131072):
            running = [pods[name].client_meanwhile(traffic(number), tag=tag)
                       for number, (name, tag) in enumerate((("outside", "out"), ("inside", "in"), ("outside", "out2"),
                                                             ("inside", "in2")))]
            for client in running:
                client.join()
            for name, tag in (("outside", "out3"), ("inside", "in3")):
                pods[name].client(*(steps.http((GATEWAY, QUIET), n=2, size=400 * turn, body=30) for turn in (1, 2)), tag=tag)
            pods["outside"].client(steps.http((GATEWAY, HEALTH)), tag="out-health")
            time.sleep(0.3)
    return Truth(pods)


def test(meshpcap: Path, folder: Path) -> list[Judgement]:
    make_certificates(folder / "certificates")
    envoy = sidecar.place(folder)
    for attempt in range(3):
        try:
            pods = folder / f"try{attempt}"
            truth = record(envoy, folder / "certificates", pods)
            break
        except TooBusy as error:
            print(f"again   {error}")
    else:
        raise TooBusy("this machine is too busy to capture")
    log = ("--access-log", str(pods / "gateway/access.log"))
    rows = []
    for name, with_log, options in (("log", True, log), ("alone", False, ()), ("given", False, ("--pod", GATEWAY))):
        rows += judge(name, truth, *merged(meshpcap, pods, name, *options), with_log)
    return rows


def main() -> int:
    parser = commandline.parser(__doc__)
    return commandline.run(parser, parser.parse_args(), PROGRAMS,
                       lambda meshpcap, folder: commandline.tell(test(meshpcap, folder), 24))


if __name__ == "__main__":
    sys.exit(main())
