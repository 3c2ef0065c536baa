"""Four namespaces around a gateway: itself, a service inside, a client inside and one outside."""
import ipaddress
import os
import subprocess
from pathlib import Path

from pod import NUMBERS, Pod, run

# As typed; the network is 192.160.0.0/12, which has all of these but the client outside.
CLUSTER, SERVICES = "192.168.0.0/12", "10.96.0.0/12"
NORMALISED = f"{CLUSTER}: host bits set, taken as 192.160.0.0/12"
GATEWAY, SERVICE, INSIDE, OUTSIDE = "192.168.3.4", "192.168.3.5", "192.175.9.9", "203.0.113.9"
NETWORKS = [ipaddress.ip_network(SERVICES), ipaddress.ip_network(CLUSTER, strict=False)]


class Network:
    """Four namespaces on one bridge, all on-link to each other."""

    def __init__(self, folder: Path):
        number = f"{os.getpid()}-{900 + next(NUMBERS)}"
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
