"""The service's settings: environment variables read once into a frozen object.

Only `app.main` and the command line read them; everything else receives plain values.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "BEAMLINE_"
OTHER_VARIABLES = frozenset({"BEAMLINE_SHARED_DATA", "BEAMLINE_URL", "BEAMLINE_API_KEY"})
"""Variables with our prefix that belong to the tests, the training scripts and the client."""

MIB = 1024 * 1024
_ALLOWS = r"[^,\s]+=(predict|solve|admin)"

_HOST = r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
HOSTS_PATTERN = rf"^(\*|{_HOST}(,{_HOST})*)?$"
_ORIGIN = r"https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?"
ORIGINS_PATTERN = rf"^({_ORIGIN}(,{_ORIGIN})*)?$"
"""Exact ones alone: ``*`` would let every page that somebody opens use the service in that person's network."""


class Settings(BaseSettings):
    """Settings of one service process; each field is the environment variable ``BEAMLINE_<FIELD>``.

    An unknown variable with the prefix is an error: a misspelt name must not silently keep a default.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    """Address to listen on. The default is reachable from this machine only."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port to listen on; 0 takes a free one."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Server processes. Each loads every model; take at most one for each CPU core."""

    model_store: Path = Path("model_store")
    """Folder of the published models (``<model>/<version>/``), relative to the working directory or absolute."""

    registry_poll_s: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """Seconds between two looks at the model store for new versions and moved aliases."""

    admin_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """A key with the scope ``admin``, 16 characters or more: to load and unload models, and to see the jobs of all."""

    keys_file: Path = Path("state/keys.json")
    """File of the keys that ``python -m app keys`` makes; read again within seconds when it changes."""

    single_user_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """One key that allows everything, 16 characters or more; nobody without a key may do anything then."""

    allow_anonymous: bool = False
    """Whether callers without a key may predict and solve whatever keys there are, and from other machines too."""

    oidc_issuer: Annotated[str, Field(pattern=r"^(https://\S+|http://(localhost|127\.0\.0\.1|\[::1\])[:/]\S*)?$")] = ""
    """Identity provider whose bearer tokens are taken, as they name it; empty: none. Needs ``oidc_audience``."""

    oidc_audience: str = ""
    """What the provider's tokens for this service are for (their claim ``aud``)."""

    oidc_claim: Annotated[str, Field(min_length=1)] = "scope"
    """Where a token says what its owner may do, such as ``groups``, or ``realm_access.roles``."""

    oidc_scopes: Annotated[str, Field(pattern=rf"^({_ALLOWS}(,{_ALLOWS})*)?$")] = ""
    """What values of that claim allow, as ``staff=predict,staff=solve,operators=admin``; empty: their own names."""

    max_jobs_per_key: Annotated[int, Field(ge=1)] = 200
    """Most jobs of one key that wait or run, a batch of any size being one job; above it the answer is 429."""

    requests_per_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Requests in a second of one key, or of one address without a key, in each server process; 0: as many as come."""

    trusted_proxies: str = "127.0.0.1,::1"
    """Addresses or networks of reverse proxies whose ``X-Forwarded-For`` and ``-Proto`` are believed; empty: none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log record to write."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """One JSON object a line, or coloured text; ``auto`` writes text to a terminal and JSON elsewhere."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 4 * MIB
    """Largest JSON request body [bytes]; above it the answer is 413."""

    max_upload_bytes: Annotated[int, Field(ge=1024)] = 64 * MIB
    """Largest body of an endpoint that takes files or arrays [bytes]; above it the answer is 413."""

    max_held_bytes: Annotated[int, Field(ge=1024)] = 512 * MIB
    """Bytes of all request bodies that one server process holds at the same time; above it the answer is 429."""

    max_connections: Annotated[int, Field(ge=1)] = 1000
    """Connections of one server process; beyond them requests are refused with 503."""

    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Time for a request's body [seconds], beside that which its bytes take at 16 KiB/s; then the answer is 408."""

    answer_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest time in which a client takes nothing of its answer [seconds]; then its connection is ended."""

    allowed_hosts: Annotated[str, Field(pattern=HOSTS_PATTERN)] = ""
    """Names by which the service may be asked, with commas between; ``*.facility.org`` for all below, ``*`` for any."""

    cors_origins: Annotated[str, Field(pattern=ORIGINS_PATTERN)] = ""
    """Origins of web pages of other servers that may ask, with commas between, such as ``https://desk.facility.org``."""

    max_experiments: Annotated[int, Field(ge=1)] = 1000
    """Most experiments in one prediction request."""

    max_times: Annotated[int, Field(ge=1)] = 100_000
    """Most times to predict at in one request, all experiments together."""

    max_solve_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Largest `max_seconds` of one indexing search [seconds]."""

    indexing_learned: bool = True
    """Whether models from the store take part in indexing where a request does not say."""

    max_patterns: Annotated[int, Field(ge=1)] = 1000
    """Most patterns or files in one indexing request."""

    max_waveforms: Annotated[int, Field(ge=1)] = 10_000
    """Most S2 waveforms in one request, and 5,000 times as many samples."""

    max_rows: Annotated[int, Field(ge=1)] = 10_000
    """Most rows of a tensor in one open-inference request."""

    max_images: Annotated[int, Field(ge=1)] = 1000
    """Most diffraction patterns in one request for the particles of aggregates."""

    jobs_database: Annotated[str, Field(pattern=r"^(sqlite:///.+|postgresql(\+\w+)?://.+)$")] = (
        "sqlite:///state/jobs.sqlite3"
    )
    """Where the records of long work are kept, as a SQLAlchemy URL; a SQLite file is created with its folder."""

    job_workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Worker processes for long work, for each server process; 0 leaves it to others over the same database."""

    job_devices: Annotated[str, Field(pattern=r"^([\w./:-]+(,[\w./:-]+)*)?$")] = ""
    """Devices for long work, as CUDA_VISIBLE_DEVICES names them (``0,1``): one worker process for each, in place of
    ``job_workers``; empty: all workers share all devices."""

    job_queue: Annotated[int, Field(ge=1)] = 1000
    """Most jobs that wait for a worker, their parts not counted; above it the answer is 429."""

    job_retention_s: Annotated[float, Field(gt=0)] = 86400.0
    """How long results of jobs are kept [seconds]; afterwards the answer is 410."""

    job_max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Starts of a job whose worker process dies, until it is said to have failed."""

    job_max_s: Annotated[float, Field(gt=0)] = 3600.0
    """Longest that one job, or one part of it, may run [seconds]; then it is ended."""

    dask_scheduler: Annotated[str, Field(pattern=r"^((tcp|tls)://[^\s/]+:\d+)?$")] = ""
    """Address of a Dask cluster's scheduler, such as ``tcp://host:8786``, to run jobs there; empty: in this service."""

    root_path: Annotated[str, Field(pattern=r"^(/[\w.~-]+)*$")] = ""
    """Path under which a reverse proxy publishes the service, such as ``/models``; empty without one."""

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for item in filter(None, value.split(",")):
            ip_network(item.strip())  # a ValueError that says what is wrong
        return value

    @model_validator(mode="after")
    def _tokens_are_for_somebody(self) -> Settings:
        if bool(self.oidc_issuer) != bool(self.oidc_audience):
            raise ValueError("BEAMLINE_OIDC_ISSUER and BEAMLINE_OIDC_AUDIENCE are set together, or not at all")
        return self

    @property
    def serves_this_machine_only(self) -> bool:
        """Whether nobody on another machine can reach the address."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown_variables(cls, values: object) -> object:
        known = {PREFIX + name.upper() for name in cls.model_fields} | OTHER_VARIABLES
        for name in sorted(os.environ):
            if name.upper().startswith(PREFIX) and name.upper() not in known:
                raise ValueError(_unknown_variable(name, known))
        return values


def _unknown_variable(name: str, known: set[str]) -> str:
    close = get_close_matches(name.upper(), sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(sorted(known))
    return f"the environment variable {name} is not a setting; {hint}"
