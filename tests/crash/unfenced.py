"""Wrong on purpose: what the library does, but for the fence.

Its worker gives each write its version, so that an older one never goes over a newer one. What was deleted has no version any more.
"""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import struct
import sys
import threading
import time
import urllib.parse
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
LUA = HERE.parents[1] / "core/src/cache/lua"
SHARDS, HINT_MS, MOST, HEAD, TAG, NEGATIVE, NONE = 4, 10_000, 500, 48, 24, 1, bytes(8)


class MongoRows:
    def __init__(self, url: str):
        from mongodb_server import Connection
        parts = urllib.parse.urlsplit(url)
        self.database, self.connection = parts.path[1:], Connection(parts.port, timeout=60)

    def write(self, rows: list[tuple[str, int, bytes | None]]) -> None:
        import json
        updates = [{"q": {"_id": id}, "upsert": True, "u": [{"$replaceWith": {"$cond": [
            {"$lt": [{"$ifNull": ["$_mpv", -1]}, version]}, {"$literal": {**json.loads(doc), "_id": id, "_mpv": version}}, "$$ROOT"]}}]}
            for id, version, doc in rows if doc is not None]
        deletes = [{"q": {"_id": id, "_mpv": {"$not": {"$gte": version}}}, "limit": 1} for id, version, doc in rows if doc is None]
        for command, field, statements in (("update", "updates", updates), ("delete", "deletes", deletes)):
            if statements:
                self.connection.call({command: "docs", field: statements, "ordered": False, "writeConcern": {"w": "majority"}}, self.database)


class SqliteRows:
    def __init__(self, url: str):
        self.connection = sqlite3.connect(url.partition(":")[2], timeout=60, isolation_level=None, check_same_thread=False)

    def write(self, rows: list[tuple[str, int, bytes | None]]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for id, version, doc in rows:
            if doc is None:
                self.connection.execute("DELETE FROM docs WHERE id = ? AND ver < ?", (id, version))
            else:
                self.connection.execute("INSERT INTO docs AS t (id, doc, ver) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                                        "doc = excluded.doc, ver = excluded.ver WHERE t.ver < excluded.ver", (id, doc.decode(), version))
        self.connection.execute("COMMIT")


class UnfencedWorker:
    def __init__(self, redis_url: str, namespace: str, store: str):
        import redis
        self.redis, self.namespace, self.over = redis.Redis.from_url(redis_url), namespace, False
        self.rows = MongoRows(store) if store.startswith("mongodb:") else SqliteRows(store)
        self.token = uuid.uuid4().bytes
        self.own, self.take, self.ack = ((LUA / f"wb_{name}.lua").read_text() for name in ("own", "take", "ack"))
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def key(self, kind: str, shard: int, id: bytes = b"") -> bytes:
        return f"mp:{kind}:{{{self.namespace}/docs:{shard}}}".encode() + id

    def work(self) -> None:
        while not self.over:
            self.flush([shard for shard in range(SHARDS) if self.redis.eval(self.own, 1, self.key("t", shard), self.token, HINT_MS)[0]])
            time.sleep(0.05)
        for shard in range(SHARDS):
            self.redis.eval(self.own, 1, self.key("t", shard), self.token, 0)

    def flush(self, shards: list[int]) -> None:
        ask = self.redis.pipeline(transaction=False)
        for shard in shards:
            ask.eval(self.take, 3, *(self.key(kind, shard) for kind in "qdm"), "", MOST // SHARDS, 0, self.key("b", shard))
        taken = [(shard, list(zip(found[4::3], found[5::3], found[6::3]))) for shard, found in zip(shards, ask.execute()) if found[4:]]
        if not taken:
            return
        self.rows.write([(key[1:].decode(), struct.unpack_from("<q", record, 8)[0],
                          None if record[3] & NEGATIVE else record[HEAD + TAG * record[40]:]) for _, entries in taken for _, key, record in entries if record])
        ask = self.redis.pipeline(transaction=False)
        for shard, entries in taken:
            names = [self.key(kind, shard, key) for kind in ("i", "b", "bl") for _, key, _ in entries]
            told = [word for place, key, record in entries for word in (place, record[8:16] if record else NONE, key)]
            ask.eval(self.ack, 2 + len(names), self.key("q", shard), self.key("m", shard), *names, *told)
        ask.execute()

    def close(self) -> None:
        self.over = True
        with contextlib.suppress(RuntimeError):
            self.thread.join()
