"""The meshes other than Istio's default: their rules, the ports and the user of their proxy, and whose address it
takes when it calls the application.

The rules are meshpcap's own presets, or files in rules/, all for IPv4; for IPv6 the addresses are replaced. The proxy
is standin.py for all of them.
"""
from dataclasses import dataclass
from pathlib import Path

import steps

RULES = Path(__file__).with_name("rules")
PRESETS = Path(__file__).parents[2] / "src" / "nat" / "presets"
IPV6 = (("127.0.0.1/32", "::1/128"), ("127.0.0.6/32", "::6/128"), ("--to-source 127.0.0.1", "--to-source ::1"),
        ("169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"),
        ("--to-destination 127.0.0.1:", "--to-destination [::1]:"), ("--on-ip 0.0.0.0", "--on-ip ::"),
        ("169.254.169.254/32", "fd00:ec2::254/128"), ("169.254.170.2/32", "fd00:ec2::23/128"),
        ("10.96.0.0/16", "fd00:96::/64"), ("10.96.99.99/32", "fd00:96::99/128"),
        ("10.244.9.1/32", "fd00:244::1/128"), ("10.244.9.1:", "[fd00:244::1]:"), ("10.244.9.2:", "[fd00:244::2]:"),
        ("POD_IP:", "[POD_IP]:"))
PROBE = ("169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff")      # whence ambient's host probes come


@dataclass(frozen=True)
class Flavour:
    """A mesh, or a mode of one."""
    about: str
    preset: str | None = None       # the preset that is, or fits, its rules
    rules: str | None = None        # a file in rules/, if it is not the preset; `.nft` is loaded with nft
    outbound: int = 15001
    inbound: int = 15006
    source: str = "six"             # of a call to the application: six, loopback, pod, client
    uid: int = 1337
    gid: int = 1337
    tproxy: bool = False
    mark: int | None = None         # of the proxy's calls to the application
    mark_all: bool = False          # … and of all it does
    tunnel: int | None = None       # between two proxies (HBONE)
    dns: int | None = None          # where the mesh's DNS server listens
    routes: tuple[str, ...] = ()    # for `ip` and `ip -6`; {any} is 0.0.0.0/0 or ::/0
    inbound_ports: bool = False     # only the ports that are listed are redirected inbound
    direct: frozenset[int] = frozenset()        # ports that are not redirected
    own_redirected: bool = False    # a call to the pod's own address goes to the proxy, too
    mirrored: bool = False          # a call of the proxy to 127.0.0.1 is sent to the pod's address
    clash: bool = False             # the proxy takes a client's address and port as soon as they are free

    @property
    def ports(self) -> frozenset[str]:
        """To which netfilter redirects."""
        return frozenset(str(port) for port in (self.outbound, self.inbound, self.dns) if port)

    def file(self) -> Path:
        return RULES / self.rules if self.rules else PRESETS / f"{self.preset}.rules"

    def text(self, family: int, pod) -> str:
        """The rules as iptables-restore, ip6tables-restore or nft reads them."""
        text = self.file().read_text()
        if self.file().suffix != ".nft" and family == 6:
            for four, six in IPV6:
                text = text.replace(four, six)
        return text.replace("POD_IP6", pod.ip6).replace("POD_IP", pod.ip6 if family == 6 else pod.ip)

    def config(self, pod, peer, **more) -> dict:
        """What standin.py reads."""
        services = [(*steps.SERVICE_HTTP, (peer.ip, 8080)), (*steps.SERVICE_TCP, (peer.ip, 6379)),
                    (*steps.SERVICE_SELF, (pod.ip, 8080)), (*steps.SERVICE6_HTTP, (peer.ip6, 8080)),
                    (*steps.SERVICE6_SELF, (pod.ip6, 8080)), (*steps.SERVICE_NOBODY, (peer.ip, 7)),
                    (*steps.SERVICE6_NOBODY, (peer.ip6, 7))]
        return {"outbound": self.outbound, "inbound": self.inbound, "source": self.source, "tproxy": self.tproxy,
                "mark": self.mark, "mark_all": self.mark_all, "tunnel": self.tunnel, "peers": [peer.ip, peer.ip6],
                "services": services, "clash": self.clash, "truth": str(pod.folder / "proxy.jsonl"), **more}


AMBIENT_ROUTES = ("rule add fwmark 0x111/0xfff pref 32764 lookup 100", "route add local {any} dev lo table 100")
TPROXY_ROUTES = ("rule add fwmark 1337 lookup 133", "route add local {any} dev lo table 133")
AMBIENT = {"preset": "istio-ambient", "source": "client", "uid": 0, "gid": 0, "mark": 0x539, "mark_all": True,
           "tunnel": 15008, "dns": 15053, "routes": AMBIENT_ROUTES}
TPROXY = {"preset": "istio-tproxy", "source": "client", "uid": 0, "tproxy": True, "mark": 1337,
          "routes": TPROXY_ROUTES}

FLAVOURS = {
    "istio": Flavour("Istio's sidecar", preset="istio"),
    "ambient": Flavour("Istio ambient", **AMBIENT),
    "ambient-clash": Flavour("Istio ambient; the proxy takes ports that clients have just left", **AMBIENT, clash=True),
    "linkerd": Flavour("Linkerd", preset="linkerd", outbound=4140, inbound=4143, source="pod", uid=2102, gid=2102),
    "kuma": Flavour("Kuma", preset="kuma", uid=5678, gid=5678, dns=15053),
    "consul": Flavour("Consul's transparent proxy", preset="consul", inbound=20000, source="loopback", uid=5995,
                      gid=5995, dns=8600, own_redirected=True),
    "osm": Flavour("Open Service Mesh", preset="osm", inbound=15003, source="loopback", uid=1500, gid=1500),
    "osm-mirrored": Flavour("Open Service Mesh, calls to 127.0.0.1 sent to the pod's address",
                            rules="osm-pod-ip.rules", inbound=15003, source="loopback", uid=1500, gid=1500,
                            mirrored=True),
    "app-mesh": Flavour("AWS App Mesh", preset="app-mesh", inbound=15000, source="loopback", inbound_ports=True),
    "tproxy": Flavour("Istio with inbound TPROXY", **TPROXY),
    "tproxy-clash": Flavour("Istio with inbound TPROXY; the proxy takes ports that clients have just left", **TPROXY,
                            clash=True),
    "istio-1.9": Flavour("Istio before 1.10", preset="istio-1.9", source="loopback"),
    "istio-dns": Flavour("Istio with DNS capture", preset="istio-dns", dns=15053),
    "istio-dns-1.6": Flavour("Istio 1.6 to 1.8 with DNS capture", rules="istio-dns-1.6.rules", source="loopback",
                             dns=15053),
    "nft-inet": Flavour("native nftables, one inet table", preset="istio", rules="inet.nft"),
    "nft-families": Flavour("native nftables, tables ip and ip6, other ports", rules="families.nft", outbound=15101,
                            inbound=15106, uid=1400, gid=1400, dns=15153),
    "foreign": Flavour("Istio's rules between those of a CNI and of a service proxy", preset="istio",
                       rules="foreign.rules"),
    "kubevirt": Flavour("Istio's rules for a virtual machine behind k6t-eth0", preset="istio", rules="kubevirt.rules"),
    "exclusions": Flavour("Istio's rules, other ports, some destinations excluded", rules="exclusions.rules",
                          outbound=15101, inbound=15106, uid=1400, gid=1400, direct=frozenset({9000})),
}
