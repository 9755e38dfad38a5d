"""FastAPI and `model.predict`, as most tutorials write it."""

from __future__ import annotations

import os

import keras
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

FOLDER = os.environ["BENCHMARK_NETWORKS"]
app = FastAPI()
mlp = keras.models.load_model(f"{FOLDER}/mlp.keras")
cnn1d = keras.models.load_model(f"{FOLDER}/cnn1d.keras")


class MlpIn(BaseModel):
    """What the first network is asked."""

    static: list[list[float]]
    time: list[list[float]]


class Cnn1dIn(BaseModel):
    """What the second network is asked."""

    samples: list[list[float]]


@app.post("/mlp")
async def ask_mlp(body: MlpIn) -> dict:
    """Ask the first network."""
    mean, log_var = mlp.predict([np.array(body.static), np.array(body.time)], verbose=0)
    return {"mean": mean.tolist(), "log_var": log_var.tolist()}


@app.post("/cnn1d")
async def ask_cnn1d(body: Cnn1dIn) -> dict:
    """Ask the second network."""
    return {"answer": cnn1d.predict(np.array(body.samples), verbose=0).tolist()}


# Connections are kept for longer than by default: at 64 clients some wait for more than those 5 s.
options = {"log_level": "warning", "access_log": False, "timeout_keep_alive": 120}
uvicorn.run(app, port=int(os.environ["BENCHMARK_PORT"]), **options)
