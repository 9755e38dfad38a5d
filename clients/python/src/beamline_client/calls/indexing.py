"""From the lines of a powder pattern to its unit cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from beamline_client.answers.indexing import BatchAnswer, FilesAnswer, PeaksAnswer, SolveAnswer
from beamline_client.calls.shared import file_request, in_form, json_request, predicted, reading
from beamline_client.encoding import File, file_content
from beamline_client.flow import Flow, Listen, Request, Service, done
from beamline_client.inputs import Lines, PeaksOptions, Picture, Question, SearchOptions, SolveFileOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


@overload
def solve(
    service: Service, *, picture: None = None, on_progress: Listen | None = None, **question: Unpack[Question]
) -> Flow[SolveAnswer]: ...
@overload
def solve(
    service: Service, *, picture: Picture, on_progress: Listen | None = None, **question: Unpack[Question]
) -> Flow[bytes]: ...
def solve(
    service: Service, *, picture: Picture | None = None, on_progress: Listen | None = None, **question: Unpack[Question]
) -> Flow[Any]:
    """Find the unit cells that explain the lines of a powder pattern, the most probable first.

    Waits for the answer, which ``max_seconds`` bounds (10), through restarts of the service too. Interrupting the call
    cancels the search.

    Args:
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        on_progress: called with the `Job` at every change.
        question: the lines (exactly one kind of position, such as ``d_ang=``, or ``two_theta_deg=`` with
            ``wavelength_ang=``) and what to search: see `inputs.Question`.

    Raises:
        ProblemError: the service refuses, or the search failed; `InvalidInput` names the fields.
        ServiceUnreachable: there is no answer.
    """
    request = in_form(solve_request(**question), picture)
    return done(service, request, reading(SolveAnswer, picture), on_progress)


def solve_request(**question: Unpack[Question]) -> Request:
    """Ask for the cells of a list of lines."""
    return json_request("/indexing/solve", question)


@overload
def solve_file(
    service: Service,
    file: File,
    *,
    picture: None = None,
    on_progress: Listen | None = None,
    **options: Unpack[SolveFileOptions],
) -> Flow[SolveAnswer]: ...
@overload
def solve_file(
    service: Service,
    file: File,
    *,
    picture: Picture,
    on_progress: Listen | None = None,
    **options: Unpack[SolveFileOptions],
) -> Flow[bytes]: ...
def solve_file(
    service: Service,
    file: File,
    *,
    picture: Picture | None = None,
    on_progress: Listen | None = None,
    **options: Unpack[SolveFileOptions],
) -> Flow[Any]:
    """The same from a measured pattern, or from a list of lines in a text file.

    Args:
        file: a path, the content (`columns` makes one of arrays), or an open file.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        on_progress: called with the `Job` at every change.
        options: of the pattern (``wavelength_ang``, ``axis``) and of the search; ``filename`` of a content.

    Raises:
        OSError: the file cannot be read.
        ProblemError: the service refuses, or the search failed.
        ServiceUnreachable: there is no answer.
    """
    request = in_form(solve_file_request(file, **options), picture)
    return done(service, request, reading(SolveAnswer, picture), on_progress)


def solve_file_request(file: File, **options: Unpack[SolveFileOptions]) -> Request:
    """Ask for the cells of a pattern."""
    return file_request("/indexing/solve/file", {"file": file}, options)


def solve_batch(
    service: Service,
    patterns: Sequence[Lines],
    *,
    on_progress: Listen | None = None,
    **options: Unpack[SearchOptions],
) -> Flow[BatchAnswer]:
    """The same for many lists of lines, all with the same options; an error of one stands in its place.

    Args:
        patterns: the lines of each, as `solve` takes them.
        on_progress: called with the `Job` at every change; its ``progress`` has ``done`` and ``total``.
        options: what to search; ``max_seconds`` is for each.

    Raises:
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    return done(service, batch_request(patterns, **options), reading(BatchAnswer, None), on_progress)


def batch_request(patterns: Sequence[Lines], **options: Unpack[SearchOptions]) -> Request:
    """Ask for the cells of many lists of lines."""
    return json_request("/indexing/solve/batch", {"patterns": list(patterns), **options})


def solve_files(
    service: Service, *files: File, on_progress: Listen | None = None, **options: Unpack[SolveFileOptions]
) -> Flow[FilesAnswer]:
    """The same for many measured patterns, or zips of them.

    Args:
        files: paths, contents or open files.
        on_progress: called with the `Job` at every change; its ``progress`` has ``done`` and ``total``.
        options: as of `solve_file`, the same for all.

    Raises:
        OSError: a file cannot be read.
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    return done(service, files_request(*files, **options), reading(FilesAnswer, None), on_progress)


def files_request(*files: File, **options: Unpack[SolveFileOptions]) -> Request:
    """Ask for the cells of many patterns."""
    name = options.get("filename")
    form = [("files", file_content(file, name)) for file in files]
    return replace(file_request("/indexing/solve/files", {}, options), files=form)


@overload
def find_peaks(
    service: Service, file: File, *, picture: None = None, **options: Unpack[PeaksOptions]
) -> Flow[PeaksAnswer]: ...
@overload
def find_peaks(service: Service, file: File, *, picture: Picture, **options: Unpack[PeaksOptions]) -> Flow[bytes]: ...
def find_peaks(
    service: Service, file: File, *, picture: Picture | None = None, **options: Unpack[PeaksOptions]
) -> Flow[Any]:
    """Find the lines of a measured pattern, with their standard deviations, widths and intensities.

    Args:
        file: a path, the content (`columns` makes one of arrays), or an open file.
        picture: ``"png"`` or ``"svg"``: give the picture in place of the numbers.
        options: ``wavelength_ang``, ``axis``, ``min_snr``, ``max_peaks`` and more: see `inputs.PeaksOptions`.

    Raises:
        OSError: the file cannot be read.
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
    """
    return predicted(service, file_request("/indexing/peaks", {"file": file}, options), PeaksAnswer, picture)
