"""What happens to clients, connections and Redis while a history is made. Each is done again and again, at random moments."""

from __future__ import annotations

import signal
import time

from proxy import Proxy


class Fault:
    """None: what is common to all."""

    def ways(self, round) -> tuple[str, str]:
        """The addresses of Redis and the store for one more client."""
        return round.servers.redis.url, round.servers.store(round.name)

    def step(self, round) -> None:
        """One blow; some of them come every second."""


class Kill(Fault):
    """-9 to a client, every second time in the midst of a write; a new one takes its place."""

    def step(self, round) -> None:
        place = round.random.randrange(len(round.clients))
        round.amid_write(round.clients[place])
        round.replace(place)
        round.count("killed")


class Stop(Fault):
    """A client stands still, every second time in the midst of a write, for less than its intents, and goes on."""

    def step(self, round) -> None:
        client = round.random.choice(round.clients)
        round.amid_write(client)
        process = client.process
        process.send_signal(signal.SIGSTOP)
        round.over.wait(round.random.uniform(0.05, 0.8))
        process.send_signal(signal.SIGCONT)
        round.count("stopped")


class Proxied(Fault):
    """Each client has ways of its own to the servers, through two proxies."""

    def ways(self, round) -> tuple[str, str]:
        servers = round.servers
        redis = round.proxy(Proxy(servers.redis.port, round.random.random()))
        self.to_redis(round, redis)
        address = f"redis://127.0.0.1:{redis.port}/0"
        if servers.mongo is None:  # there is no way to SQLite
            return address, servers.store(round.name)
        store = round.proxy(Proxy(servers.mongo.ports[0], round.random.random()))
        self.to_store(round, store)
        return address, f"mongodb://127.0.0.1:{store.port}/{round.name}?directConnection=true"

    def to_redis(self, round, proxy: Proxy) -> None:
        raise NotImplementedError

    def to_store(self, round, proxy: Proxy) -> None:
        raise NotImplementedError


class Cut(Proxied):
    """Connections are reset in the midst of an answer: what was asked for has been done."""

    def to_redis(self, round, proxy: Proxy) -> None:
        proxy.cut(1, 6000)

    def to_store(self, round, proxy: Proxy) -> None:
        proxy.cut(2000, 40000)


class Latency(Proxied):
    """Every client has another distance from Redis and from the store, 0 to 15 ms each way."""

    def to_redis(self, round, proxy: Proxy) -> None:
        proxy.delay(round.random.choice((0, 0.001, 0.005, 0.015)))

    to_store = to_redis


class Restart(Fault):
    """Redis is killed, and comes back with nothing: no values, no leases, no intents."""

    def step(self, round) -> None:
        redis = round.servers.redis
        round.note("R", time.monotonic_ns())
        redis.kill()
        round.over.wait(round.random.uniform(0, 0.2))
        redis.start()
        round.over.wait(round.random.uniform(0.2, 0.6))
        round.count("restarts")


class Mixed(Cut):
    """Cut connections, while clients are killed and stopped."""

    def step(self, round) -> None:
        round.random.choice((FAULTS["kill"], FAULTS["stop"])).step(round)


FAULTS = {"none": Fault(), "kill": Kill(), "stop": Stop(), "cut": Cut(), "latency": Latency(), "restart": Restart(), "mixed": Mixed()}
