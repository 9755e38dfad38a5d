"""The models of the store, the health of the service, and whatever else it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from beamline_client.answers.store import Health, Model, ModelList, ModelVersion
from beamline_client.encoding import json_bytes, query
from beamline_client.flow import Flow, Request, Service, as_record, asked, exchange


def models(service: Service) -> Flow[list[Model]]:
    """Every model of the store with its versions, aliases and states.

    Raises:
        ProblemError, ServiceUnreachable: there is no answer.
    """
    return asked(service, Request("GET", "/models"), lambda response: as_record(ModelList)(response).models)


def model(service: Service, name: str) -> Flow[Model]:
    """One model and its versions.

    Raises:
        NotFound: there is none of that name; ``members["available"]`` lists those that are.
    """
    return asked(service, Request("GET", f"/models/{quote(name, safe='')}"), as_record(Model))


def model_version(service: Service, name: str, version: str | int = "stable") -> Flow[ModelVersion]:
    """One version, by its number or an alias, with card, metrics, and features with units and training ranges.

    Raises:
        NotFound: there is none of that name or version.
    """
    path = f"/models/{quote(name, safe='')}/versions/{quote(str(version), safe='')}"
    return asked(service, Request("GET", path), as_record(ModelVersion))


def health(service: Service) -> Flow[Health]:
    """Whether predictions are answered, and how the workers for long work stand. Never tried twice.

    Raises:
        Unavailable: not yet; ``members["waiting_for"]`` lists the models that are not loaded.
        ServiceUnreachable: nobody answers.
    """
    return asked(service, Request("GET", "/health/ready", retry=False), as_record(Health))


def request(
    service: Service,
    method: str,
    path: str,
    *,
    json: object = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Flow[httpx.Response]:
    """Ask for anything else that the service has, with the same key, retries and errors.

    Args:
        path: such as ``/v2/models/NAME/infer``.
        json: body, in place of ``content``.
        options: the query.

    Raises:
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    sent = dict(headers or {})
    if json is not None:
        content = json_bytes(json)
        sent = {"Content-Type": "application/json", **sent}
    repeatable = method.upper() in ("GET", "HEAD", "PUT", "DELETE") or any(
        name.lower() == "idempotency-key" for name in sent
    )
    asking = Request(method.upper(), path, query(options or {}), sent, content, repeatable=repeatable)
    return exchange(service, asking)
