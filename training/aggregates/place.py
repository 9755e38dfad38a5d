"""How particles stick together: each new one touches one that is already there, in the plane or in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from app.errors import InvalidInput

OBJECT: Final = 64
"""Pixels on each side of the object grid, N."""
MOST: Final = 5
"""Most particles in an aggregate."""
TOUCHING: Final = 1e-9
"""Rounding allowed in a distance, as a share of it."""
TRIES: Final = 200
"""Draws of one particle before its aggregate is begun anew."""
RESTARTS: Final = 200
"""Beginnings of one aggregate before it is said not to fit."""
PAIRWISE_LEAST: Final = 2 / ((1 + 5**0.5) / 2)
"""Five points cannot all be within 2 r of each other and further apart than this many r: a regular pentagon's diagonal
is (1 + sqrt 5)/2 times its side."""

Contact = Literal["connected", "pairwise"]


@dataclass(frozen=True)
class Growth:
    """How an aggregate grows.

    Attributes:
        least_distance: least distance of two centres in units of their mean radius: 2 for particles that touch in one
            point and never overlap, 1 for discs that may overlap until the centre of one lies on the edge of the other.
        contact: `connected`, every particle touches at least one; `pairwise`, every particle touches every other.
    """

    least_distance: float = 1.0
    contact: Contact = "connected"

    def __post_init__(self) -> None:
        if not 0 < self.least_distance <= 2:
            raise InvalidInput(
                f"least_distance is {self.least_distance:g} radii; it must be above 0 and at most 2, where discs touch."
            )


def place(
    number: Int[np.ndarray, " image"],
    radii_px: Float[np.ndarray, "image particle"],
    growth: Growth,
    dimensions: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "image particle axis"]:
    """Centres [object pixels] of the particles of each aggregate, axes (row, column) or (row, column, depth).

    The first centre lies in the central N/2 x N/2 (depth 0). Each further one is drawn evenly over the ring (in space:
    shell) between `growth.least_distance` mean radii and contact around one of those there, and drawn again where it is
    nearer than that to any other or not inside the N x N object.

    Args:
        number: particles of each aggregate, 1 to 5.
        radii_px: their radii [object pixels]; entries beyond `number` are not read.
        growth: least distance and kind of contact.
        dimensions: 2 for discs, 3 for spheres.
        rng: where the randomness comes from.

    Returns:
        Shape (image, 5, dimensions); NaN beyond `number`.

    Raises:
        InvalidInput: particles too large for the object, or a contact that geometry forbids.
    """
    check_fit(radii_px, growth)
    centres = np.full((*radii_px.shape, dimensions), np.nan)
    pending = np.arange(len(number))
    for _ in range(RESTARTS):
        centres[pending], grown = _grow(number[pending], radii_px[pending], growth, dimensions, rng)
        pending = pending[~grown]
        if not pending.size:
            return centres
    largest = float(np.nanmax(radii_px[pending]))
    raise InvalidInput(
        f"{int(number[pending].max())} particles of radius {largest:.3g} px found no room in an object of "
        f"{OBJECT} x {OBJECT} px; make them smaller, fewer, or let them overlap more."
    )


def check_fit(radii_px: Float[np.ndarray, "image particle"], growth: Growth) -> None:
    """Refuse radii and contacts for which there can be no aggregate.

    Raises:
        InvalidInput: a radius that is not positive or is above N/4, or a contact that geometry forbids.
    """
    smallest, largest = float(radii_px.min(initial=np.inf)), float(radii_px.max(initial=0.0))
    if largest > OBJECT / 4 or not smallest > 0:
        raise InvalidInput(
            f"The radius is {smallest:.4g} to {largest:.4g} px; it must be above 0 and at most a quarter of the "
            f"{OBJECT} px object, {OBJECT / 4:g} px, so that aggregates fit into it."
        )
    if growth.contact == "pairwise" and growth.least_distance > PAIRWISE_LEAST:
        raise InvalidInput(
            f"Five discs cannot all touch each other when centres are at least {growth.least_distance:g} radii apart; "
            f"at most {PAIRWISE_LEAST:.3f} is possible."
        )


def _grow(
    number: Int[np.ndarray, " image"],
    radii: Float[np.ndarray, "image particle"],
    growth: Growth,
    dimensions: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "image particle axis"], Bool[np.ndarray, " image"]]:
    """Centres, and which aggregates are complete."""
    centres = np.full((*radii.shape, dimensions), np.nan)
    centres[:, 0] = 0.0
    centres[:, 0, :2] = rng.uniform(OBJECT / 4, 3 * OBJECT / 4, (len(number), 2))
    grown = _inside(centres[:, 0], radii[:, 0])
    for k in range(1, int(number.max(initial=1))):
        todo = np.flatnonzero((number > k) & grown)
        for _ in range(TRIES):
            if not todo.size:
                break
            drawn = _candidate(centres[todo], radii[todo], k, growth, rng)
            fits = _fits(drawn, centres[todo], radii[todo], k, growth)
            centres[todo[fits], k] = drawn[fits]
            todo = todo[~fits]
        grown[todo] = False
    return centres, grown


def _candidate(
    centres: Float[np.ndarray, "image particle axis"],
    radii: Float[np.ndarray, "image particle"],
    k: int,
    growth: Growth,
    rng: np.random.Generator,
) -> Float[np.ndarray, "image axis"]:
    rows = np.arange(len(centres))
    parent = rng.integers(0, k, len(centres))
    mean_radius = (radii[rows, parent] + radii[:, k]) / 2
    dimensions = centres.shape[2]
    distance = mean_radius * rng.uniform(growth.least_distance**dimensions, 2.0**dimensions, len(centres)) ** (
        1 / dimensions
    )
    direction = rng.standard_normal((len(centres), dimensions))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return centres[rows, parent] + distance[:, None] * direction


def _fits(
    drawn: Float[np.ndarray, "image axis"],
    centres: Float[np.ndarray, "image particle axis"],
    radii: Float[np.ndarray, "image particle"],
    k: int,
    growth: Growth,
) -> Bool[np.ndarray, " image"]:
    distance = np.linalg.norm(drawn[:, None] - centres[:, :k], axis=2)
    mean_radius = (radii[:, :k] + radii[:, k : k + 1]) / 2
    fits = _inside(drawn, radii[:, k])
    fits &= np.all(distance >= growth.least_distance * mean_radius * (1 - TOUCHING), axis=1)
    if growth.contact == "pairwise":
        fits &= np.all(distance <= 2 * mean_radius * (1 + TOUCHING), axis=1)
    return fits


def _inside(centre: Float[np.ndarray, "image axis"], radius: Float[np.ndarray, " image"]) -> Bool[np.ndarray, " image"]:
    plane = centre[:, :2]
    return np.all((plane >= radius[:, None]) & (plane <= OBJECT - 1 - radius[:, None]), axis=1)
