"""The `millpond` command against real processes: as the C build makes it, as the Python wheel installs it, as npm's bin."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

import harness
import millpond

WAYS = {
    "c": lambda: [os.environ.get("MILLPOND_COMMAND") or harness.newest("build/dev/core/millpond")],
    "python": lambda: [str(pathlib.Path(sys.executable).parent / "millpond")],
    "node": lambda: ["node", str(harness.ROOT / "node/lib/command.cjs")],
}
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MILLPOND_")}


def run(*args: str, way: str = "c", cache: str | None = None, **more) -> subprocess.CompletedProcess:
    environment = CLEAN if cache is None else {**CLEAN, "MILLPOND_CACHE": cache}
    return subprocess.run([*WAYS[way](), *args], capture_output=True, text=True, timeout=30, env=environment, **more)


def lines_of(*args: str, **more) -> list[str]:
    done = run(*args, **more)
    # A process of the same number, killed once, has left its counters behind: libmongoc says that it does without.
    said = [line for line in done.stderr.splitlines() if "Falling back to malloc for counters" not in line]
    assert (done.returncode, said) == (0, []), done
    return done.stdout.splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def eventually(check, within: float = 10):
    """What check() gives, as soon as it gives anything."""
    end = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.02)
    return found


# ---- inspect ----

@pytest.mark.parametrize("way", WAYS)
def test_inspect(way, shared, redis, ns):
    tool = shared("python")
    tool.open(redis.url, ns)
    tool.do("fetch key=user:1 load=json data=[1,2,3] with.ttl=1h with.jitter=0 delay=5")
    tool.do("fetch key=ghost load=absent")
    shown = lines_of("inspect", "user:1", "-n", ns, way=way, cache=redis.url)
    assert shown[0] == f"user:1 in {ns}"
    rows = {line[2:13].strip(): line[13:] for line in shown[1:]}
    assert rows["state"] == "value" and rows["size"] == "7 bytes of json" and rows["lease"] == "none: nobody loads it"
    assert rows["time left"].startswith(("59 m", "1 h 0 m")) and " ago; its load took " in rows["stored"]
    [ghost, nothing] = [json.loads(line) for line in
                        lines_of("inspect", "ghost", "no such", "--json", f"--namespace={ns}", "-c", redis.url, way=way)]
    assert (ghost["key"], ghost["namespace"], ghost["state"]) == ("ghost", ns, "absent")
    assert (nothing["key"], nothing["state"], nothing["why"]) == ("no such", "miss", "nothing is stored")
    tool.do("close")


def test_inspect_is_what_explain_says(shared, redis, ns):
    tool = shared("c")
    tool.open(redis.url, ns)
    tool.do("fetch key=k load=text data=é")
    [line] = lines_of("inspect", "k", "-j", "-n", ns, cache=redis.url)
    shown = json.loads(line)
    explained = tool.do("explain key=k")["info"]
    assert shown.pop("key") == "k" and shown.pop("namespace") == ns
    assert 0 <= shown.pop("ttl_ms") - explained.pop("ttl_ms") < 5000 and shown == explained
    tool.do("close")


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_inspect_names_who_loads(language, start, redis, ns):
    tool = start(language)
    tool.open(redis.url, ns, publish_stats="50ms")
    tool.do("fetch key=warm load=json data=1")
    tool.tell("fetch key=slow load=json data=1 delay=3000")
    held = f", {socket.gethostname()} pid {tool.process.pid}"

    def shown():
        lines = lines_of("inspect", "slow", "-n", ns, cache=redis.url)
        return lines if held in "".join(lines) else []

    lines = eventually(shown)
    assert lines[1] == "  state      miss: nothing is stored: its load is under way"
    assert lines[2].startswith("  lease      held for another ") and " by " in lines[2]
    assert tool.answer()["ok"]


def test_what_others_have_stored_cannot_steer_a_terminal(redis, ns):
    connection = redis.connect()
    connection.call("SET", f"mp:v:{{{ns}:k\x1b[31m}}", "garbage\x1b[2J")
    shown = lines_of("inspect", "k\x1b[31m", "-n", ns, cache=redis.url)
    assert shown[0] == f"k?[31m in {ns}" and "cannot be read" in shown[1] and "\x1b" not in "".join(shown)
    connection.close()


# ---- stats ----

@pytest.mark.parametrize("way", WAYS)
def test_stats(way, start, own_redis, ns):
    url = own_redis.url
    assert lines_of("stats", way=way, cache=url) == ["no process publishes its statistics here: open ponds with publish_stats=10s, and wait that long"]
    tools = [start("python"), start("c")]
    for number, tool in enumerate(tools):
        tool.open(url, f"{ns}-{number}", publish_stats="50ms")
        tool.do("fetch key=k load=json data=1")
        for _ in range(number + 2):
            tool.do("fetch key=k load=never")
    eventually(lambda: json.loads(lines_of("stats", "-j", cache=url)[0])["total"]["hits"] == 5)
    shown = lines_of("stats", way=way, cache=url)
    assert cells(shown[0]) == ["process", "up", "seen", "reads", "reads/s", "hit rate", "misses", "waits", "loads", "loads/s", "failed",
                               "refused", "timeouts", "errors"]
    host = socket.gethostname()
    assert sorted(cells(line)[0] for line in shown[1:3]) == sorted(f"{host} {tool.process.pid}" for tool in tools)
    at = shown.index("")
    spaces = {cells(line)[0]: cells(line) for line in shown[at + 2:]}
    assert (spaces[f"{ns}-0"][1], spaces[f"{ns}-0"][3], spaces[f"{ns}-1"][1]) == ("3", "66.7 %", "4")
    assert spaces["together"][1] == "7" and cells(shown[at - 1])[:2] == ["together", "7"]

    whole = json.loads(lines_of("stats", "--json", way=way, cache=url)[0])
    assert {row["process"]: row["hits"] for row in whole["processes"]} == {f"{host} {tools[0].process.pid}": 2, f"{host} {tools[1].process.pid}": 3}
    assert {name: row["loads"] for name, row in whole["namespaces"].items()} == {f"{ns}-0": 1, f"{ns}-1": 1}
    assert whole["total"]["hits"] == 5 and abs(whole["total"]["hit_rate"] - 5 / 7) < 0.05
    one = json.loads(lines_of("stats", "--json", "-n", f"{ns}-1", way=way, cache=url)[0])
    assert one["total"]["hits"] == 3 and len(one["processes"]) == 1 and list(one["namespaces"]) == [f"{ns}-1"]

    tools[1].kill()  # who is killed is forgotten after three intervals
    eventually(lambda: len(json.loads(lines_of("stats", "-j", cache=url)[0])["processes"]) == 1)
    tools[0].do("close")
    assert "no process publishes" in lines_of("stats", cache=url)[0]


def test_stats_again_and_again(start, own_redis, ns):
    """Rates are those since the last look; one that fails in between does not end it."""
    tool = start("python")
    tool.open(own_redis.url, ns, publish_stats="50ms")
    tool.do("fetch key=k load=json data=1")
    with subprocess.Popen([*WAYS["c"](), "stats", "-j", "--every", "200ms"], stdout=subprocess.PIPE, text=True,
                          env={**CLEAN, "MILLPOND_CACHE": own_redis.url}) as watch:
        try:
            def look():
                return json.loads(watch.stdout.readline())

            before = look()["total"]
            for _ in range(100):
                tool.do("fetch key=k load=never")
            seen = [row["total"] for row in (look() for _ in range(5))]
            assert before["hits"] < seen[-1]["hits"] == 100
            busy = max(row["reads_per_second"] for row in seen)
            assert busy > 30 and max(row["hit_rate"] for row in seen) > 0.95
            end = time.monotonic() + 10
            while look()["total"]["reads_per_second"] > 0:
                assert time.monotonic() < end, "nothing is read any more"
        finally:
            watch.terminate()


def test_collections_belong_to_their_namespace(start, own_redis, ns, tmp_path):
    program = f"""if True:
        import sys, millpond
        pond = millpond.open({own_redis.url!r}, store="sqlite:{tmp_path}/films.db", namespace={ns!r}, publish_stats="20ms")
        films = pond.collection("films")
        films.prepare()
        films.get("1")
        sys.stdin.read()
        """
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        def films():
            return json.loads(lines_of("stats", "-j", "-n", ns, cache=own_redis.url)[0])["namespaces"].get(f"{ns}/films", {})

        assert eventually(lambda: films().get("misses")) == 1
        process.communicate()


# ---- worker ----

@pytest.mark.parametrize("way", WAYS)
def test_worker(way, redis, ns, tmp_path):
    store = f"sqlite:{tmp_path}/films.db"
    with millpond.open(redis.url, namespace=ns, store=store, worker=False) as pond:
        films = pond.collection("films", write="behind")
        films.prepare()
        films.replace("1", {"n": 1})
        with pytest.raises(millpond.TimeoutError):
            films.flush(timeout="200ms")
        with subprocess.Popen([*WAYS[way](), "worker", "films", "-n", ns, "-o", f"store={store}", "-e", "50ms"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env={**CLEAN, "MILLPOND_CACHE": redis.url}) as process:
            films.flush(timeout="10s")
            assert pond.store("films").get("1") == {"id": "1", "n": 1}
            eventually(lambda: f"{ns}/films: 0 wait, 1 stored, 0 refused; this worker has 4 of 4 shards" in process.stdout.readline())
            process.terminate()
            process.communicate(timeout=30)
            assert process.returncode == 0
        assert redis.call("EXISTS", f"mp:t:{{{ns}/films:0}}") == 0  # the shards were given back


LEAVES = """
import os, sqlite3, sys, millpond
pond = millpond.open("memory:", store="sqlite:" + sys.argv[1])
films = pond.collection("films", write="behind")
films.prepare()
sqlite3.connect(sys.argv[1], isolation_level=None).execute(
    "CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
films.replace("bad", {"n": 0})
while not films.dead_letters.list():
    pass
films.replace("good", {"n": 1})
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_journal_that_was_left(way, tmp_path):
    """What a program without a Redis has left is a command's to look at, and to take to the store."""
    store = f"{tmp_path}/films.db"
    done = subprocess.run([sys.executable, "-c", LEAVES, store], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -9, done.stderr
    options = ["films", "-c", "memory:", "-o", f"store=sqlite:{store}"]
    assert "we do not want it" in lines_of("dead", "list", *options, way=way)[0]
    with subprocess.Popen([*WAYS[way](), "worker", *options, "-e", "50ms"], stdout=subprocess.PIPE, text=True, env=CLEAN) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working; ^C ends it\n"
        eventually(lambda: "/films: 0 wait" in process.stdout.readline())
        busy = run("dead", "list", *options, way=way)
        assert busy.returncode == 1 and "open in another process" in busy.stderr
        busy = run("worker", *options, way=way)
        assert busy.returncode == 1 and "open in another process" in busy.stderr
        process.terminate()
        process.stdout.read()
    with sqlite3.connect(store) as db:
        assert [id for (id,) in db.execute("SELECT id FROM films")] == ["good"]


@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_is_a_plugin(way, redis, ns):
    """Each of them finds it. Nothing is asked of the store, so there need be none."""
    if not list((harness.ROOT / "build/dev").rglob("libmillpond-mongodb.so")):
        pytest.skip("built without libmongoc")
    options = ["films", "-n", ns, "-o", "store=mongodb://127.0.0.1:1/shop?replicaSet=rs"]
    assert lines_of("dead", "list", *options, way=way, cache=redis.url) == ["no dead letters of films"]


def test_python_runs_it_too():
    done = subprocess.run([sys.executable, "-m", "millpond", "--version"], capture_output=True, text=True, timeout=30, env=CLEAN)
    assert (done.returncode, done.stdout) == (0, f"millpond {millpond.__version__}\n"), done


def test_worker_in_json(redis, ns, tmp_path):
    with subprocess.Popen([*WAYS["c"](), "worker", "films", "-n", ns, "-o", f"store=sqlite:{tmp_path}/films.db", "-e", "20ms", "-j"],
                          stdout=subprocess.PIPE, text=True, env={**CLEAN, "MILLPOND_CACHE": redis.url}) as process:
        row = eventually(lambda: (found := json.loads(process.stdout.readline())[f"{ns}/films"])["shards"] == 4 and found)
        assert row["backlog"] == row["flushed"] == row["dead_letters"] == 0
        process.terminate()
        process.communicate(timeout=30)


# ---- dead ----

@pytest.fixture
def refused(redis, ns, tmp_path):
    """(a command's words, the collection, the database): three letters, the oldest of "bad0", whose reason is still there."""
    store = f"sqlite:{tmp_path}/films.db"
    with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db, millpond.open(redis.url, namespace=ns, store=store) as pond:
        films = pond.collection("films", write="behind")
        films.prepare()
        db.execute("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
        for n in range(3):
            films.replace(f"bad{n}", {"n": n})
            eventually(lambda: films.dead_letters.list().total == n + 1)

        def dead(*words: str, **more) -> subprocess.CompletedProcess:
            return run("dead", *words, "-n", ns, "-o", f"store={store}", cache=redis.url, **more)

        yield dead, films, db


def test_dead_list_and_show(refused):
    dead, films, _ = refused
    letters = list(films.dead_letters)
    done = dead("list", "films")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [[letter.id, f"bad{n},"] for n, letter in enumerate(letters)]
    assert all("s ago: " in line and "we do not want it" in line for line in done.stdout.splitlines())
    rows = [json.loads(line) for line in dead("list", "films", letters[0].id, "--json").stdout.splitlines()]
    assert [(row["id"], row["document_id"], row["state"], row["document"]) for row in rows] == [
        (letter.id, letter.document_id, "document", letter.document) for letter in letters[1:]]
    done = dead("show", "films", letters[1].id)
    assert done.returncode == 0
    assert f"{letters[1].id} of films" in done.stdout and "document   bad1" in done.stdout and '{"id":"bad1","n":1}' in done.stdout
    assert json.loads(dead("show", "films", letters[1].id, "-j").stdout)["version"] == letters[1].version
    assert dead("list", "books").stdout == "no dead letters of books\n"
    done = dead("show", "films", "1-0-0")
    assert (done.returncode, done.stdout) == (1, "") and "there is no dead letter 1-0-0" in done.stderr
    done = dead("show", "films", "x")
    assert (done.returncode, done.stdout) == (2, "") and '"x" is not the id of a dead letter' in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_dead_retry_and_drop(way, refused):
    dead, films, db = refused
    first, second, third = films.dead_letters
    done = dead("drop", "films", first.id, first.id, way=way)
    assert (done.returncode, done.stdout) == (1, f"{first.id} dropped\n") and "there is no dead letter" in done.stderr
    db.execute("DROP TRIGGER picky")
    films.replace(third.document_id, {"n": "newer"})
    done = dead("retry", "films", "--all", way=way)
    assert done.returncode == 1 and done.stdout == f"{second.id} retried\n"
    assert done.stderr.startswith(f"millpond: {third.id}: films \"bad2\": nothing was retried: ")
    films.flush()
    assert films.get(second.document_id) == second.document
    assert films.get(third.document_id) == {"id": "bad2", "n": "newer"}
    done = dead("drop", "films", "--all", "--json", way=way)
    assert (done.returncode, [json.loads(line) for line in done.stdout.splitlines()]) == (0, [{"id": third.id, "dropped": True}])
    assert len(films.dead_letters.list()) == 0


# ---- without a Redis ----

def test_worker_and_dead_on_a_journal(ns, tmp_path):
    """What waits in a journal is taken to the store, and what was refused is seen and dropped, once its process has let go of it."""
    store = f"sqlite:{tmp_path}/films.db"
    words = ["-c", "memory:", "-n", ns, "-o", f"store={store}"]

    def accept():
        with millpond.open(f"memory:{ns}"[:60], namespace=ns, store=store, worker=False) as pond:
            films = pond.collection("films", write="behind")
            films.prepare()
            films.replace("1", {"n": 1})
            films.replace("bad", {"n": 2})
            done = run("dead", "list", "films", *words)
            assert done.returncode in (1, 2) and "open in another process" in done.stderr, done

    accept()
    with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db:
        db.execute("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
        assert lines_of("dead", "list", "films", *words) == ["no dead letters of films"]
        with subprocess.Popen([*WAYS["c"](), "worker", "films", *words, "-e", "50ms"], stdout=subprocess.PIPE, text=True, env=CLEAN) as process:
            eventually(lambda: f"{ns}/films: 0 wait, 1 stored, 1 refused;" in process.stdout.readline())
            process.terminate()
            process.communicate(timeout=30)
            assert process.returncode == 0
        assert db.execute("SELECT id FROM films").fetchall() == [("1",)]
    assert "we do not want it" in lines_of("dead", "list", "films", *words)[0]
    assert lines_of("dead", "drop", "films", "--all", *words)[0].endswith(" dropped")


# ---- command lines ----

@pytest.mark.parametrize("args, code, says", [
    ([], 2, "say what to do"),
    (["nonsense"], 2, '"nonsense"'),
    (["inspect"], 2, "which key?"),
    (["inspect", ""], 2, "the key is empty"),
    (["inspect", "k" * 513], 2, "513 bytes"),
    (["inspect", b"\xff"], 2, "UTF-8"),
    (["inspect", "k", "-e", "2s"], 2, "--every is for stats"),
    (["worker"], 2, "name the collections"),
    (["worker", "films"], 2, "store"),
    (["dead"], 2, "say list, show, retry or drop"),
    (["dead", "bury", "films"], 2, "say list, show, retry or drop"),
    (["dead", "list"], 2, "of which collection?"),
    (["dead", "list", "films"], 2, "store"),
    (["dead", "list", "films", "1-2-3", "4"], 2, '"4" is too much'),
    (["dead", "drop", "films"], 2, "which letter?"),
    (["dead", "retry", "films", "1-2-3", "--all"], 2, "name letters, or give --all"),
    (["dead", "show", "films", "--all"], 2, "--all is for list, retry and drop"),
    (["dead", "list", "films", "-e", "2s"], 2, "--every is for stats"),
    (["stats", "surplus"], 2, '"surplus" is too much'),
    (["stats", "--every", "soon"], 2, '"soon" is not a time'),
    (["stats", "--every", "0"], 2, "is not a time"),
    (["stats", "--every", "99999999999999999999"], 2, "is not a time"),
    (["stats", "-n", "a/b"], 2, "namespace"),
    (["stats", "-o", "tttl=1"], 2, 'did you mean "ttl"'),
    (["stats", "-o", "ttl"], 2, "NAME=VALUE"),
    (["stats", "-o", "cache=redis://h"], 2, "write --cache instead"),
    (["stats", "--nonsense"], 2, "there is no option --nonsense"),
    (["stats", "-x"], 2, "there is no option -x"),
    (["stats", "-c"], 2, "-c needs a value"),
    (["stats", "--cache"], 2, "needs a value"),
    (["stats", "-c", "Memory:"], 2, "lives inside of a program"),
    (["inspect", "k", "-c", "memory:"], 2, "lives inside of a program"),
    (["stats", "-c", "http://x"], 2, "unknown scheme"),
    (["stats", "-c", "unix:/nobody/listens.sock"], 1, "No such file"),
    (["inspect", "k", "-c", "unix:/nobody/listens.sock"], 1, "No such file"),
], ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else "")
def test_wrong_command_lines(args, code, says, redis):
    done = run(*args, cache=redis.url)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith("millpond: ") and says in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_without_a_cache():
    for environment in (None, ""):
        done = run("stats", cache=environment)
        assert done.returncode == 2 and "MILLPOND_CACHE" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_help_and_version(way):
    version = harness.ROOT.joinpath("CMakeLists.txt").read_text().partition("project(millpond VERSION ")[2].split()[0]
    assert lines_of("--version", way=way) == [f"millpond {version}"]
    shown = lines_of("--help", way=way)
    assert shown[0].startswith("usage: millpond ") and max(map(len, shown)) <= 100
    assert run("-c", way=way).returncode == 2


def test_passwords_are_not_shown(redis):
    secret = "hunter2hunter2"
    for args in (["-c", f"redis://:{secret}@{redis.url.removeprefix('redis://')}"], [f"--cache=redis://user:{secret}@127.0.0.1:1"],
                 [f"--cahce=redis://:{secret}@h"], ["-o", f"password={secret}"], ["-o", f"passwort={secret}"],
                 [f"--cache=redis://:{secret}%zz@h"], [f"-xredis://:{secret}@h"]):
        done = run("stats", *args, cache=redis.url)
        assert done.returncode in (0, 1, 2) and secret not in done.stdout + done.stderr, done
    with subprocess.Popen([*WAYS["c"](), "stats", "-e", "50ms", "-c", f"redis://user:{secret}@127.0.0.1:1", "-o", f"password={secret}"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN) as process:
        process.stderr.readline()  # it is at work
        seen = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.terminate()
    assert b"stats" in seen and secret.encode() not in seen


def test_a_reader_that_goes_away(redis):
    done = subprocess.run(f"{WAYS['c']()[0]} stats -e 10ms | head -1", shell=True, capture_output=True, text=True, timeout=30,
                          env={**CLEAN, "MILLPOND_CACHE": redis.url})
    assert "no process publishes" in done.stdout
