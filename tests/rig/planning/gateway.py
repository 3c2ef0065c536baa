"""Filters of a gateway: Envoy in a namespace of its own, a client outside, a client and a service inside."""
import ipaddress
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import sidecar
import steps
from judge import Judgement
from planning.filters import Captures, Packet, packet
from pod import APPS, Pod, run

# As typed; the network is 192.160.0.0/12, which has all of these but the client outside.
CLUSTER, SERVICES = "192.168.0.0/12", "10.96.0.0/12"
GATEWAY, SERVICE, INSIDE, OUTSIDE = "192.168.3.4", "192.168.3.5", "192.175.9.9", "203.0.113.9"
LISTENER = 8443
NETWORKS = [ipaddress.ip_network(SERVICES), ipaddress.ip_network(CLUSTER, strict=False)]


class Network:
    """Four namespaces on one bridge, all on-link to each other."""

    def __init__(self, folder: Path):
        number = f"{os.getpid()}-900"
        self.bridge = f"meshrig-{number}-net"
        self.pods = {name: Pod(name, f"meshrig-{number}-{name}", ip, "", folder / name)
                     for name, ip in (("gateway", GATEWAY), ("service", SERVICE), ("inside", INSIDE), ("outside", OUTSIDE))}

    def __enter__(self):
        try:
            run("ip", "netns", "add", self.bridge)
            run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", self.bridge, "link", "set", "br0", "up")
            for pod in self.pods.values():
                self.add(pod)
        except BaseException:
            self.__exit__()
            raise
        return self

    def add(self, pod: Pod):
        pod.folder.mkdir(parents=True)
        pod.folder.chmod(0o777)
        run("ip", "netns", "add", pod.namespace)
        port = f"v{pod.name}"
        run("ip", "link", "add", port, "netns", self.bridge, "type", "veth", "peer", "name", "eth0", "netns", pod.namespace)
        run("ip", "-n", self.bridge, "link", "set", port, "master", "br0", "up")
        for words in ("link set lo up", f"addr add {pod.ip}/32 dev eth0", "link set eth0 up", "route add default dev eth0"):
            run("ip", "-n", pod.namespace, *words.split())

    def __exit__(self, *_):
        for pod in self.pods.values():
            for process in reversed(list(pod.processes)):
                pod.stop(process)
        for namespace in (self.bridge, *(pod.namespace for pod in self.pods.values())):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


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
        rows = [Judgement("normalised", "192.160.0.0/12" in notes, notes)]
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
