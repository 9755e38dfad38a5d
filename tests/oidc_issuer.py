"""An identity provider as a process of its own: `python -m tests.oidc_issuer PORT`. It signs whatever it is asked to.

`GET /.well-known/openid-configuration` and `GET /keys` are what OpenID Connect says; `POST /token` signs claims,
`POST /rotate` makes a new key and forgets the others.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

KIDS = count()
keys: dict[str, tuple[Any, str]] = {}
issuer = ""


def rotate() -> None:
    """Make one key of each type; those before are gone."""
    keys.clear()
    keys[f"ec-{next(KIDS)}"] = (ec.generate_private_key(ec.SECP256R1()), "ES256")
    keys[f"rsa-{next(KIDS)}"] = (rsa.generate_private_key(65537, 2048), "RS256")


def published() -> list[dict[str, Any]]:
    told = []
    for kid, (key, algorithm) in keys.items():
        form = jwt.algorithms.RSAAlgorithm if algorithm == "RS256" else jwt.algorithms.ECAlgorithm
        told.append({**form.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": algorithm})
    # What else providers publish: a key that is for no signature, and one of a sort that nobody knows.
    return [*told, {**told[0], "kid": "enc", "use": "enc"}, {"kty": "later", "kid": "later"}]


def signed(asked: dict[str, Any]) -> str:
    kid = next(kid for kid in keys if kid.startswith(asked.get("type", "rsa")))
    key, algorithm = keys[kid]
    now = int(time.time())
    claims = {"iss": issuer, "aud": "beamline", "sub": "ada", "iat": now, "exp": now + 600} | asked.get("claims", {})
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} | asked.get("headers", {}))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = {
            "/.well-known/openid-configuration": lambda: {"issuer": issuer, "jwks_uri": f"{issuer}/keys"},
            "/keys": lambda: {"keys": published()},
        }
        self._answer(told[self.path]())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/rotate":
            rotate()
        self._answer({"token": signed(body)} if self.path == "/token" else {})

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None: ...


@contextmanager
def provider(port: int = 0) -> Iterator[str]:
    """Run the provider in a process until the end of the block.

    Yields:
        Its issuer.
    """
    import subprocess

    command = [sys.executable, "-m", "tests.oidc_issuer", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    issuer = f"http://127.0.0.1:{server.server_port}"
    rotate()
    sys.stdout.write(issuer + "\n")
    sys.stdout.flush()
    server.serve_forever()
