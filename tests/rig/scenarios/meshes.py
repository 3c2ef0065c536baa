"""Other meshes than Istio's sidecar, with a stand-in for their proxy: the same traffic under the rules of each."""
import json
from dataclasses import replace

from flavours import FLAVOURS, PROBE
from pod import RigError
from record import ANY, ETH0, LO, Case, Tap, record
from scenarios import scenario
from steps import (NAMESERVERS, SERVICE6_HTTP, SERVICE6_NOBODY, SERVICE6_SELF, SERVICE_HTTP, SERVICE_NOBODY, SERVICE_SELF,
                   SERVICE_TCP, at_once, dns, echo, http, in_turn, sleep)

PORT = 25463


def outbound(mesh) -> list[dict]:
    """From pod a: services and addresses, IPv4 and IPv6, one local port for four destinations, and nobody there."""
    four, six = {"bind": (mesh.a.ip, PORT), "gap": 0.02}, {"bind": (mesh.a.ip6, PORT), "gap": 0.02}
    steps = [http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3, size=100), http(SERVICE6_HTTP, 2, size=2000),
             at_once(http(SERVICE_HTTP, 4, **four), echo(SERVICE_TCP, 4, **four), echo((mesh.b.ip, 9000), 4, **four),
                     http((mesh.b.ip, 8080), 4, **four), http(SERVICE6_HTTP, 4, **six),
                     echo((mesh.b.ip6, 9000), 4, **six)),
             echo(SERVICE_TCP, 3, size=100000), http(SERVICE_NOBODY, dropped=True)]
    if not mesh.flavour.mirrored:       # no reset comes from fd00:21::228 to ::1
        steps.append(http(SERVICE6_NOBODY, dropped=True))
    return steps


def selfcalls(mesh) -> list[dict]:
    return [http(SERVICE_SELF, 2, size=500), http(SERVICE6_SELF, 2), http((mesh.a.ip, 8080), 2),
            http((mesh.a.ip6, 8080), 2), http(("127.0.0.1", 8080), 2), http(("::1", 8080), 1)]


def inbound(mesh) -> list[dict]:
    """From outside the mesh to pod a, several at once; nobody listens on port 7."""
    nobody = {"refused" if mesh.flavour.inbound_ports else "dropped": True}
    return [at_once(http((mesh.a.ip, 8080), 3, size=3000), http((mesh.a.ip6, 8080), 3), echo((mesh.a.ip, 6379), 3),
                    echo((mesh.a.ip, 9000), 3, size=50000)),
            echo((mesh.a.ip6, 9000), 2, close="rst"),
            *(http((host, 7), **nobody) for host in (mesh.a.ip, mesh.a.ip6)[:2 - mesh.flavour.mirrored])]


def queries(mesh) -> list[dict]:
    """DNS over UDP and TCP, to where the mesh captures it."""
    to = ([("127.0.0.1", 53), ("::1", 53)] if mesh.options.flavour == "consul" else
          NAMESERVERS)
    steps = [dns("svc.default.svc.cluster.local", "other.default.svc.cluster.local", to=server) for server in to]
    if mesh.options.flavour not in ("consul", "istio-dns-1.6"):
        steps.append(one_port(mesh))
    steps.append(at_once(*(dns(f"n{i}.default.svc.cluster.local", to=to[i % len(to)]) for i in range(8))))
    if mesh.options.flavour != "kuma":          # which captures UDP alone
        steps += [dns("svc.default.svc.cluster.local", to=server, stream=True) for server in to]
    return steps


def one_port(mesh) -> dict:
    """One local port asks two nameservers at once, with the same IDs: conntrack gives one another port."""
    return at_once(*(dns(*(f"{letter}{i}.default.svc.cluster.local" for i in range(4)), to=server,
                         bind=(mesh.a.ip, PORT)) for letter, server in zip("ab", NAMESERVERS)))


def everything(mesh):
    mesh.a.client(*outbound(mesh), *selfcalls(mesh), *(queries(mesh) if mesh.flavour.dns else ()))
    mesh.b.client(http(SERVICE_HTTP, 3, size=1000), http(SERVICE6_HTTP, 2), echo(SERVICE_TCP, 2), tag="b")
    mesh.outside.client(*inbound(mesh), tag="outside")


def pairs(recording, mesh, **more) -> list:
    """Both pods by eth0 and lo, and pod a by `any` alone."""
    eth0, lo, everything_ = recording.files["a"]
    return [recording.case(mesh.a, inputs=(eth0, lo), **more), recording.case(mesh.a, "any", inputs=(everything_,), **more),
            recording.case(mesh.b, inputs=tuple(recording.files["b"][:2]), alarms=more.get("alarms", frozenset()))]


def enter(name: str):
    def traffic(mesh):
        with record(mesh, ETH0, LO, ANY, heavy=True) as recording:
            everything(mesh)
        # Where nobody listens, the peer's proxy resets a tunnel in which it was told where to go: a request that failed.
        alarms = frozenset({"reset-unanswered"} if mesh.flavour.tunnel else ())
        return pairs(recording, mesh, moved_at_least=4 - (9000 in mesh.flavour.direct) * 2, alarms=alarms)
    traffic.__name__ = name
    traffic.__doc__ = f"""{FLAVOURS[name].about}: services, addresses and itself called, calls from outside, one local
    port for four destinations at once, nobody listening, and DNS where the mesh captures it."""
    scenario(flavour=name, ipv6=True)(traffic)


for flavour in FLAVOURS:
    if flavour not in ("istio", "ambient-clash", "tproxy-clash", "kubevirt", "foreign"):
        enter(flavour)


def same_addresses(mesh):
    """The same four numbers on eth0 and on lo, one connection after the other: the proxy calls the application from the
    address and port that a client has just had, and a client takes one that the proxy has just had."""
    to, to6 = mesh.a.ip, mesh.a.ip6
    rounds = [in_turn(http((to, 8080), 2, size=700), http((to6, 8080), 2), http((to, 8080), 1, close="rst"),
                      http((to, 8080), 2, body=900), http((to6, 8080), 1, size=300), sleep(0.1)) for _ in range(4)]
    with record(mesh, ETH0, LO, ANY) as recording:
        mesh.outside.client(*rounds, tag="outside")
        lent = sorted(ends(mesh, "proxy") - ends(mesh, "outside"))[:4]
        mesh.outside.client(*(http(peer, 2, size=400, bind=local) for local, peer in lent), tag="lent")
        mesh.a.client(http(SERVICE_HTTP, 2), echo(SERVICE_TCP, 2))
    same = len(ends(mesh, "outside") & ends(mesh, "proxy"))
    if same < 8 + len(lent):
        raise RigError(f"only {same} connections on lo have the addresses of one on eth0")
    return pairs(recording, mesh)[:2]


def ends(mesh, role: str) -> set:
    """Local and peer address of every connection of a role to pod a."""
    path = mesh.a.folder / "proxy.jsonl" if role == "proxy" else mesh.a.truth
    rows = map(json.loads, path.read_text().splitlines())
    return {(tuple(row["local"]), tuple(row["peer"])) for row in rows
            if row["role"] == role and row["peer"][0] in mesh.a.own}


@scenario(flavour="ambient-clash", ipv6=True)
def ambient_clash(mesh):
    """Istio ambient: a client's address and port on eth0, and then on lo."""
    return same_addresses(mesh)


@scenario(flavour="tproxy-clash", ipv6=True)
def tproxy_clash(mesh):
    """Istio with inbound TPROXY: a client's address and port on eth0, and then on lo."""
    return same_addresses(mesh)


@scenario(flavour="istio-dns-1.6", ipv6=True)
def dns_source_changed_one_port(mesh):
    """DNS capture that changes the source, too, and one local port that asks two nameservers at once: conntrack gives
    one query another port, so that address and port of its client both differ between the halves."""
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(one_port(mesh))
    return recording.cases(gap="a query of which both the source address and the port were changed",
                           gap_rows=frozenset({"clients", "follow", "proxy's ports", "report"}))


@scenario(flavour="ambient", ipv6=True)
def ambient_probes(mesh):
    """Istio ambient: the host's probes, which are not redirected, beside a client's calls, which are."""
    probes = [http((mesh.a.ip, 8080), 1, bind=(PROBE[0], 0)), http((mesh.a.ip6, 8080), 1, bind=(PROBE[1], 0))]
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.outside.client(*(probes + [http((mesh.a.ip, 8080), 1)]) * 3, tag="probe")
        mesh.a.client(http(SERVICE_HTTP, 2))
    return recording.cases()


@scenario(flavour="foreign", ipv6=True)
def foreign(mesh):
    """Istio's rules between those of a CNI's host ports and of a service proxy, which also have the say on some calls:
    18080 from outside goes to the application without the proxy."""
    with record(mesh, ETH0, LO, ANY, heavy=True) as recording:
        everything(mesh)
        # its server's socket says 8080, the packets 18080
        mesh.outside.client(http((mesh.a.ip, 18080), 2), http((mesh.a.ip6, 18080), 1), tag="hostport")
    cases = pairs(recording, mesh)
    # Istio's rules alone would have sent 18080 to the proxy.
    past = {"servers": False, "mesh_alarms": frozenset({"bypass"})}
    return [*(replace(case, **past) for case in cases[:2]), cases[2]]


def machine(mesh, bridge_rules: bool) -> list:
    mesh.add_machine(bridge_rules)
    with record(mesh, ETH0, LO, Tap("k6t-eth0", "k6t-eth0"), Tap("tap0", "tap0"), pods=(mesh.a,)) as recording:
        mesh.machine.client(http(SERVICE_HTTP, 3, size=2000), echo(SERVICE_TCP, 3, size=60000), http(SERVICE6_HTTP, 2),
                            at_once(*(http(SERVICE_HTTP, 2, gap=0.02) for _ in range(4))), tag="vm")
        mesh.a.client(http(SERVICE_HTTP, 3, size=1000), echo((mesh.b.ip, 9000), 2), http(SERVICE6_HTTP, 2))
    eth0, lo, bridge, tap = recording.files["a"]
    proxies = Case.proxies | {"10.0.2.1", "fd00:77::1"} if bridge_rules else Case.proxies
    return [recording.case(mesh.a, inputs=(eth0, lo, bridge), proxies=proxies),
            recording.case(mesh.a, "tap0", inputs=(eth0, lo, tap))]


@scenario(flavour="kubevirt", ipv6=True)
def kubevirt(mesh):
    """A virtual machine in the pod: its calls come in through k6t-eth0, are redirected there, and look whole; those
    of the pod itself are redirected on lo."""
    return machine(mesh, bridge_rules=False)


@scenario(flavour="kubevirt", ipv6=True)
def kubevirt_bridged(mesh):
    """The same with br_netfilter, as nodes of Kubernetes have it: the bridge redirects before tcpdump on k6t-eth0 sees
    the packet, which then goes to the bridge's own address, and only the reply bears the service's."""
    return machine(mesh, bridge_rules=True)
