"""Client of the model server for beamlines: `Client` blocks, `AsyncClient` is for asyncio and Trio.

from beamline_client import Client

with Client("http://beamline-models:8000") as service:
    answer = service.solve(d_ang=[...])
    print(answer.solutions[0].cell)
"""

from beamline_client.answers.aggregates import AggregatesAnswer
from beamline_client.answers.indexing import BatchAnswer, Cell, FilesAnswer, PeaksAnswer, Solution, SolveAnswer
from beamline_client.answers.jobs import Job, JobSummary
from beamline_client.answers.polarization import Decay, PolarizationAnswer, PolarizationFileAnswer
from beamline_client.answers.store import Health, Model, ModelVersion
from beamline_client.answers.waveform import WaveformAnswer
from beamline_client.asynchronous import AsyncClient
from beamline_client.blocking import Client
from beamline_client.encoding import columns
from beamline_client.errors import (
    BeamlineError,
    Busy,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobNotFinished,
    ModelFailed,
    NotFound,
    ProblemError,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from beamline_client.retry import Retry

__all__ = [
    "AggregatesAnswer",
    "AsyncClient",
    "BatchAnswer",
    "BeamlineError",
    "Busy",
    "Cell",
    "Client",
    "Conflict",
    "Decay",
    "FieldError",
    "FilesAnswer",
    "Forbidden",
    "Gone",
    "Health",
    "InvalidInput",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFinished",
    "JobSummary",
    "Model",
    "ModelFailed",
    "ModelVersion",
    "NotFound",
    "PeaksAnswer",
    "PolarizationAnswer",
    "PolarizationFileAnswer",
    "ProblemError",
    "RequestRefused",
    "Retry",
    "ServiceFailed",
    "ServiceUnreachable",
    "Solution",
    "SolveAnswer",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "WaveformAnswer",
    "columns",
]
