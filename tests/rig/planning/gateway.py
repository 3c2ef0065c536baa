"""Filters of a gateway: Envoy in a namespace of its own, a client outside, a client and a service inside."""
import ipaddress
import json
import sys
from collections import Counter
from pathlib import Path

import sidecar
import steps
from gateway_pods import CLUSTER, GATEWAY, NETWORKS, NORMALISED, SERVICE, SERVICES, Network
from judge import Judgement
from planning.filters import Captures, Packet, packet
from pod import APPS, run

LISTENER = 8443


def configuration() -> dict:
    """One listener for clients, which leads to the service inside."""
    chain = {"name": "tcp", "typed_config": sidecar.extension(
        "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="gateway", cluster="service")}
    endpoint = {"endpoint": {"address": sidecar.address(SERVICE, 8080)}}
    cluster = {"name": "service", "type": "STATIC", "connect_timeout": "5s",
               "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]}}
    listener = {"name": "clients", "address": sidecar.address("0.0.0.0", LISTENER), "filter_chains": [{"filters": [chain]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def leg(one: Packet, by_port: bool) -> str:
    """By the addresses, and the gateway's port if it is known."""
    there = one.destination[0] == GATEWAY
    other, own = (one.source, one.destination) if there else (one.destination, one.source)
    inside = any(ipaddress.ip_address(other[0]) in network for network in NETWORKS)
    if by_port and inside and own[1] == LISTENER:
        return "downstream-inside"
    return "upstream" if inside else "downstream"


def gateway(rig, folder: Path) -> list[Judgement]:
    with Network(folder) as network:
        pods = network.pods
        gate, service = pods["gateway"], pods["service"]
        (gate.folder / "envoy.json").write_text(json.dumps(configuration()))
        gate.start("envoy.log", str(rig.envoy), "-c", str(gate.folder / "envoy.json"), "--disable-hot-restart",
                   "--concurrency", "1", ready="starting workers", uid=sidecar.UID)
        service.start("apps.log", sys.executable, str(APPS), "serve", str(service.truth), ready="ready")
        taps, wanted, notes = {"eth0": ("eth0", "")}, {}, ""
        for by_port in (False, True):
            known = ("--pod", GATEWAY, "--port", str(LISTENER)) if by_port else ()
            for asked in ("downstream", "upstream", "downstream-inside", ""):
                if asked == "downstream-inside" and not by_port:
                    continue
                chosen = ("--leg", asked) if asked else ()
                planned = json.loads(run(str(rig.meshpcap), "plan", "--gateway", "--cluster-cidr", CLUSTER, "--service-cidr",
                                         SERVICES, "--json", *known, *chosen))
                name = f"{asked or 'all'}{'-by-port' if by_port else ''}"
                taps[name] = ("eth0", planned["captures"][0]["filter"])
                wanted[name] = (asked, by_port)
                notes = planned["notes"][0]
        with Captures(gate, taps) as captures:
            for client in ("outside", "inside"):
                pods[client].client(steps.http((GATEWAY, LISTENER), n=3, size=2000))
        everything = captures.frames("eth0")
        rows = [Judgement("normalised", notes == NORMALISED, notes)]
        for name, (asked, by_port) in wanted.items():
            expected = Counter(data for data in everything if packet(data).protocol == "tcp"
                               and asked in ("", leg(packet(data), by_port)))
            kept = Counter(captures.frames(name))
            told = f"{sum(kept.values())} of {len(everything)} packets"
            for what, which in (("lost", expected - kept), ("not asked for", kept - expected)):
                if which:
                    told += f"; {sum(which.values())} {what}: {packet(next(iter(which)))}"
            rows.append(Judgement(name, kept == expected and bool(kept), told))
        return rows
