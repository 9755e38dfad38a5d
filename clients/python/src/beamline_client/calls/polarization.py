"""Decay of the neutron polarization between two calibrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

from beamline_client.answers.polarization import PolarizationAnswer, PolarizationFileAnswer
from beamline_client.calls.shared import json_request, predicted
from beamline_client.encoding import File, file_content, query
from beamline_client.flow import Flow, Request, Service
from beamline_client.inputs import Experiment, Picture, PolarizationFileOptions, PolarizationOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


@overload
def predict_polarization(
    service: Service,
    experiments: Experiment | Sequence[Experiment],
    *,
    picture: None = None,
    **options: Unpack[PolarizationOptions],
) -> Flow[PolarizationAnswer]: ...
@overload
def predict_polarization(
    service: Service,
    experiments: Experiment | Sequence[Experiment],
    *,
    picture: Picture,
    **options: Unpack[PolarizationOptions],
) -> Flow[bytes]: ...
def predict_polarization(
    service: Service,
    experiments: Experiment | Sequence[Experiment],
    *,
    picture: Picture | None = None,
    **options: Unpack[PolarizationOptions],
) -> Flow[Any]:
    """Predict the neutron polarization with its standard deviation, for one experiment or many.

    Args:
        experiments: cells, calibrations and where to predict (`inputs.Experiment`). Date-times may be `datetime`.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        options: ``model``, ``version``, ``correction``.

    Raises:
        ProblemError: the service refuses; `InvalidInput` names the fields.
        ServiceUnreachable: there is no answer.
    """
    several = [experiments] if isinstance(experiments, Mapping) else list(experiments)
    request = json_request("/polarization/predict", {"experiments": several, **options})
    return predicted(service, request, PolarizationAnswer, picture)


@overload
def predict_polarization_file(
    service: Service, *files: File, picture: None = None, **options: Unpack[PolarizationFileOptions]
) -> Flow[PolarizationFileAnswer]: ...
@overload
def predict_polarization_file(
    service: Service, *files: File, picture: Picture, **options: Unpack[PolarizationFileOptions]
) -> Flow[bytes]: ...
def predict_polarization_file(
    service: Service, *files: File, picture: Picture | None = None, **options: Unpack[PolarizationFileOptions]
) -> Flow[Any]:
    """Predict every decay in a `.fli`, a zip of a `processed` folder, or D3's two text files.

    Args:
        files: paths, contents or open files.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        options: ``step_s``, ``threshold_polarization``, ``model``, ``version``, ``correction``, and ``filename`` of a
            content without a name.

    Raises:
        OSError: a file cannot be read.
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    others = dict(options)
    name = cast("str | None", others.pop("filename", None))
    form = [("files", file_content(file, name)) for file in files]
    request = Request("POST", "/polarization/predict/file", query(others), files=form)
    return predicted(service, request, PolarizationFileAnswer, picture)
