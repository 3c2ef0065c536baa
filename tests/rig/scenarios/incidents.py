"""What `meshpcap check` is there to find, made of real parts: each fault, and the same traffic without it as a twin.

`traffic(broken)` makes the traffic, `fault` stands meanwhile. Of the recording with the fault, check finds exactly the
codes given; of its twin, nothing. What other scenarios show: half-closed-connection (forgotten), one-direction, snaplen (snaplen96),
connection-reset (reuse-after-reset), bypass, stale-rules (rules.py), plaintext-passthrough (four-destinations),
plaintext-in (ipv6).
"""
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

from pod import APPS
from record import ETH0, LO, Tap, compressed, record
from scenarios import scenario
from steps import SERVICE_HTTP, SERVICE_PLAIN, SERVICE_TCP, at_once, dns, echo, http, idle, in_turn, sleep


@contextmanager
def rule(pod, table: str, chain: str, *words: str):
    """A rule of the pod's, first in its chain."""
    pod.inside("iptables", "-t", table, "-I", chain, *words)
    try:
        yield
    finally:
        pod.inside("iptables", "-t", table, "-D", chain, *words)


def losing(pod, *match: str):
    """What comes to the pod, and matches, is lost before anything else sees it but tcpdump."""
    return rule(pod, "raw", "PREROUTING", *match, "-j", "DROP")


@contextmanager
def serving(pod, port: int, kind: str):
    """One more server of the application."""
    process = pod.start(f"{kind}-{port}.log", sys.executable, str(APPS), "one", str(pod.truth), str(port), kind,
                        ready="ready")
    try:
        yield
    finally:
        pod.stop(process)


@contextmanager
def stopped(pod):
    """The pod's proxy is gone."""
    pod.stop(pod.proxy)
    yield


def incident(mesh, traffic, *codes: str, fault=nullcontext(), twin=nullcontext(), taps=(ETH0, LO), twin_taps=(ETH0, LO),
             dumpcap: bool = False) -> list:
    """The case in which the codes are found, and its twin, which is recorded first."""
    cases = []
    for label, due, around, wanted in (("healthy", (), twin, twin_taps), ("", codes, fault, taps)):
        named = tuple(replace(tap, name=f"{label}-{tap.name}".strip("-")) for tap in wanted)
        with record(mesh, *named, pods=(mesh.a,), dumpcap=dumpcap) as recording, around:
            traffic(bool(due))
        cases.insert(0, recording.case(mesh.a, label, codes=frozenset(due)))
    return cases


@contextmanager
def apart(pod):
    """conntrack keeps connections to 6379 in a zone of their own, and what the proxy answers in that of all others."""
    matches = ("-p tcp -d 10.96.0.20 --dport 6379", "-p tcp -d 10.96.0.10 --dport 80", "-p tcp -s 127.0.0.1 --sport 15001")
    with ExitStack() as stack:
        for zone, match in zip("211", matches):
            stack.enter_context(rule(pod, "raw", "OUTPUT", *match.split(), "-j", "CT", "--zone", zone))
        yield


@scenario()
def port_collision(mesh):
    """One local port for two services at once, and the second SYN meets the first connection in the proxy, whose ACK goes to
    the first service's name. Kernels of today see that both would look alike, and change a port, as in the twin; here zones
    keep conntrack from seeing it."""
    local = {"bind": (mesh.a.ip, 25463)}

    def traffic(broken: bool):
        more = {"silent": 1.4} if broken else {}
        mesh.a.client(at_once(http(SERVICE_HTTP, gap=2, **local), in_turn(sleep(0.3), idle(SERVICE_TCP, 0.2, **local, **more))))
    return incident(mesh, traffic, "port-collision", fault=apart(mesh.a))


@scenario()
def silent_peer(mesh):
    """The peer's node drops what is new: the proxy accepts, and its own SYN is never answered."""
    return incident(mesh, lambda _: mesh.a.client(idle((mesh.b.ip, 9000), 1.6)), "unanswered-syn",
                    fault=losing(mesh.b, "-p", "tcp", "--dport", "9000"))


@scenario()
def proxy_stopped(mesh):
    """The proxy has ended: the kernel refuses what the rules still lead to it."""
    return incident(mesh, lambda _: mesh.a.client(http(SERVICE_HTTP, refused=True)), "connection-refused",
                    fault=stopped(mesh.a))


@scenario()
def stray_packet(mesh):
    """istio/istio#36489: a segment out of the window is INVALID to conntrack, nat leaves it alone, and the application's
    own port resets the connection. The twin drops INVALID packets, as Istio does with INVALID_DROP."""
    invalid = rule(mesh.a, "mangle", "PREROUTING", *"-m conntrack --ctstate INVALID -j DROP".split())
    return incident(mesh, lambda _: mesh.outside.client(http((mesh.a.ip, 8080), 2, stray=True), tag="outside"),
                    "invalid-packet-reset", twin=invalid)


@scenario()
def crash(mesh):
    """The called application resets the connection at the first request."""
    return incident(mesh, lambda broken: mesh.a.client(echo((mesh.b.ip, 9001), ended=broken)), "reset-unanswered",
                    fault=serving(mesh.b, 9001, "crash"), twin=serving(mesh.b, 9001, "echo"))


@scenario()
def half_a_request(mesh):
    """The application sends half of a request, waits, and gives up."""
    return incident(mesh, lambda broken: mesh.a.client(http(SERVICE_HTTP, half=1.5 if broken else 0)), "no-response")


@scenario()
def short_packets(mesh):
    """A capture filter keeps short packets only: data that was acknowledged is missing."""
    return incident(mesh, lambda _: mesh.a.client(http(SERVICE_HTTP, 2, size=3000)), "capture-gap",
                    taps=(ETH0, Tap("lo", "lo", "less 1000")))


@scenario(dns=True)
def overrun(mesh):
    """The capturing program does not get to run while large queries go by: the kernel drops them, and says so."""
    def traffic(broken: bool):
        mesh.a.client(http(SERVICE_HTTP, 2))
        capturing = mesh.a.processes[-1]
        if broken:
            capturing.send_signal(signal.SIGSTOP)
        # In the twin, what a busy machine has room for as well.
        names = [f"n{i}.default.svc.cluster.local" for i in range(80 if broken else 8)]
        mesh.a.client(dns(*names, padding=60000))
        capturing.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        mesh.a.client(http(SERVICE_HTTP, 2))

    small = ("-B", "1")
    cases = incident(mesh, traffic, "packets-dropped", dumpcap=True, twin_taps=(ETH0, Tap("lo", "lo", options=("-B", "64"))),
                     taps=(Tap("eth0", "eth0", options=small), Tap("lo", "lo", options=small)))
    # Mostly padding.
    return [replace(case, inputs=tuple(compressed(path, "gzip") for path in case.inputs)) for case in cases]


@scenario()
def plaintext_service(mesh):
    """One service is called without mTLS, as by a DestinationRule that turns it off; the other one with it."""
    return incident(mesh, lambda broken: mesh.a.client(echo(SERVICE_TCP, 2), *([echo(SERVICE_PLAIN)] if broken else [])),
                    "plaintext-out")


@scenario(strict=True)
def strict_mtls(mesh):
    """A client without a proxy calls a port at which the pod takes mTLS only."""
    def traffic(broken: bool):
        mesh.b.client(echo(SERVICE_TCP, 2), tag="b")
        if broken:
            mesh.outside.client(echo((mesh.a.ip, 6379), ended=True), tag="outside")
    return incident(mesh, traffic, "plaintext-refused")


def while_lost(mesh, pod, *match: str):
    """Requests go by, and for half a second what matches is lost."""
    def traffic(broken: bool):
        over = mesh.a.folder / "over"
        over.unlink(missing_ok=True)
        busy = mesh.a.client_meanwhile(http(SERVICE_HTTP, 200, gap=0.05, until=str(over)))
        time.sleep(0.4)
        with losing(pod, *match) if broken else nullcontext():
            time.sleep(0.5)
        time.sleep(0.5)
        over.touch()
        busy.join()
    return traffic


@scenario()
def lost_inside(mesh):
    """A rule drops what the application sends to the proxy for a while."""
    return incident(mesh, while_lost(mesh, mesh.a, *"-i lo -p tcp --dport 15001".split()), "loopback-retransmission")


@scenario()
def lost_outside(mesh):
    """The network loses what the proxy sends to the peer for a while."""
    return incident(mesh, while_lost(mesh, mesh.b, *"-i eth0 -p tcp --dport 8080".split()), "retransmission")


@scenario()
def slow_reader(mesh):
    """The application does not read an answer that its buffer cannot hold."""
    return incident(mesh, lambda broken: mesh.a.client(http(SERVICE_HTTP, size=60000, buffer=4096, pause=1.2 * broken)),
                    "zero-window")


def from_outside(mesh, port: int, what=http):
    """A client outside calls the application, by which the pod's address shows, and then a port of the pod; in the twin,
    that of the application again."""
    def traffic(broken: bool):
        mesh.outside.client(http((mesh.a.ip, 8080)), what((mesh.a.ip, port if broken else 8080)), tag="outside")
    return traffic


@scenario()
def capture_port(mesh):
    """A client outside calls the proxy's own port for redirected connections. A rule refuses the proxy's connection to
    itself, as Istio's blackhole cluster does: else it goes round in circles."""
    loop = rule(mesh.a, "filter", "OUTPUT", *"-s 127.0.0.6 -p tcp --dport 15006 -j REJECT --reject-with tcp-reset".split())
    return incident(mesh, from_outside(mesh, 15006, lambda to: idle(to, 0.2)), "capture-port-reached", fault=loop)


@scenario(admin="0.0.0.0")
def admin_port(mesh):
    """The proxy's administration listens everywhere, and a client outside calls it."""
    return incident(mesh, from_outside(mesh, 15000), "admin-port-reached")


@scenario()
def telemetry_port(mesh):
    """A collector outside reads the merged metrics at 15020, which the rules leave alone."""
    with serving(mesh.a, 15020, "http"):
        return incident(mesh, from_outside(mesh, 15020), "telemetry-port-reached")
