"""The script of `meshpcap plan`, run as printed: what it leaves, what it says, and that nothing of it stays."""
import csv
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import steps
import wireshark
from judge import Judgement, connections, read_truth
from pod import Mesh, Options, Pod, RigError, run
from record import Case

PORTS = "8080,6379,9000"
# Beside the captures, when every tool is there.
FILES = {"iptables-save.txt", "ip6tables-save.txt", "nft.json", "addresses.json", "sockets.txt", "sockets-after.txt",
         "local-ports.txt", "conntrack-events.txt", "lo.log", "eth0.log", "lo.pcap0", "eth0.pcap0"}
# Of these, a pod may have nothing to list.
OPTIONAL = {"iptables-legacy-save.txt", "ip6tables-legacy-save.txt", "conntrack-before.txt", "conntrack6-before.txt",
            "conntrack.log"}


def plan(rig, pod: Pod, *arguments: str) -> str:
    rules = [word for name in ("iptables", "ip6tables") for word in ("--rules", str(pod.folder / name))]
    return run(str(rig.meshpcap), "plan", "--pod", f"{pod.ip},{pod.ip6}", "--port", PORTS, *rules, "--script", *arguments)


def heed_signals():
    """A shell cannot trap what was ignored when it began, as under nohup."""
    for which in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_DFL)


class Run:
    """A script that runs; `ready` is set when it says so, and `said` is all that it said on standard error."""

    def __init__(self, text: str, shell: list[str], folder: Path, **more):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "script.sh"
        path.write_text(text)
        path.chmod(0o755)
        self.folder, self.said, self.ready = folder, [], threading.Event()
        with open(folder / "stdout", "w") as stdout:
            self.process = subprocess.Popen([*shell, str(path)], cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout,
                                            stderr=subprocess.PIPE, text=True, start_new_session=True,
                                            preexec_fn=heed_signals, **more)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if ": ready: " in line:
                self.ready.set()
        self.ready.set()

    def end(self, seconds: float = 60) -> int:
        """The exit status; standard output is in `printed`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise RigError(f"the script does not end: {self.said}") from error
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGTERM)     # it ends what it started
                self.process.wait(30)
        self.listener.join(5)
        self.printed = (self.folder / "stdout").read_text()
        return self.process.returncode


def processes(pod: Pod) -> set[str]:
    return set(run("ip", "netns", "pids", pod.namespace).split())


def traffic(mesh: Mesh):
    mesh.a.client(steps.http(steps.SERVICE_HTTP, n=2, size=2000), steps.echo(steps.SERVICE_TCP, n=2),
                  steps.http(steps.SERVICE_SELF), steps.http(steps.SERVICE6_HTTP), steps.dns("a.test"))
    mesh.b.client(steps.http(steps.SERVICE_HTTP), steps.echo(steps.SERVICE_TCP))
    time.sleep(0.3)


def folder_of(printed: str, where: Path) -> Path:
    """From the merge command that the script prints."""
    return where / shlex.split(printed.splitlines()[-1])[2]


def whole(rig, mesh: Mesh, printed: str, where: Path) -> list[Judgement]:
    """The merge command, run as printed, gives every connection back."""
    command = shlex.split(printed.splitlines()[-1])
    merged = subprocess.run([str(rig.meshpcap), *command[1:], "--report", "legs.csv"], cwd=where, capture_output=True, text=True)
    rows = [Judgement("merge DIR/", merged.returncode == 0 and command[0] == "meshpcap" and "not used" not in merged.stderr,
                      merged.stderr.strip().replace("\n", " | ")[:200])]
    if merged.returncode:
        return rows
    output, left = where / command[4], folder_of(printed, where)
    # Named one by one, they give the same; and there are ties.
    options = [word for option, names in (("--rules", ("iptables-save.txt", "ip6tables-save.txt")), ("--keys", ("keys.log",)),
                                          ("--access-log", ("access.log",)), ("--names", ("names.json",)),
                                          ("--conntrack", ("conntrack-events.txt", "conntrack-before.txt",
                                                           "conntrack6-before.txt")))
               for name in names if (left / name).exists() for word in (option, str(left / name))]
    captures = [str(left / name) for name in ("eth0.pcap0", "lo.pcap0")]
    run(str(rig.meshpcap), "merge", *captures, *options, "-o", str(where / "typed.pcapng"), "--report", str(where / "typed.csv"))
    found, typed = ((where / name).read_text() for name in ("legs.csv", "typed.csv"))
    tied = sum(bool(row["tie"]) for row in csv.DictReader(found.splitlines()))
    rows.append(Judgement("side files", found == typed and tied > 0, f"{tied} legs tied, {len(options) // 2} files"))
    # The application's own sockets saw the proxy's address.
    run(str(rig.meshpcap), "merge", "-q", str(left), "--keep-proxy-address", "-o", str(where / "kept.pcapng"))
    case, kept = Case("a", (), mesh.a.truth, mesh.own(mesh.a)), where / "kept.pcapng"
    rows += connections(case, read_truth(case), wireshark.view(kept, case.proxies, case.proxy_ports), kept)
    names = run("capinfos", "-M", "-I", str(output))
    rows.append(Judgement("interfaces", "Name = lo" in names and "Name = eth0" in names, "named after the files"))
    return rows


def script(rig, folder: Path) -> list[Judgement]:
    with Mesh(folder / "mesh", rig.envoy, rig.certificates, Options(ipv6=True, dns=True)) as mesh:
        pod, rows = mesh.a, []
        via = ("--via", f"nsenter={pod.proxy.pid}")
        logs = ("--access-log", str(pod.folder / "access.log"), "--keys", str(pod.folder / "keys.log"))
        before = processes(pod)
        for name, shell, more in (("dash", ["dash"], logs), ("bash", ["bash"], ()), ("ash", ["busybox", "ash"], ())):
            text = plan(rig, pod, *via, "--duration", "4", *more)
            checked = subprocess.run(["shellcheck", "-"], input=text, capture_output=True, text=True)
            one = Run(text, shell, folder / name)
            one.ready.wait(30)
            began = time.monotonic()
            traffic(mesh)
            status = one.end()
            took = time.monotonic() - began
            left = folder_of(one.printed, folder / name)
            files = {path.name for path in left.iterdir()} - OPTIONAL
            expected = FILES | ({"access.log", "keys.log"} if more else set())
            rows += [Judgement(f"{name}: shellcheck", not checked.returncode and not checked.stdout, checked.stdout[:200]),
                     Judgement(f"{name}: ends by itself", status == 0 and took < 30, f"{took:.0f} s, status {status}"),
                     Judgement(f"{name}: files", files == expected, f"{len(files)} {sorted(files ^ expected) or ''}"),
                     Judgement(f"{name}: says", len(one.said) == (2 if more else 1), " | ".join(one.said)[:300]),
                     Judgement(f"{name}: nothing stays", processes(pod) == before, f"{sorted(processes(pod) - before)}")]
            if more:
                mesh_logs = (left / "access.log").read_text().count("\n")
                rows.append(Judgement(f"{name}: access log", mesh_logs >= 8, f"{mesh_logs} requests"))
                rows += whole(rig, mesh, one.printed, folder / name)
        rows += interrupted(rig, pod, via, folder, before)
        rows += without(rig, pod, via, folder)
        return rows


def interrupted(rig, pod: Pod, via, folder: Path, before: set[str]) -> list[Judgement]:
    """Signals end it at once, and what was captured until then is there."""
    rows = []
    for name, how in (("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGINT), ("SIGHUP", signal.SIGHUP)):
        one = Run(plan(rig, pod, *via, "--duration", "600"), ["dash"], folder / name)
        one.ready.wait(30)                      # at once: it may not wait yet
        began = time.monotonic()
        os.killpg(one.process.pid, how)
        status, took = one.end(), time.monotonic() - began
        left = folder_of(one.printed, folder / name)
        rows.append(Judgement(f"{name}", status == 0 and took < 10 and (left / "lo.pcap0").exists()
                              and processes(pod) == before, f"{took:.1f} s, status {status}"))
    return rows


def without(rig, pod: Pod, via, folder: Path) -> list[Judgement]:
    """A missing tool or permission is one line, and the rest runs."""
    rows = []
    tools = folder / "tools"
    tools.mkdir()
    for program in ("sh", "id", "mkdir", "rmdir", "rm", "cat", "sleep", "wc", "tail", "date", "tcpdump", "nsenter", "ip",
                    "iptables-save", "true"):
        (tools / program).symlink_to(shutil.which(program))
    path = {"PATH": str(tools)}
    sh = [shutil.which("dash")]
    one = Run(plan(rig, pod, *via, "--duration", "1"), sh, folder / "fewer", env=path)
    status = one.end()
    missing = [line for line in one.said if "is not there" in line]
    expected = {"conntrack", "nft", "ss", "ip6tables-save"}
    rows.append(Judgement("tools missing", status == 0 and {line.split()[1] for line in missing} == expected
                          and len(missing) == len(expected) == len(one.said) - 1, " | ".join(one.said)[:400]))
    (tools / "tcpdump").unlink()
    one = Run(plan(rig, pod, *via, "--duration", "1"), sh, folder / "no-tcpdump", env=path)
    status = one.end()
    told = [line for line in one.said if "tcpdump" in line]
    rows.append(Judgement("tcpdump missing", status == 2 and len(told) == 1 and not one.printed, " | ".join(told)))
    (folder / "nobody").mkdir()
    (folder / "nobody").chmod(0o777)
    nobody = ["ip", "netns", "exec", pod.namespace, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
              "--bounding-set", "-all", "dash"]
    one = Run(plan(rig, pod, "--duration", "1"), nobody, folder / "nobody")
    status = one.end()
    per_tool = [line.split(":")[1].strip() for line in one.said]
    rows.append(Judgement("not permitted", status == 2 and len(set(per_tool)) == len(per_tool) and not one.printed,
                          " | ".join(one.said)[:600]))
    one = Run(plan(rig, pod, "--via", "nsenter=4194304"), sh, folder / "no-process")
    status = one.end()
    rows.append(Judgement("no such process", status == 2 and len(one.said) == 1, " | ".join(one.said)))
    return rows


# What stands in for kubectl: the containers of the pod are its network namespace.
KUBECTL = """#!/bin/sh
set -u
case $1 in
get) echo '{"apiVersion": "v1", "items": [], "kind": "List"}' ;;
logs) cat "$ACCESS_LOG" ;;
debug) echo "$*" >>"$CALLS" ;;
exec)
    while [ "$1" != -- ]; do shift; done
    shift
    exec ip netns exec "$NETNS" "$@"
    ;;
esac
"""


def kubectl(rig, folder: Path) -> list[Judgement]:
    """Through kubectl, with something in its place: what is sent, what comes back."""
    with Mesh(folder / "mesh", rig.envoy, rig.certificates, Options(ipv6=True, dns=True)) as mesh:
        pod, rows = mesh.a, []
        tools = folder / "tools"
        tools.mkdir()
        (tools / "kubectl").write_text(KUBECTL)
        (tools / "kubectl").chmod(0o755)
        calls = folder / "calls"
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "NETNS": pod.namespace,
                       "ACCESS_LOG": str(pod.folder / "access.log"), "CALLS": str(calls)}
        before = processes(pod)
        for how in ("exec", "debug"):
            text = plan(rig, pod, "--via", f"{how}=default/web-0/istio-proxy", "--duration", "4")
            checked = subprocess.run(["shellcheck", "-"], input=text, capture_output=True, text=True)
            pod.truth.unlink(missing_ok=True)
            one = Run(text, ["dash"], folder / how, env=environment)
            one.ready.wait(30)
            traffic(mesh)
            status = one.end()
            left = folder_of(one.printed, folder / how)
            files = {path.name for path in left.iterdir()} - OPTIONAL
            expected = FILES | {"access.log", "names.json"}
            rows += [Judgement(f"{how}: shellcheck", not checked.returncode and not checked.stdout, checked.stdout[:200]),
                     Judgement(f"{how}: files", status == 0 and files == expected, f"{len(files)} {sorted(files ^ expected) or ''}"),
                     Judgement(f"{how}: nothing stays", processes(pod) == before and not list(Path("/tmp").glob("meshpcap-[0-9]*")),
                               " | ".join(one.said)[:200])]
            if how == "exec":
                rows += whole(rig, mesh, one.printed, folder / how)
        told = calls.read_text()
        rows.append(Judgement("debug: container", "--target=istio-proxy" in told and "--profile=netadmin" in told
                              and "-- sleep " in told, told.strip()))
        return rows
