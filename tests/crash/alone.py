"""Rounds without a Redis: one process at a time has the journal, in one language after the other, and none of them ends well."""

from __future__ import annotations

import time

from rounds import Client, Round
from storms import KINDS


class Alone:
    """`seconds` long. The next process finds what the last one has accepted, in the middle of whatever that was at."""

    def __init__(self, round: Round, seconds: float):
        self.round, self.seconds, self.random = round, seconds, round.random

    def play(self) -> None:
        end, number = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            client = Client(self.round, KINDS[number % len(KINDS)])
            number += 1
            while not client.says("R"):
                time.sleep(0.01)
            time.sleep(self.random.uniform(0, 1.5))
            blow = self.random.choices((self.kill, self.kill_in_lock, self.stop, self.leave), (6, 3, 2, 1))[0]
            blow(client)

    def kill(self, client: Client) -> None:
        client.kill()
        client.process.wait()
        self.round.events["killed"] += 1

    def kill_in_lock(self, client: Client) -> None:
        """Its worker cannot get on, and what is accepted waits."""
        with self.round.locked():
            time.sleep(self.random.uniform(0.1, 0.6))
            self.kill(client)
        self.round.events["locked"] += 1

    def stop(self, client: Client) -> None:
        """The journal stays its own; then it goes on, and is killed."""
        client.stop()
        time.sleep(self.random.uniform(0.2, 1))
        client.go_on()
        self.round.events["stopped"] += 1
        time.sleep(self.random.uniform(0, 0.5))
        self.kill(client)

    def leave(self, client: Client) -> None:
        client.wait()
        self.round.events["ended well"] += 1
