"""What the OpenAPI document says of the waveform endpoints: bodies, examples and answers."""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np

from app.api.negotiation import BINARY, answered_as
from app.api.open_inference import body_or_inference
from app.api.uploads import form_body
from app.api.waveform_schema import WaveformRequest
from app.waveform.detector import DETECTORS
from app.waveform.pulses import pulse_shape

_FILE: Final = {"schema": dict(BINARY)}


def example_waveform(separation_us: float, samples: int = 5000, period_ns: float = 10.0) -> np.ndarray:
    """Two equal pulses after 400 us of drift, digitized in whole counts on a baseline of 12."""
    detector = DETECTORS["reference"]
    sigma = float(detector.diffusion_us(400.0))
    time = (np.arange(samples) + 0.5) * period_ns * 1e-3 - 25.0
    halves = [pulse_shape(time + side * separation_us / 2.0, sigma, detector.gas_gap_us) for side in (-1.0, 1.0)]
    return np.round(400.0 * (halves[0] + halves[1]) + 12.0).astype(np.uint8)


def _examples() -> dict[str, Any]:
    raw = base64.b64encode(example_waveform(3.0).tobytes()).decode()
    coarse = example_waveform(3.0, samples=500, period_ns=100.0).tolist()
    return {
        "base64": {
            "summary": "One waveform of 5,000 samples as base64, with its drift time",
            "value": {
                "waveforms": {"data_base64": raw, "dtype": "uint8", "shape": [1, 5000]},
                "detector": "reference",
                "drift_time_us": 400.0,
                "pulses": True,
            },
        },
        "numbers": {
            "summary": "One waveform of 500 samples of 100 ns as numbers",
            "value": {"waveforms": [coarse], "length": "resample", "sample_period_ns": 100.0},
        },
    }


WAVEFORM_BODY: Final = body_or_inference(
    WaveformRequest, _examples(), ("application/x-npy", "application/octet-stream")
)
FILE_BODY: Final = form_body({"file": {**BINARY, "description": "A `.npy`, an `.npz` or an HDF5 file."}})
ANSWERS: Final = answered_as(
    "The answers, in the form that `Accept` asks for; of an open-inference request, in its form.",
    "waveform,number_of_s2,p_two,separation_us,sigma_us\n0,2,0.998,3.02,0.11\n",
)
ANSWERS[200]["content"]["application/octet-stream"] = _FILE
