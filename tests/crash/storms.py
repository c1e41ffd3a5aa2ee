"""A round in which everything fails at random: clients and workers, Redis, the store."""

from __future__ import annotations

import signal
import time

from rounds import LANES, NAMED, Client, Round

KINDS = ("python", "node", "c")


class Storm:
    """`seconds` long, under a client of each kind and one process that only works."""

    def __init__(self, round: Round, seconds: float):
        self.round, self.seconds, self.random = round, seconds, round.random
        self.places = [Client(round, kind) for kind in KINDS] + [Client(round, "python", lanes=0)]
        self.asleep: list[tuple[float, Client]] = []  # until when
        self.points = self.random.sample(NAMED, len(NAMED))

    def play(self) -> None:
        time.sleep(1 if self.round.quick else 2)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.05, 0.4))
            blow = self.random.choices((self.kill, self.stop, self.kill_redis, self.stop_redis, self.hurt_store), (6, 3, 1, 1, 2))[0]
            blow()
            self.wake(time.monotonic())

    # ---- whose turn it is

    def wake(self, now: float) -> None:
        for until, client in [one for one in self.asleep if one[0] <= now]:
            self.asleep.remove((until, client))
            client.go_on()

    def awake(self) -> list[Client]:
        return [client for client in self.places if not client.stopped]

    def next_point(self) -> str:
        """Each comes its turn, in an order of this round's own."""
        self.points.append(self.points.pop(0))
        return self.points[-1]

    def replace(self, old: Client) -> Client:
        place = self.places.index(old)
        self.places[place] = Client(self.round, old.kind, 0 if place == len(self.places) - 1 else LANES)
        return self.places[place]

    # ---- clients

    def strike(self, blow) -> Client:
        """At the next named point whoever comes there; if nobody does soon, anybody anywhere."""
        point, up = self.next_point(), self.awake()
        if point == "takeover":
            struck = self.strike_successor(blow)
        elif point == "flush" and self.round.store == "sqlite":
            struck = self.strike_in_lock(up, blow)
        else:
            struck = self.round.strike(up, point, blow, self.delivers(point))
        if struck is None:
            struck = self.random.choice(up)
            blow(struck)
        return struck

    def delivers(self, point: str) -> bool:
        """Has the server been asked, or has it not? Behind a commit it has; and in SQLite, which nobody asks, the ack of it has not been sent."""
        if point == "commit":
            return self.round.store == "mongodb"
        return point in ("take", "ack") or self.random.random() < 0.5

    def strike_in_lock(self, up: list[Client], blow) -> Client | None:
        """A flush waits for the lock, with what it has taken."""
        with self.round.locked():
            struck = self.round.strike(up, "take", lambda client: None, deliver=True)
            if struck is None:
                return None
            time.sleep(self.random.uniform(0.05, 0.2))
            blow(struck)
        self.round.hits.update(take=-1, flush=1)
        return struck

    def strike_successor(self, blow) -> Client | None:
        """The shards are free, and who takes them gets it."""
        victim = self.random.choice(self.awake())
        victim.kill()
        victim.release()
        self.replace(victim)
        self.round.end_hints()
        return self.round.strike(self.awake(), "takeover", blow, self.random.random() < 0.5, 5)

    def kill(self) -> None:
        client = self.strike(Client.kill)
        client.release()
        self.round.events["killed"] += 1
        self.replace(client)
        if self.random.random() < 0.7:  # else others take over when the time is over
            self.round.end_hints()

    def stop(self) -> None:
        """Longer than others wait for it; then it goes on as if nothing had been."""
        if len(self.asleep) == 2:
            return
        client = self.strike(Client.stop)
        self.round.events["stopped"] += 1
        if self.round.quick:
            self.round.end_hints()
        self.asleep.append((time.monotonic() + (4 if self.round.quick else self.random.uniform(11, 14)), client))

    # ---- servers

    def kill_redis(self) -> None:
        self.round.servers.kill_redis()
        time.sleep(self.random.uniform(0, 0.5))
        self.round.servers.start_redis()
        self.round.events["Redis killed"] += 1

    def stop_redis(self) -> None:
        redis = self.round.servers.redis.process
        redis.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.2, 2))
        redis.send_signal(signal.SIGCONT)
        self.round.events["Redis stopped"] += 1

    def hurt_store(self) -> None:
        mongo = self.round.servers.mongo
        if self.round.store == "sqlite":
            with self.round.locked():
                time.sleep(self.random.uniform(0.2, 1))
            self.round.events["locked"] += 1
        elif self.random.random() < 0.5:
            mongo.kill(0)
            time.sleep(self.random.uniform(0, 0.5))
            mongo.start(0)
            self.round.events["mongod killed"] += 1
        else:
            mongo.pause(0)
            time.sleep(self.random.uniform(0.2, 2))
            mongo.resume(0)
            self.round.events["mongod stopped"] += 1
