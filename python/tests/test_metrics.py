"""metrics(), read by Prometheus' own parser, and served with its client."""

from __future__ import annotations

import asyncio
import pathlib
import re
import shutil
import subprocess
import threading

import prometheus_client
import prometheus_client.parser
import pytest

import millpond
import millpond.aio
from millpond import _generated

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "core/GUIDE.md"


@pytest.fixture
def pond(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        yield pond


def families(text: str) -> dict:
    found = list(prometheus_client.parser.text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found), "a family is there twice"
    promtool = shutil.which("promtool")
    if promtool:
        subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True, capture_output=True)
    return {family.name: family for family in found}


def rows(family) -> dict:
    """{labels: value}, of a family whose samples have one name."""
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_counters(pond, name):
    strange = f'{name} "quoted\\back'
    for _ in range(3):
        pond.fetch("k", lambda: 1)
        pond.fetch("k", lambda: 1, namespace=strange)
    found = families(pond.metrics())
    stats = pond.stats()
    assert set(stats["namespaces"]) == {name, strange}
    for counter in list(_generated.Counters.__annotations__)[:-1]:
        family = found["millpond_" + counter]
        assert family.type == "counter" and family.documentation
        assert {sample.name for sample in family.samples} == {f"millpond_{counter}_total"}
        assert rows(family) == {(row,): stats["namespaces"][row][counter] for row in (name, strange)}
    assert rows(found["millpond_hits"]) == {(name,): 2, (strange,): 2}


def test_load_times(pond, name):
    for key in "abc":
        pond.fetch(key, lambda: threading.Event().wait(0.03) or key)
    family = families(pond.metrics())["millpond_load_seconds"]
    assert family.type == "histogram"
    buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
    bounds = [float(sample.labels["le"]) for sample in buckets]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf")
    counts = [sample.value for sample in buckets]
    assert counts == sorted(counts) and counts[bounds.index(0.025)] == 0 and counts[-1] == 3
    assert {sample.name: sample.value for sample in family.samples}["millpond_load_seconds_count"] == 3
    assert 0.085 < {sample.name: sample.value for sample in family.samples}["millpond_load_seconds_sum"] < 60


def test_gauges(pond, cache):
    pond.fetch("k", lambda: "x" * 1000)
    found = families(pond.metrics())
    kind = cache.partition(":")[0]
    assert found["millpond_info"].samples[0].labels == {"version": millpond.__version__, "cache": kind}
    assert found["millpond_calls"].samples[0].value == 0
    about = pond.stats()[kind]
    if kind == "memory":
        assert found["millpond_memory_entries"].samples[0].value == about["entries"]
        assert found["millpond_memory_bytes"].samples[0].value == about["bytes"] > 1000
        assert found["millpond_memory_max_bytes"].samples[0].value == about["max_bytes"]
    else:
        assert found["millpond_redis_connections"].samples[0].value == about["connections"] == 1
        assert found["millpond_redis_connects"].samples[0].value == about["connections_made"] == 1
    other = "redis" if kind == "memory" else "memory"
    assert not [name for name in found if name.startswith(f"millpond_{other}")]


def test_collections(tmp_path):
    with millpond.open("memory:collected", store=f"sqlite:{tmp_path}/films.db", namespace="shop") as pond:
        films = pond.collection("films")
        films.prepare()
        pond.store("films").put("1", {"title": "Amélie"})
        films.get("1")
        films.get("1")
        films.find("title=x")
        family = families(pond.metrics())["millpond_hits"]
    assert rows(family) == {("shop",): 0, ("shop", "films", "documents"): 1, ("shop", "films", "pages"): 0, ("shop", "films", "totals"): 0}
    assert family.samples[0].labels.keys() == {"namespace", "collection", "part"}


def test_a_closed_pond_still_tells(pond):
    pond.fetch("k", lambda: 1)
    pond.close()
    assert families(pond.metrics())["millpond_loads"].samples[0].value == 1


def test_beside_other_metrics(pond, name):
    """The manual's way for a program that has a registry of its own."""
    block = re.search(r"registers the pond with them:\n\n((?: {4}.*\n|\n)+)", MANUAL.read_text())[1]
    registry = prometheus_client.CollectorRegistry()
    scope = {"pond": pond, "prometheus_client": prometheus_client}
    exec("\n".join(line[4:] for line in block.splitlines()).replace("prometheus_client.REGISTRY", "registry"), scope | {"registry": registry})
    prometheus_client.Counter("own", "a counter of the program's own", registry=registry).inc()
    pond.fetch("k", lambda: 1)
    pond.fetch("k", lambda: 1)
    found = families(prometheus_client.generate_latest(registry).decode())
    assert found["own"].samples[0].value == 1
    assert rows(found["millpond_hits"]) == {(name,): 1}


def test_asyncio(cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name) as pond:
            await pond.fetch("k", lambda: 1)
            await pond.fetch("k", lambda: 1)
            return await pond.metrics()

    assert rows(families(asyncio.run(main()))["millpond_hits"]) == {(name,): 1}
