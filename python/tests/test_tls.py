"""rediss://: who is believed and who is refused, OpenSSL beside Python's own, and passwords that nothing shows."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import traceback
from typing import Any, Iterator

import pytest

import millpond
import millpond.aio
from millpond import _core

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "servers"))
from redis_server import RedisServer  # noqa: E402

SECRET = "hunter2-geheim"


pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def module_server() -> Iterator[RedisServer]:
    with RedisServer(tls=True) as server:
        yield server


@pytest.fixture
def server(module_server: RedisServer) -> Iterator[RedisServer]:
    yield module_server
    module_server.show("server.pem")
    module_server.demand(False)


@pytest.fixture
def ca(server: RedisServer) -> str:
    return server.certificate("ca.pem")


def refusal(server: RedisServer, **options: Any) -> str:
    """What a lookup says, in both ways to call; and stats() says it too."""
    with millpond.open(server.secure_url, **options) as pond:
        with pytest.raises(millpond.CacheError) as caught:
            pond.lookup("k")
        assert pond.fetch("k", lambda: "loaded") == "loaded", "when_cache_down=store"
        assert str(pond.stats()["redis"]["problem"]) in str(caught.value)

    async def the_same() -> str:
        async with millpond.aio.open(server.secure_url, **options) as pond:
            with pytest.raises(millpond.CacheError) as again:
                await pond.lookup("k")
            return str(again.value)

    assert asyncio.run(the_same()) == str(caught.value)
    return str(caught.value)


def test_the_right_one_is_believed(server, ca, name):
    with millpond.open(server.secure_url, namespace=name, tls_ca=ca) as pond:
        assert pond.fetch("k", lambda: {"a": 1}) == {"a": 1}
        assert pond.fetch("long", lambda: "x" * 3_000_000) == "x" * 3_000_000

    async def the_same() -> None:
        async with millpond.aio.open(server.secure_url.replace("127.0.0.1", "localhost"), namespace=name, tls_ca=ca) as pond:
            assert await pond.fetch("k", lambda: 2) == {"a": 1}
            assert (await pond.lookup("long")).value == "x" * 3_000_000
            assert await asyncio.gather(*(pond.fetch(f"k{i % 7}", lambda i=i: i % 7) for i in range(500))) == [i % 7 for i in range(500)]

    asyncio.run(the_same())
    with millpond.open(server.url, namespace=name) as plain:
        assert plain.lookup("k").value == {"a": 1}, "the same server"


def test_the_wrong_ones_are_refused(server, ca):
    assert "from no authority that this machine knows" in refusal(server)
    assert "other.pem" in refusal(server, tls_ca=server.certificate("other.pem"))
    assert "is for localhost, 127.0.0.1, ::1, not for cache.example" in refusal(server, tls_ca=ca, tls_server_name="cache.example")
    server.show("elsewhere.pem")
    assert "is for cache.example, 192.0.2.1, not for 127.0.0.1" in refusal(server, tls_ca=ca)
    server.show("expired.pem")
    assert re.search(r"expired \(20\d\d-\d\d-\d\d \d\d:\d\d UTC\): have it renewed", refusal(server, tls_ca=ca))
    with millpond.open(server.secure_url, tls_verify=False) as pond:
        assert pond.lookup("k").state == "miss"


def test_a_client_shows_its_own(server, ca):
    server.demand(True)
    assert "set tls_cert and tls_key" in refusal(server, tls_ca=ca)
    assert "it refused the client certificate in " in refusal(server, tls_ca=ca, tls_cert=server.certificate("stranger.pem"),
                                                              tls_key=server.certificate("client.key"))
    for files in ({"tls_cert": server.certificate("both.pem")},
                  {"tls_cert": server.certificate("client.pem"), "tls_key": server.certificate("client.key")}):
        with millpond.open(server.secure_url, tls_ca=ca, **files) as pond:
            assert pond.lookup("k").state == "miss"


def test_bad_files_are_refused_at_open(server, ca):
    for options, says in (({"tls_ca": "/no/such/ca.pem"}, "tls_ca: /no/such/ca.pem cannot be read"),
                          ({"tls_cert": server.certificate("client.pem"), "tls_key": server.certificate("encrypted.key")}, "is encrypted"),
                          ({"tls_key": server.certificate("client.key")}, "tls_key: a key needs its certificate")):
        for open in (millpond.open, millpond.aio.open):
            with pytest.raises(millpond.OptionError, match=re.escape(says)):
                open(server.secure_url, **options)
    with pytest.raises(millpond.OptionError, match="write rediss://"):
        millpond.open(server.url, tls_ca=ca)


def test_nothing_shows_a_password(server, ca):
    said: list[str] = []

    def listen(pond: Any) -> None:
        for call in (lambda: pond.lookup("k"), lambda: pond.explain("k"), lambda: pond.invalidate("k"), lambda: pond.stats(), lambda: pond.metrics()):
            try:
                said.append(repr(call()))
            except millpond.Error as error:
                said.extend([repr(error), str(error), repr(error.args), repr(vars(error)), *traceback.format_exception(error)])
        said.extend([repr(pond), str(pond), repr(pond.namespace("n")), repr(pond.collection("films")), repr(pond.store("films")),
                     repr(pond.cached("k")(lambda: 1)), repr(dir(pond))])

    server.call("ACL", "SETUSER", "shop", "on", f">{SECRET}", "~*", "+@all")
    for password, works in ((SECRET, True), (SECRET + "x", False)):
        for url in (server.secure_url, server.secure_url.replace("//", f"//shop:{password}@"),
                    server.secure_url.replace("//", f"//shop:%68{password[1:]}@")):
            options: dict[str, Any] = {} if "@" in url else {"username": "shop", "password": password}
            with millpond.open(url, store="sqlite::memory:", tls_ca=ca, **options) as pond:
                listen(pond)
                try:
                    assert pond.lookup("k").state == "miss" and works
                except millpond.CacheError as error:
                    assert "check username and password" in str(error) and not works
    for url in (f"rediss://shop:{SECRET}@h:x/0", f"rediss://shop:{SECRET}/@h", f"rediss://shop:{SECRET}", f"shop:{SECRET}@h", f"rediss://shop:{SECRET}%@h"):
        with pytest.raises(millpond.UrlError) as caught:
            millpond.open(url)
        said.extend([repr(caught.value), str(caught.value)])  # not the traceback: the source line has it
    server.call("ACL", "DELUSER", "shop")
    heard = "\n".join(said)
    assert len(heard) > 2000 and "unter2" not in heard and "geheim" not in heard


def python_speaks_tls(server: RedisServer, ca: str) -> bool:
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", server.tls_port)) as plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(b"PING\r\n")
        return secure.recv(100) == b"+PONG\r\n"


def test_beside_pythons_own_openssl(server, ca, name):
    assert python_speaks_tls(server, ca)
    with millpond.open(server.secure_url, namespace=name, tls_ca=ca, lease="1s") as pond:
        assert pond.fetch("k", lambda: python_speaks_tls(server, ca)) is True
        wrong: list[BaseException] = []

        def both(n: int) -> None:
            try:
                for i in range(30):
                    assert python_speaks_tls(server, ca)
                    assert pond.fetch(f"{n}-{i}", lambda: i) == i
                    assert pond.lookup(f"{n}-{i}").value == i
                    if i % 10 == 0:
                        with pytest.raises(ssl.SSLError):
                            python_speaks_tls(server, server.certificate("other.pem"))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=both, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert pond.stat("cache_errors") == 0
    assert python_speaks_tls(server, ca)


def test_no_openssl_but_our_own():
    path = pathlib.Path(_core.__file__)
    symbols = subprocess.run(["nm", "-D", path], check=True, capture_output=True, text=True).stdout.splitlines()
    names = {line.split()[-1].partition("@")[0]: line.split()[-2] for line in symbols}
    assert [name for name, kind in names.items() if kind in "TDBRV"] == ["PyInit__core"]
    assert not [name for name in names if re.match(r"_?(SSL|TLS|X509|EVP|CRYPTO|OPENSSL|OSSL|BIO|ERR|PEM|ASN1|RAND|EC|RSA)_", name)]
    needed = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
    assert "libssl" not in needed and "libcrypto" not in needed and "NODELETE" in needed


def test_a_child_of_fork_leaves_its_parents_connection_alone(server, ca, name):
    with millpond.open(server.secure_url, namespace=name, tls_ca=ca) as pond:
        assert pond.fetch("k", lambda: 1) == 1
        for _ in range(5):
            child = os.fork()
            if child == 0:
                good = pond.fetch("k", lambda: 2) == 1
                pond.close()
                os._exit(0 if good else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert pond.fetch("k", lambda: 2) == 1
        assert pond.stats()["redis"]["connections_made"] == 1


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "pond.close()", "del pond", "threading.Thread(target=last).start()"])
def test_a_process_ends_with_tls_under_way(server, ca, ending):
    program = textwrap.dedent(f"""
        import atexit, ssl, sys, threading, time
        import millpond
        atexit.register(ssl.create_default_context)
        pond = millpond.open({server.secure_url!r}, tls_ca={ca!r}, lease="100ms")
        def last():
            for i in range(100): pond.fetch(f"last-{{i}}", lambda: 1)
        pond.fetch("k", lambda: 1)
        slow = threading.Thread(target=lambda: pond.fetch("slow", lambda: time.sleep(60)), daemon=True)
        slow.start()
        time.sleep(0.15)
        {ending}
        """)
    if ending == "pond.close()":
        program = program.replace("pond.close()", "pond.close(50)")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
