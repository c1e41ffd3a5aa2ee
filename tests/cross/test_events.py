"""Change events at a real RabbitMQ: what arrives there, in which order, and what of it survives a kill -9 of the broker and of who tells.

The events themselves, and streams in Redis, are tests/c/test_events_redis.c's.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pika
import pytest

import millpond
from rabbitmq_server import RabbitmqServer

TREE = pathlib.Path(__file__).resolve().parents[2]
EXCHANGE = "product-exchange"
MONGODB = os.environ.get("MILLPOND_TEST_MONGODB")


@pytest.fixture(scope="module")
def rabbitmq():
    with RabbitmqServer() as server:
        yield server


@pytest.fixture
def events(rabbitmq):
    return f"{rabbitmq.url}?exchange={EXCHANGE}&declare=topic"


class Subscriber:
    """A durable queue bound to all keys, read when it is asked."""

    def __init__(self, server: RabbitmqServer, queue: str) -> None:
        self.server = server
        self.queue = queue
        self.got: list[tuple[str, dict]] = []
        connection = self.connect()
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, EXCHANGE, "#")
        connection.close()

    def connect(self):
        return pika.BlockingConnection(pika.URLParameters(self.server.url))

    def read(self, enough, timeout: float = 30.0) -> list[tuple[str, dict]]:
        """All that has come, until enough(events)."""
        end = time.monotonic() + timeout
        connection = self.connect()
        channel = connection.channel()
        while not enough(self.got):
            method, properties, body = channel.basic_get(self.queue, auto_ack=True)
            if method is None:
                assert time.monotonic() < end, f"{len(self.got)} events came, the last: {self.got[-3:]}"
                time.sleep(0.02)
                continue
            event = json.loads(body)
            assert properties.content_type == "application/json" and properties.delivery_mode == 2
            assert properties.message_id == event["event_id"]
            self.got.append((method.routing_key, event))
        connection.close()
        return self.got


def numbers(events):
    return [event["document"]["n"] for _, event in events]


@pytest.mark.parametrize("language", ["python", "node"])
def test_every_change_is_told(rabbitmq, events, tmp_path, ns, language):
    subscriber = Subscriber(rabbitmq, f"all-{ns}-{language}")
    store = f"sqlite:{tmp_path}/shop.db"
    if language == "python":
        with millpond.open("memory:", store=store, events=events) as pond:
            products = pond.collection("products", event_key="product.{event}")
            products.prepare()
            products.create({"id": "42", "name": "Teapot", "price": 12.5})
            products.update("42", {"price": 10})
            products.delete("42")
    else:
        module = os.environ.get("MILLPOND_NODE", str(TREE / "node"))
        code = f"""
            import {{ open }} from '{module}/lib/index.mjs'
            const pond = await open('memory:', {{ store: {json.dumps(store)}, events: {json.dumps(events)} }})
            const products = pond.collection('products', {{ eventKey: 'product.{{event}}' }})
            await products.prepare()
            await products.create({{ id: '42', name: 'Teapot', price: 12.5 }})
            await products.update('42', {{ price: 10 }})
            await products.delete('42')
            await pond.close()"""
        subprocess.run(["node", "--input-type=module", "-e", code], check=True, timeout=60)
    got = subscriber.read(lambda events: len(events) >= 3)
    assert [key for key, _ in got] == ["product.created", "product.updated", "product.deleted"]
    assert [event["event"] for _, event in got] == ["created", "updated", "deleted"]
    assert got[0][1]["document"] == {"id": "42", "name": "Teapot", "price": 12.5}
    assert got[1][1]["document"] == {"id": "42", "name": "Teapot", "price": 10}
    assert got[2][1]["document"] is None
    for _, event in got:
        assert event["collection"] == "products" and event["id"] == "42"
        assert abs(event["at"] / 1000 - time.time()) < 60
    assert len({event["event_id"] for _, event in got}) == 3


def test_an_exchange_that_is_not_there(rabbitmq, tmp_path):
    with millpond.open("memory:", store=f"sqlite:{tmp_path}/shop.db", events=f"{rabbitmq.url}?exchange=nowhere") as pond:
        films = pond.collection("films")
        films.prepare()
        films.create({"id": "1"})
        end = time.monotonic() + 10
        while "nowhere" not in (pond.stats()["events"]["problem"] or ""):
            assert time.monotonic() < end, pond.stats()["events"]
            time.sleep(0.02)
        assert "guest" not in pond.stats()["events"]["problem"]
        assert pond.stats()["events"]["waiting"] == 1  # it was not tried: there may be an exchange later
        pond.close(timeout="100ms")
        while pond.stat("lost_events") != 1:  # a delivery that is under way ends first
            assert time.monotonic() < end + 10
            time.sleep(0.02)


def test_the_broker_killed(rabbitmq, events, tmp_path, ns):
    """Directly: nothing twice, in order, and what is lost is counted. From the outbox: nothing lost."""
    direct, kept = Subscriber(rabbitmq, f"direct-{ns}"), Subscriber(rabbitmq, f"kept-{ns}")
    with millpond.open("memory:", store=f"sqlite:{tmp_path}/shop.db", events=events) as pond:
        one = pond.collection("one")
        two = pond.collection("two", outbox=True)
        for films in (one, two):
            films.prepare()
            films.create({"id": "1", "n": 0})
        over = threading.Event()
        count = 0

        def write():
            nonlocal count
            while not over.is_set():
                count += 1
                one.replace("1", {"n": count})
                two.replace("1", {"n": count})
                time.sleep(0.002)

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.5)
        rabbitmq.kill()
        time.sleep(0.5)
        rabbitmq.start()
        time.sleep(0.5)
        over.set()
        writer.join()
        of = lambda name: lambda events: any(event["collection"] == name and event["document"]["n"] == count for _, event in events)  # noqa: E731
        from_outbox = numbers((key, event) for key, event in kept.read(of("two"), 60) if event["collection"] == "two")
        directly = numbers((key, event) for key, event in direct.read(of("one"), 60) if event["collection"] == "one")
        assert set(from_outbox) == set(range(count + 1))  # at least once
        first = list(dict.fromkeys(from_outbox))
        assert first == sorted(first)  # each for the first time in order
        assert directly == sorted(set(directly))  # at most once, and in order
        lost = pond.stat("lost_events")
        assert len(directly) + lost >= count + 1  # a message may have arrived that the broker did not live to confirm
        print(f"{count + 1} changes: directly {len(directly)} arrived, {lost} given up; from the outbox all, {len(from_outbox) - count - 1} twice")


TELLER = """
import sys, millpond
pond = millpond.open("memory:", store=sys.argv[1], events=sys.argv[2])
films = pond.collection("films", outbox=True)
films.prepare()
for n in range(int(sys.argv[3]), 1000000):
    films.replace("1", {"n": n}) if n else films.create({"id": "1", "n": n})
    print(n, flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
def test_who_tells_killed(rabbitmq, events, tmp_path, ns, kind):
    """kill -9 at any moment: what was acknowledged is told of, by whoever opens the outbox next."""
    if kind == "mongodb" and not MONGODB:
        pytest.skip("MILLPOND_TEST_MONGODB is not set")
    subscriber = Subscriber(rabbitmq, f"killed-{ns}-{kind}")
    store = f"sqlite:{tmp_path}/shop.db" if kind == "sqlite" else MONGODB.replace("/?", f"/millpond_events_{os.getpid()}?")
    done = -1
    rounds = 4 if kind == "sqlite" else 2
    for round in range(rounds):
        process = subprocess.Popen([sys.executable, "-c", TELLER, store, events, str(done + 1)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            done = int(line)
            if done >= (round + 1) * 40:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        done = int(rest[-1]) if rest else done
        process.wait()
        # the change after the last that was acknowledged may have been made, too
        with millpond.open("memory:", store=store) as pond:
            done = max(done, pond.store("films").get("1")["n"])
    with millpond.open("memory:", store=store, events=events) as pond:
        pond.collection("films", outbox=True)
        got = numbers(subscriber.read(lambda events: bool(events) and events[-1][1]["document"]["n"] == done, 60))
    assert set(got) == set(range(done + 1))
    first = list(dict.fromkeys(got))
    assert first == sorted(first)
    print(f"{done + 1} changes by {rounds} processes that were killed: all told of, {len(got) - done - 1} twice")
