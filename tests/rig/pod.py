"""Two pods with sidecars: network namespaces, Istio's iptables rules, Envoy, the applications.

A Mesh is set up by `with Mesh(...)`, and nothing of it is left afterwards: no process, no namespace. Its names
carry the process id and a number, so that several stand side by side.
"""
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import sidecar
import steps
from flavours import FLAVOURS, PROBE, Flavour

STANDIN = pathlib.Path(__file__).with_name("standin.py")
APPS = pathlib.Path(__file__).with_name("apps.py")
NUMBERS = itertools.count(1)

# What istio-init writes; {dns} stands where it inserts the rules of DNS capture.
NAT = """*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
{dns_udp}-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s {six} -o lo -j RETURN
-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp -m tcp ! --dport 53 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -p tcp -m tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp -m tcp ! --dport 53 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -p tcp -m tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
{dns_tcp}-A ISTIO_OUTPUT -d {loopback} -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
DNS_OWN = "".join(f"-A OUTPUT -p udp -m udp --dport 53 -m owner --{kind}-owner 1337 -j RETURN\n"
                  for kind in ("uid", "gid"))
DNS_UDP = "-A OUTPUT -d {} -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\n"
DNS_TCP = "-A ISTIO_OUTPUT -d {} -p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053\n"
ZONES = """*raw
-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
-A OUTPUT -p udp -m udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
{nameservers}COMMIT
"""
ZONES_OF_NAMESERVER = """-A OUTPUT -d {0} -p udp -m udp --dport 53 -j CT --zone 2
-A PREROUTING -s {0} -p udp -m udp --sport 53 -j CT --zone 1
"""


def rules(family: int, dns: bool, zones: bool) -> str:
    """The rules of a pod for iptables-restore or ip6tables-restore."""
    ours = {4: ("127.0.0.6/32", "127.0.0.1/32"), 6: ("::6/128", "::1/128")}[family]
    nameservers = [host for host, _ in steps.NAMESERVERS if (":" in host) == (family == 6)] if dns else []
    nat = NAT.format(six=ours[0], loopback=ours[1], dns_tcp="".join(map(DNS_TCP.format, nameservers)),
                     dns_udp=DNS_OWN + "".join(map(DNS_UDP.format, nameservers)) if dns else "")
    if not zones or not nameservers:
        return nat
    return nat + ZONES.format(nameservers="".join(map(ZONES_OF_NAMESERVER.format, nameservers)))


class RigError(Exception):
    """The rig could not do its work; says nothing about meshpcap."""


class TooBusy(RigError):
    """The machine lost packets; another try may do."""


def run(*command: str, stdin: str | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise RigError(f"{' '.join(command)[:300]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


@dataclass
class Options:
    """What differs between meshes."""
    ipv6: bool = False              # dual stack: ::6 on lo, rules for IPv6
    dns: bool = False               # DNS capture: rules, zones and the DNS server on 15053
    zones: bool = True              # … with conntrack zones, as Istio has them
    app_on_loopback: bool = False   # Sidecar `defaultEndpoint: 127.0.0.1:8080`, as before Istio 1.10
    flavour: str | None = None      # another mesh, with a stand-in for its proxy: a name in FLAVOURS
    lo_mtu: int = 65536
    tls: str = "TLSv1_3"            # the version between the proxies
    ports: str = "20000 60999"      # local ports of clients
    strict: bool = False            # the proxy takes no plaintext at the ports that it knows
    admin: str = "127.0.0.1"        # where the proxy's administration listens


@dataclass
class Pod:
    """One pod; its folder holds what it wrote: truth.jsonl, access.log, keys.log, iptables, conntrack."""
    name: str
    namespace: str
    ip: str
    ip6: str
    folder: pathlib.Path
    role: str = "client"            # as which its clients write down what they see
    processes: list = field(default_factory=list)
    proxy: subprocess.Popen | None = None

    @property
    def truth(self) -> pathlib.Path:
        return self.folder / "truth.jsonl"

    @property
    def own(self) -> set[str]:
        """The addresses whose traffic never leaves the pod."""
        return {self.ip, self.ip6, "127.0.0.1", "::1"}

    def inside(self, *command: str, stdin: str | None = None) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, stdin=stdin)

    def start(self, log: str, *command: str, ready: str, uid: int = 0,
              gid: int | None = None) -> subprocess.Popen:
        """Starts a process and returns when `ready` stands in its log."""
        prefix = ["ip", "netns", "exec", self.namespace]
        if uid or gid:
            gid = uid if gid is None else gid
            prefix += ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
        path = self.folder / log
        with open(path, "w") as file:
            process = subprocess.Popen([*prefix, *command], stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                                       start_new_session=True)
        self.processes.append(process)
        for _ in range(1000):
            if ready in path.read_text(errors="replace"):
                return process
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise RigError(f"{command[0]} did not start: {path.read_text(errors='replace').strip()[-500:]}")

    def client(self, *todo: dict, tag: str = "m", uid: int = 0):
        """Runs the steps one after the other as an application of this pod."""
        prefix = ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups") if uid else ()
        self.inside(*prefix, sys.executable, str(APPS), "client", str(self.truth), tag, self.role,
                    stdin=json.dumps(steps.in_turn(*todo)))

    def client_meanwhile(self, *todo: dict, tag: str = "m") -> threading.Thread:
        """The same in the background; join() raises what went wrong."""
        return Background(lambda: self.client(*todo, tag=tag))

    def stop(self, process: subprocess.Popen, how: int = signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in self.processes:
            self.processes.remove(process)


class Background(threading.Thread):
    """A thread whose exception comes out of join()."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self):
        try:
            self.work()
        except BaseException as error:
            self.error = error

    def join(self, timeout=None):
        super().join(timeout)
        if self.error:
            raise self.error


class Mesh:
    """Pods `a` and `b` on one bridge; every service that `a` calls leads to `b`, and the other way round."""

    def __init__(self, folder: pathlib.Path, program: pathlib.Path, certificates: pathlib.Path, options: Options):
        self.folder, self.envoy, self.certificates, self.options = folder, program, certificates, options
        number = f"{os.getpid()}-{next(NUMBERS)}"
        self.network = f"meshrig-{number}-net"
        self.a, self.b = (
            Pod(name, f"meshrig-{number}-{name}", f"172.21.206.{last}", f"fd00:21::{last}", folder / name)
            for name, last in (("a", 227), ("b", 228)))
        self.pods = (self.a, self.b)
        # a client without a proxy; what it calls is pod a, and its truth stands there
        self.outside = Pod("outside", self.network, "172.21.206.1", "fd00:21::1", self.a.folder, "outside")
        self.machine: Pod | None = None         # a virtual machine in pod a

    @property
    def flavour(self) -> Flavour | None:
        return FLAVOURS[self.options.flavour] if self.options.flavour else None

    def own(self, pod: Pod) -> frozenset[str]:
        """The addresses to which the pod's calls are not redirected."""
        return frozenset({"127.0.0.1", "::1"} if self.flavour and self.flavour.own_redirected else pod.own)

    def saved_rules(self, pod: Pod) -> tuple[pathlib.Path, ...]:
        """The files that `--rules` takes."""
        names = ("nftables.json",) if self.flavour.file().suffix == ".nft" else ("iptables", "ip6tables")
        return tuple(pod.folder / name for name in names)

    def __enter__(self) -> "Mesh":
        try:
            self.set_up()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        try:
            for pod in self.pods:
                (pod.folder / "conntrack").write_text(pod.inside("conntrack", "-L", "-o", "extended"))
        except RigError:
            pass
        self.remove()

    def bridge(self):
        """The network that the pods are on."""
        run("ip", "netns", "add", self.network)
        bridge = ("ip", "-n", self.network)
        run(*bridge, "link", "add", "br0", "type", "bridge")
        run(*bridge, "link", "set", "br0", "up")
        run(*bridge, "addr", "add", "172.21.206.1/23", "dev", "br0")
        run(*bridge, "addr", "add", "fd00:21::1/64", "dev", "br0", "nodad")
        for address in (f"{PROBE[0]}/32", f"{PROBE[1]}/128"):
            run(*bridge, "addr", "add", address, "dev", "br0", *(("nodad",) if ":" in address else ()))

    def set_up(self):
        self.bridge()
        for pod in self.pods:
            self.add(pod)
        for pod, peer in (self.pods, self.pods[::-1]):
            (self.start_standin if self.flavour else self.start_envoy)(pod, peer)
            pod.start("apps.log", sys.executable, str(APPS), "serve", str(pod.truth), ready="ready")

    def start_envoy(self, pod: Pod, peer: Pod):
        config = sidecar.configuration(pod, peer, pod.folder, self.certificates, self.options)
        (pod.folder / "envoy.json").write_text(json.dumps(config, indent=1))
        pod.proxy = pod.start("envoy.log", str(self.envoy), "-c", str(pod.folder / "envoy.json"),
                              "--disable-hot-restart", "--concurrency", "1", ready="starting workers",
                              uid=sidecar.UID)
        if self.options.dns:
            pod.start("dns.log", sys.executable, str(APPS), "dns", ready="ready", uid=sidecar.UID)

    def start_standin(self, pod: Pod, peer: Pod):
        path, owner = pod.folder / "standin.json", {"uid": self.flavour.uid, "gid": self.flavour.gid}
        path.write_text(json.dumps(self.flavour.config(pod, peer), indent=1))
        pod.proxy = pod.start("standin.log", sys.executable, str(STANDIN), str(path), ready="ready", **owner)
        if self.flavour.dns:
            pod.start("dns.log", sys.executable, str(APPS), "dns", str(self.flavour.dns), ready="ready", **owner)

    def add(self, pod: Pod, intercepted: bool = True):
        """The namespace of a pod, with its addresses and, if its traffic is to be intercepted, rules."""
        pod.folder.mkdir(parents=True)
        pod.folder.chmod(0o777)                 # Envoy, user 1337, writes here
        pod.truth.touch()
        pod.truth.chmod(0o666)                  # as do clients that run as another user
        run("ip", "netns", "add", pod.namespace)
        ip, port = ("ip", "-n", pod.namespace), f"v{pod.name}"
        run("ip", "link", "add", port, "netns", self.network, "type", "veth", "peer", "name", "eth0",
            "netns", pod.namespace)
        run("ip", "-n", self.network, "link", "set", port, "master", "br0", "up")
        for words in (f"link set lo mtu {self.options.lo_mtu} up", f"addr add {pod.ip}/23 dev eth0",
                      "link set eth0 up", f"addr add {pod.ip6}/64 dev eth0 nodad",
                      "route add default via 172.21.206.1", "route add default via fd00:21::1"):
            run(*ip, *words.split())
        pod.inside("sysctl", "-qw", f"net.ipv4.ip_local_port_range={self.options.ports}")
        if not intercepted:
            return
        if self.flavour:
            return self.load(pod)
        pod.inside("iptables-restore", stdin=rules(4, self.options.dns, self.options.zones))
        (pod.folder / "iptables").write_text(pod.inside("iptables-save"))
        if self.options.ipv6:
            run(*ip, "addr", "add", "::6/128", "dev", "lo", "nodad")
            pod.inside("ip6tables-restore", stdin=rules(6, self.options.dns, self.options.zones))
            (pod.folder / "ip6tables").write_text(pod.inside("ip6tables-save"))

    def load(self, pod: Pod):
        """The rules and routes of the flavour, for both families; what the kernel prints of them is kept."""
        run("ip", "-n", pod.namespace, "addr", "add", "::6/128", "dev", "lo", "nodad")
        for family, everything in ((4, "0.0.0.0/0"), (6, "::/0")):
            for words in self.flavour.routes:
                run("ip", f"-{family}", "-n", pod.namespace, *words.format(any=everything).split())
        self.load_rules(pod)
        if self.flavour.file().suffix != ".nft":
            (pod.folder / "iptables").write_text(pod.inside("iptables-save"))
            (pod.folder / "ip6tables").write_text(pod.inside("ip6tables-save"))
        (pod.folder / "nftables.json").write_text(pod.inside("nft", "-j", "list", "ruleset"))

    def load_rules(self, pod: Pod):
        if self.flavour.file().suffix == ".nft":
            return pod.inside("nft", "-f", "-", stdin=self.flavour.text(4, pod))
        pod.inside("iptables-restore", stdin=self.flavour.text(4, pod))
        pod.inside("ip6tables-restore", stdin=self.flavour.text(6, pod))

    def add_machine(self, bridge_rules: bool):
        """A virtual machine in pod a, behind the bridge k6t-eth0, as kubevirt has it; the rules may apply on the bridge
        already (br_netfilter)."""
        if bridge_rules and not pathlib.Path("/proc/sys/net/bridge").exists():
            run("modprobe", "br_netfilter")
        inner = self.machine = Pod("vm", f"{self.a.namespace}vm", "10.0.2.2", "fd00:77::2", self.a.folder, "vm")
        run("ip", "netns", "add", inner.namespace)
        run("ip", "link", "add", "tap0", "netns", self.a.namespace, "type", "veth", "peer", "name", "eth0", "netns",
            inner.namespace)
        for words in ("link add k6t-eth0 type bridge", "link set tap0 master k6t-eth0 up", "link set k6t-eth0 up",
                      "addr add 10.0.2.1/24 dev k6t-eth0", "addr add fd00:77::1/64 dev k6t-eth0 nodad"):
            run("ip", "-n", self.a.namespace, *words.split())
        for words in ("link set lo up", "link set eth0 up", "addr add 10.0.2.2/24 dev eth0",
                      "addr add fd00:77::2/64 dev eth0 nodad", "route add default via 10.0.2.1",
                      "route add default via fd00:77::1"):
            run("ip", "-n", inner.namespace, *words.split())
        self.a.inside("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if pathlib.Path("/proc/sys/net/bridge").exists():
            self.a.inside("sysctl", "-qw", *(f"net.bridge.bridge-nf-call-{program}={bridge_rules:d}"
                                             for program in ("iptables", "ip6tables")))

    def remove(self):
        everybody = [*self.pods, self.outside, *([self.machine] if self.machine else [])]
        for pod in everybody:
            for process in reversed(list(pod.processes)):
                pod.stop(process)
        for namespace in (pod.namespace for pod in everybody):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def remove_stale():
    """Removes namespaces of runs that were killed."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if match := re.fullmatch(r"meshrig-(\d+)-\d+-\w+", name):
            if not pathlib.Path(f"/proc/{match[1]}").exists():
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


def make_certificates(folder: pathlib.Path):
    """A mesh CA and one workload certificate that both pods use."""
    folder.mkdir(parents=True)
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split()
    san = "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/default"
    run("openssl", "req", "-x509", *new_key, "-days", "3650", "-subj", "/CN=mesh-ca",
        "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem")
    run("openssl", "req", *new_key, "-subj", "/O=mesh", "-addext", san,
        "-keyout", f"{folder}/key.pem", "-out", f"{folder}/request.pem")
    run("openssl", "x509", "-req", "-in", f"{folder}/request.pem", "-CA", f"{folder}/ca.pem",
        "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "3650", "-copy_extensions", "copy",
        "-out", f"{folder}/cert.pem")
    for file in folder.iterdir():
        file.chmod(0o644)                       # Envoy, user 1337, reads them
