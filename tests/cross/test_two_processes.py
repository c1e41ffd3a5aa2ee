"""Processes in all languages over one SQLite database, each with a memory: cache of its own."""

from __future__ import annotations

import sqlite3

import pytest

import harness

PAIRS = [(writer, reader) for writer in harness.LANGUAGES for reader in harness.LANGUAGES
         if (writer, reader) in (("c", "python"), ("python", "node"), ("node", "asyncio"), ("asyncio", "c"), ("node", "node"), ("python", "python"))]


def document(tool) -> int:
    answer = tool.do("document collection=films id=1")
    return answer["data"]["n"]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_each_sees_what_the_other_changes(pair, start, ns, tmp_path):
    path = tmp_path / "films.db"
    tools = [start(language) for language in pair]
    for tool in tools:
        tool.open("memory:", ns, store=f"sqlite:{path}")
    tools[0].do("create collection=films")
    tools[0].do("change kind=create collection=films id=1 doc=%7B%22n%22:0%7D")
    assert [document(tool) for tool in tools] == [0, 0]
    for row in range(1, 41):
        writer, reader = tools if row % 2 else reversed(tools)
        if row % 5 == 0:
            with sqlite3.connect(path, timeout=20) as db:
                db.execute("UPDATE films SET doc = ?", (f'{{"n":{row}}}',))
            db.close()
        else:
            writer.do(f"change kind=update collection=films id=1 doc=%7B%22n%22:{row}%7D")
        assert document(reader) == row and document(writer) == row
        page = reader.do("page collection=films query=n=" + str(row))
        assert "1" in str(page)
    for tool in tools:
        assert tool.do("fetch key=k load=text data=old")["data"] == "old"
    for row in range(1, 11):
        writer, reader = tools if row % 2 else reversed(tools)
        writer.do("invalidate key=k")
        assert reader.do(f"fetch key=k load=text data={row}") ["data"] == str(row)
        assert reader.do("fetch key=k load=never")["data"] == str(row)
        assert writer.do(f"fetch key=k load=text data={row}")["data"] == str(row)
        assert reader.do("fetch key=k load=never")["data"] == str(row), "what one loads is no change to the other"
        writer.do(f"write key=k set=k kind=text data=w{row}")
        assert reader.do(f"fetch key=k load=text data=r{row}")["data"] == f"r{row}"


def test_a_killed_process_is_not_missed(start, ns, tmp_path):
    path = tmp_path / "films.db"
    tools = [start(language) for language in harness.LANGUAGES]
    for tool in tools:
        tool.open("memory:", ns, store=f"sqlite:{path}")
    tools[0].do("create collection=films")
    tools[0].do("change kind=create collection=films id=1 doc=%7B%22n%22:0%7D")
    assert [document(tool) for tool in tools] == [0] * len(tools)
    left = list(tools)
    for row in range(1, len(tools)):
        left[0].tell(f"change kind=update collection=films id=1 doc=%7B%22n%22:{row}%7D")
        left[0].kill()
        left = left[1:]
        with sqlite3.connect(path) as db:
            [(n,)] = db.execute("SELECT json_extract(doc, '$.n') FROM films")
        db.close()
        assert [document(tool) for tool in left] == [n] * len(left)
