"""What the clients of a recording do, from a seed: Parameters, and the plan for tie_clients.py.

Loads: gentle (few, with pauses), bursty (all clients begin at the same moments), heavy (no pauses, many at once).
"""
import random
from dataclasses import asdict, dataclass

LOADS = ("gentle", "bursty", "heavy")
SECONDS = 5.0           # how long gentle and bursty clients are busy
HTTP, TCP, SPEAKS_FIRST, UNKNOWN = 8080, 6379, 3306, 9000


@dataclass(frozen=True)
class Parameters:
    """What differs between recordings."""
    seed: int
    load: str
    clients: int
    http_share: float           # of the sessions; the others are TCP
    mtls_share: float           # of the clients; the others speak plain text
    ipv6_share: float           # of the clients
    ids_share: float            # of the HTTP sessions whose client sends an x-request-id of its own
    concurrency: int            # Envoy's workers: each has pools of its own
    keepalive: int              # requests after which the application closes; 0: never
    pool_per_client: bool       # connection_pool_per_downstream_connection
    midstream: bool             # the capture begins while connections stand
    certificate_header: bool    # the proxy adds x-forwarded-client-cert to mTLS requests, as Istio has it

    def as_row(self) -> dict:
        return asdict(self)


def parameters(seed: int, **given) -> Parameters:
    """Of this seed; what is given is taken as it is."""
    chance = random.Random(f"parameters {seed}")
    drawn = {"seed": seed, "load": LOADS[seed % 3], "clients": chance.randint(10, 24),
             "http_share": chance.choice((0.3, 0.5, 0.7)), "mtls_share": chance.choice((0.4, 0.6, 0.8)),
             "ipv6_share": chance.choice((0.0, 0.25, 0.5)), "ids_share": chance.choice((0.0, 0.3, 1.0)),
             "concurrency": chance.choice((1, 2)), "keepalive": chance.choice((0, 0, 1, 5)),
             "pool_per_client": chance.random() < 0.2, "midstream": chance.random() < 0.2,
             "certificate_header": chance.random() < 0.6}
    return Parameters(**{**drawn, **{name: value for name, value in given.items() if value is not None}})


def size(chance: random.Random, heavy: bool) -> int:
    """Mostly the few sizes that real services use again and again, some of any size, some in bulk."""
    drawn = chance.random()
    if drawn < 0.5:
        return chance.choice((0, 1, 64, 200, 1000))
    if drawn < 0.9:
        return chance.randint(1, 20_000)
    return chance.randint(20_000, 60_000 if heavy else 150_000)


class Planner:
    """Draws sessions for the clients of one recording."""

    def __init__(self, wanted: Parameters, services: dict[int, tuple[str, int]] | None = None):
        self.wanted, self.chance, self.services = wanted, random.Random(f"plan {wanted.seed}"), services or {}
        self.heavy = wanted.load == "heavy"

    def gap(self) -> float:
        return 0.0 if self.heavy else round(self.chance.choice((0.0, self.chance.uniform(0.005, 0.15))), 4)

    def exchange(self) -> dict:
        small = self.chance.random() < 0.7
        think = round(self.chance.choice((0, 0, self.chance.uniform(0.001, 0.03))), 4)
        return {"up": 0 if small else size(self.chance, self.heavy), "down": size(self.chance, self.heavy),
                "think": think, "gap": self.gap()}

    def http(self) -> dict:
        session = {"do": "http1", "ids": self.chance.random() < self.wanted.ids_share,
                   "exchanges": [self.exchange() for _ in range(self.chance.randint(1, 8))]}
        if self.chance.random() < 0.25:
            for exchange in session["exchanges"]:       # flow control: bodies that fit the first windows
                exchange["up"], exchange["down"] = min(exchange["up"], 30_000), min(exchange["down"], 60_000)
            session |= {"do": "h2", "at_once": self.chance.choice((1, 2, 4))}
        return session

    def tcp(self, tls: str | None) -> dict:
        kind = self.chance.choice(("plain", "plain", "greeting", "greeting", "bulk", "tiny", "idle", "silent",
                                   "greeting-only", "unknown-port", "half-close", "server-closes", "reset", "late"))
        session = {"do": "tcp", "exchanges": [self.exchange() for _ in range(self.chance.randint(1, 5))]}
        if kind == "bulk":
            for exchange in session["exchanges"][:2]:
                exchange[self.chance.choice(("up", "down"))] = self.chance.randint(50_000, 400_000)
        elif kind == "tiny":
            session["exchanges"] = [{"up": 0, "down": 1, "gap": self.gap()} for _ in session["exchanges"]]
        elif kind == "idle":
            session["idle"] = round(self.chance.uniform(0.05, 1.0), 3)
        elif kind in ("silent", "greeting-only"):
            session |= {"exchanges": [], "idle": round(self.chance.uniform(0.0, 0.3), 3)}
        elif kind == "half-close" and not tls:
            # a FIN that comes while the proxy still looks for TLS ends the connection: the last exchange only
            session |= {"flags": "e", "exchanges": [{**self.exchange(), "down": 1}, *session["exchanges"]]}
        elif kind == "server-closes":
            session["flags"] = "c"
        elif kind == "reset":
            session["close"] = "rst"
        elif kind == "late":
            session["wait"] = round(self.chance.uniform(0.01, 0.4), 3)
        session |= {"kind": kind, "greeting": kind in ("greeting", "greeting-only")}
        return session

    def session(self, tls: str | None, host: str) -> dict:
        if self.chance.random() < self.wanted.http_share:
            session, port = self.http(), HTTP
        else:
            session = self.tcp(tls)
            port = SPEAKS_FIRST if session["greeting"] else UNKNOWN if session["kind"] == "unknown-port" else TCP
        if port == UNKNOWN:
            tls = None                  # a port that the proxy does not know gets the bytes as they are
        return {**session, "to": self.services.get(port, (host, port)), "tls": tls}

    def client(self, address: str | None, host: str) -> dict:
        """The lanes of a client of the pod at `host`."""
        chance, load = self.chance, self.wanted.load
        tls = chance.choice(("1.3", "1.3", "1.2")) if chance.random() < self.wanted.mtls_share else None
        lanes = []
        for number in range({"gentle": chance.randint(1, 2), "bursty": 2, "heavy": 3}[load]):
            count = {"gentle": chance.randint(3, 6), "bursty": 8, "heavy": 12}[load]
            lane = [self.session(tls, host) for _ in range(count)]
            for turn, session in enumerate(lane):
                if load == "bursty":
                    session["at"] = round(turn * SECONDS / count, 3)
                elif load == "gentle":
                    session["gap"] = round(chance.uniform(0.05, 2 * SECONDS / count / 2), 3)
            if chance.random() < 0.2:
                lane[-1]["close"] = "stay"
            lanes.append(lane)
        if self.wanted.midstream and chance.random() < 0.5:
            lasting = self.session(tls, host)
            lasting["exchanges"] = [{"up": 0, "down": chance.randint(1, 3000), "think": 0, "gap": 0.3}
                                    for _ in range(10)]
            lanes.append([lasting])
        return {"address": address, "lanes": lanes}
