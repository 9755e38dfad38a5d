"""A session with KServe's client, run by the Python of an environment that has it. Prints what was found as JSON.

Usage: python kserve_session.py http://127.0.0.1:8000 MODEL INPUT [[1.0, 2.0], ...]
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferInput, InferRequest, RESTConfig
from kserve.inference_client import InferenceRESTClient
from kserve.protocol.infer_type import RequestedOutput


async def session(url: str, model: str, name: str, rows: np.ndarray) -> dict[str, Any]:
    """Everything that the client can do with a server of the protocol."""
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, model),
            "other ready": await client.is_model_ready(url, "other"),
        }
        for form in ("json", "binary"):
            answer = await client.infer(url, request(model, name, rows, binary=form == "binary"), model_name=model)
            found[form] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
            found[f"{form} types"] = [str(output.as_numpy().dtype) for output in answer.outputs]
            found[f"{form} id"] = answer.id
        for wrong in ("other", model):
            try:
                await client.infer(url, request(wrong, name, rows[:, 1:], binary=False), model_name=wrong)
            except httpx.HTTPStatusError as error:
                found[f"error of {'other' if wrong == 'other' else 'shape'}"] = error.response.json()
        return found


def request(model: str, name: str, rows: np.ndarray, *, binary: bool) -> InferRequest:
    tensor = InferInput(name=name, shape=list(rows.shape), datatype="FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    parameters = {"binary_data_output": True} if binary else None
    outputs = None if binary else [RequestedOutput("heads")]
    return InferRequest(model, [tensor], request_id="7", parameters=parameters, request_outputs=outputs)


if __name__ == "__main__":
    url, model, name, rows = sys.argv[1:]
    result = asyncio.run(session(url, model, name, np.array(json.loads(rows), np.float32)))
    json.dump(result, sys.stdout)
