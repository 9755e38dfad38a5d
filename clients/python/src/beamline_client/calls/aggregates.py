"""From a diffraction pattern to the number of particles behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from beamline_client.answers.aggregates import AggregatesAnswer
from beamline_client.calls.shared import file_request, json_request, predicted
from beamline_client.encoding import Array, File, array_json
from beamline_client.flow import Flow, Service
from beamline_client.inputs import AggregatesFileOptions, AggregatesOptions, Picture

if TYPE_CHECKING:
    from typing_extensions import Unpack


@overload
def aggregates(
    service: Service,
    patterns: Array,
    *,
    mask: Array | None = None,
    picture: None = None,
    **options: Unpack[AggregatesOptions],
) -> Flow[AggregatesAnswer]: ...
@overload
def aggregates(
    service: Service,
    patterns: Array,
    *,
    mask: Array | None = None,
    picture: Picture,
    **options: Unpack[AggregatesOptions],
) -> Flow[bytes]: ...
def aggregates(
    service: Service,
    patterns: Array,
    *,
    mask: Array | None = None,
    picture: Picture | None = None,
    **options: Unpack[AggregatesOptions],
) -> Flow[Any]:
    """Count the particles, 1 to 5, behind each diffraction pattern.

    Args:
        patterns: one (row, column) or many (image, row, column), in photons. A NumPy array is sent as its bytes.
        mask: what does not count, for all patterns or for each; ``mask_marks`` says what anything but 0 means.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        options: ``radius_px`` or the geometry, ``centre_px``, ``beam_stop_px`` and more: see
            `inputs.AggregatesOptions`.

    Raises:
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    arrays = {"patterns": array_json(patterns), "mask": None if mask is None else array_json(mask)}
    return predicted(service, json_request("/aggregates", {**arrays, **options}), AggregatesAnswer, picture)


@overload
def aggregates_file(
    service: Service,
    file: File,
    *,
    mask: File | None = None,
    picture: None = None,
    **options: Unpack[AggregatesFileOptions],
) -> Flow[AggregatesAnswer]: ...
@overload
def aggregates_file(
    service: Service,
    file: File,
    *,
    mask: File | None = None,
    picture: Picture,
    **options: Unpack[AggregatesFileOptions],
) -> Flow[bytes]: ...
def aggregates_file(
    service: Service,
    file: File,
    *,
    mask: File | None = None,
    picture: Picture | None = None,
    **options: Unpack[AggregatesFileOptions],
) -> Flow[Any]:
    """The same for a detector file: `.npy`, `.npz`, TIFF, PNG, HDF5 or CXI.

    Args:
        file: a path, the content, or an open file.
        mask: the same, with the mask.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        options: as of `aggregates`, and ``dataset``, ``first``, ``count`` of a file with many images.

    Raises:
        OSError: a file cannot be read.
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    request = file_request("/aggregates/file", {"file": file, "mask": mask}, options)
    return predicted(service, request, AggregatesAnswer, picture)
