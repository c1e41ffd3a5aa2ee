"""Certificates for tests, right ones and wrong ones, made by openssl in half a second.

    python tests/servers/certificates.py FOLDER

    ca.pem          an authority; it signed what follows, except where that says otherwise
    server.pem      for localhost, 127.0.0.1 and ::1; server.key is the key of all servers
    elsewhere.pem   for cache.example and 192.0.2.1
    nameless.pem    names localhost as people did once, by its subject alone
    expired.pem     for the same as server.pem; its time is over
    self.pem        for the same, signed by itself
    client.pem      a client's, with client.key; both.pem is the two of them, encrypted.key the key with a passphrase
    other.pem       another authority; it signed stranger.pem, a client's too, with client.key
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

HERE = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
PASSPHRASE = "open sesame"


def make(folder: str | pathlib.Path) -> None:
    at = pathlib.Path(folder)

    def openssl(*words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=at, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {' '.join(words)}: {done.stderr}")

    def authority(name: str, subject: str) -> None:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def key(name: str) -> None:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", f"{name}.key")

    def signed(name: str, of: str, extension: str, days: str = "2", by: str = "ca", subject: str = "millpond") -> None:
        (at / "extension").write_text(extension + "\n", encoding="ascii")
        openssl("req", "-new", "-key", f"{of}.key", "-subj", f"/CN={subject}", "-out", "request")
        openssl("x509", "-req", "-in", "request", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", days,
                "-extfile", "extension", "-out", f"{name}.pem")

    authority("ca", "Millpond test authority")
    authority("other", "Another authority")
    key("server")
    key("client")
    signed("server", "server", HERE)
    signed("elsewhere", "server", "subjectAltName=DNS:cache.example,IP:192.0.2.1")
    signed("nameless", "server", "basicConstraints=CA:FALSE", subject="localhost")
    signed("expired", "server", HERE, days="-1")
    openssl("req", "-x509", "-key", "server.key", "-days", "2", "-subj", "/CN=millpond", "-addext", HERE, "-out", "self.pem")
    signed("client", "client", "extendedKeyUsage=clientAuth")
    signed("stranger", "client", "extendedKeyUsage=clientAuth", by="other")
    openssl("pkey", "-in", "client.key", "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", "encrypted.key")
    (at / "both.pem").write_bytes((at / "client.pem").read_bytes() + (at / "client.key").read_bytes())


if __name__ == "__main__":
    make(sys.argv[1])
