"""Recordings: tcpdump (or dumpcap) beside the traffic, and what a judge needs to know about each.

    with record(mesh) as recording: mesh.a.client(...)
    return recording.cases()
"""
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from pod import Mesh, Pod, TooBusy, run


@dataclass(frozen=True)
class Tap:
    """One tcpdump. `filter` may hold {ip}, the pod's address."""
    name: str
    interface: str
    filter: str = ""
    options: tuple[str, ...] = ()


ETH0, LO, ANY = Tap("eth0", "eth0"), Tap("lo", "lo"), Tap("any", "any")


@dataclass(frozen=True)
class Case:
    """One run of meshpcap and what must come of it."""
    name: str                           # the pod and what is special about the run
    inputs: tuple[Path, ...]            # as captured, in the order of the command line
    truth: Path                         # what the applications' sockets saw
    own: frozenset[str]                 # the pod's addresses: what goes there is not redirected
    arguments: tuple[str, ...] = ()     # more arguments for meshpcap
    stdin: int | None = None            # this input comes through a pipe, and the output goes into one
    streams: bool = False               # from a pipe: packets come out before all are in
    compare: str = "bytes"              # how much of a stream must be there: bytes, lengths (cut by the
                                        # snaplen) or suffix (capture begun mid-stream)
    left: str | None = None             # legs stay as captured, for this reason; none may be repaired
    may_leave: frozenset[str] = frozenset()     # reasons for which other legs may be left
    servers: bool = True                # server connections are in the capture, too
    ports: frozenset[int] = frozenset() # judge only connections to these ports (a capture filter's); empty: all
    duplicates_at_least: int = 0
    moved_at_least: int = 0             # repaired legs whose source port conntrack had changed
    lossless: bool = True               # tshark may not miss a segment
    rules: tuple[Path, ...] = ()        # the pod's rules as saved: judged with `--rules` too
    mesh: str | None = None             # the preset that fits: judged with `--mesh` too
    found: bool = True                  # … and with neither: that is found from the packets
    proxy_ports: frozenset[str] = frozenset({"15001", "15006", "15053"})
    proxies: frozenset[str] = frozenset({"127.0.0.1", "::1"})       # addresses to which netfilter redirects
    mirrored: frozenset[str] = frozenset()      # the pod's addresses, if calls to 127.0.0.1 are sent there
    direct: frozenset[int] = frozenset()        # ports that are not redirected
    expects: tuple[dict, ...] = ()      # what report and summary must say, see scenarios/rules.py
    gap: str = ""                       # what meshpcap does not do yet …
    gap_rows: frozenset[str] = frozenset()      # … and the rows that are red for it, until it does
    beside: tuple[tuple[str, str], ...] = ()    # options of meshpcap, each with a file beside the truth
    tls: str | None = None              # the version that the proxies use
    alarms: frozenset[str] = frozenset()        # codes of `meshpcap check`, warnings and errors, that must be found; of
                                        # a healthy recording there are none
    mesh_alarms: frozenset[str] = frozenset()   # … and with `--mesh`, where that is not all of the pod's rules
    may_alarm: frozenset[str] = frozenset()     # … and that may be
    codes: frozenset[str] | None = None # all codes of an incident, or of its healthy twin: nothing else is judged


@dataclass
class Recording:
    mesh: Mesh
    taps: tuple[Tap, ...]
    files: dict[str, list[Path]] = field(default_factory=dict)      # by pod

    def cases(self, **expected) -> list[Case]:
        """A case for each pod that captured."""
        return [self.case(pod, **expected) for pod in self.mesh.pods if pod.name in self.files]

    def case(self, pod: Pod, label: str = "", **expected) -> Case:
        return Case(**{"name": f"{pod.name} {label}".strip(), "inputs": tuple(self.files[pod.name]),
                       "truth": pod.truth, "own": self.mesh.own(pod), **self.of_flavour(pod), **expected})

    def of_flavour(self, pod: Pod) -> dict:
        """What is known of a case under another mesh's rules."""
        if not (flavour := self.mesh.flavour):
            return {}
        return {"rules": self.mesh.saved_rules(pod), "mesh": flavour.preset, "found": flavour.preset is not None,
                "proxy_ports": flavour.ports, "direct": flavour.direct,
                "mirrored": frozenset((pod.ip, pod.ip6)) if flavour.mirrored else frozenset()}


class record:
    """Captures with the taps on the pods while the block runs; every captured packet is in the files afterwards.

    heavy: for many packets. Immediate mode gives each packet room for the whole snaplen in the kernel's buffer, which
    is full after some hundred; without it, the last packets come after a second.
    """

    def __init__(self, mesh: Mesh, *taps: Tap, pods: tuple[Pod, ...] = (), dumpcap: bool = False,
                 heavy: bool = False):
        self.recording = Recording(mesh, taps or (ETH0, LO))
        self.pods, self.dumpcap, self.heavy, self.running = pods or mesh.pods, dumpcap, heavy, []

    def __enter__(self) -> Recording:
        for pod in self.pods:
            self.recording.files[pod.name] = []
            if self.dumpcap:
                first = self.recording.taps[0]
                path = pod.folder / f"{'' if first.name == first.interface else f'{first.name}-'}dumpcap.pcapng"
                interfaces = [word for tap in self.recording.taps for word in ("-i", tap.interface, *tap.options)]
                process = pod.start("dumpcap.log", "dumpcap", "-q", *interfaces, "-w", str(path), ready="File:")
                self.running.append((pod, process, "dumpcap.log"))
                self.recording.files[pod.name].append(path)
                continue
            for tap in self.recording.taps:
                path = pod.folder / f"{tap.name}.pcap"
                words = ["tcpdump", "-i", tap.interface, "-n", "-U", "-B", "32768", "-Z", "root",
                         *(() if self.heavy else ("--immediate-mode",)), *tap.options, "-w", str(path)]
                if tap.filter:
                    words.append(tap.filter.format(ip=pod.ip))
                process = pod.start(f"{tap.name}.log", *words, ready="listening on")
                self.running.append((pod, process, f"{tap.name}.log"))
                self.recording.files[pod.name].append(path)
        if self.dumpcap:
            time.sleep(0.5)
        return self.recording

    def __exit__(self, kind, *_):
        time.sleep(1.3 if self.heavy else 0.3)      # the last acknowledgements
        for pod, process, _log in self.running:
            pod.stop(process, signal.SIGINT)
        for pod, _process, log in self.running:
            told = (pod.folder / log).read_text(errors="replace")
            dropped = re.search(r"(\d+) packets? dropped by kernel", told)
            if kind is None and dropped and int(dropped[1]):
                raise TooBusy(f"{pod.name}: {dropped[0]} ({log}): this machine is too busy to capture")


def compressed(path: Path, program: str) -> Path:
    """The capture through `gzip`, `zstd` or `lz4`, under a name that does not tell."""
    target = path.with_suffix(f".by-{program}")
    with open(path, "rb") as plain, open(target, "wb") as packed:
        subprocess.run([program, "-c"], stdin=plain, stdout=packed, check=True)
    return target


def halves(path: Path) -> tuple[Path, Path]:
    """The capture as two files, as rotation would leave it."""
    count = int(re.search(r"(\d+)$", run("capinfos", "-M", "-c", str(path)).strip())[1])
    first, second = path.with_suffix(".0.pcap"), path.with_suffix(".1.pcap")
    for target, selection in ((first, ("-r",)), (second, ())):
        run("editcap", "-F", "pcap", *selection, str(path), str(target), f"1-{count // 2}")
    return first, second
