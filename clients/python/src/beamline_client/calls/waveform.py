"""How many scatters are in S2 waveforms, and how far apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from beamline_client.answers.waveform import WaveformAnswer
from beamline_client.calls.shared import file_request, json_request, predicted
from beamline_client.encoding import Array, File, array_json
from beamline_client.flow import Flow, Service
from beamline_client.inputs import Picture, WaveformFileOptions, WaveformOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


@overload
def waveform(
    service: Service, waveforms: Array, *, picture: None = None, **options: Unpack[WaveformOptions]
) -> Flow[WaveformAnswer]: ...
@overload
def waveform(
    service: Service, waveforms: Array, *, picture: Picture, **options: Unpack[WaveformOptions]
) -> Flow[bytes]: ...
def waveform(
    service: Service, waveforms: Array, *, picture: Picture | None = None, **options: Unpack[WaveformOptions]
) -> Flow[Any]:
    """Say of each waveform whether it holds one S2 or two, and how far apart they are.

    Args:
        waveforms: one of 5,000 samples of 10 ns, or many (waveform, sample). A NumPy array is sent as its bytes.
        picture: ``"png"`` or ``"svg"``: give the picture of the waveforms in ``show`` in place of the numbers.
        options: ``detector``, ``drift_time_us`` [us], ``prior_two`` and more: see `inputs.WaveformOptions`.

    Raises:
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    request = json_request("/waveform", {"waveforms": array_json(waveforms), **options})
    return predicted(service, request, WaveformAnswer, picture)


@overload
def waveform_file(
    service: Service, file: File, *, picture: None = None, **options: Unpack[WaveformFileOptions]
) -> Flow[WaveformAnswer]: ...
@overload
def waveform_file(
    service: Service, file: File, *, picture: Picture, **options: Unpack[WaveformFileOptions]
) -> Flow[bytes]: ...
def waveform_file(
    service: Service, file: File, *, picture: Picture | None = None, **options: Unpack[WaveformFileOptions]
) -> Flow[Any]:
    """The same for a `.npy`, an `.npz` or an HDF5 file.

    Args:
        file: a path, the content, or an open file.
        picture: ``"png"`` or ``"svg"``: give the picture of the waveforms in ``show`` in place of the numbers.
        options: as of `waveform`, settings of the detector beside them, and ``dataset``.

    Raises:
        OSError: the file cannot be read.
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    return predicted(service, file_request("/waveform/file", {"file": file}, options), WaveformAnswer, picture)
