"""Search by zones, for lattices with too many metric terms to be searched exhaustively.

A zone is a plane of the reciprocal lattice, q^2 = h^2 Q' + k^2 Q'' + hk R, so three lines fix it. Zones that explain
more lines than chance would are found first; two of them with a row in common leave a single term of the lattice free,
the angle between them, and one further line gives it (P. M. de Wolff, Acta Cryst. 11 (1958) 664; J. W. Visser, J. Appl.
Cryst. 2 (1969) 89). Monoclinic cells are the triclinic ones that turn out to have the symmetry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from app.indexing.compiled import compiled
from app.indexing.search import linear
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.rating import REJECTED, distinct, grown, rated

IN_ZONE = 0.4
"""Assumed share of the lines that a right zone explains."""
LEAST_SHARE = 0.2
"""A line nearer than this share of its window is no better than one there."""
MOST_INDEX = 20
SAME_ZONE = 0.01
"""Relative difference of two zones that are one."""
FLATTEST_ZONE = 3.6
"""Largest R^2 / (Q' Q''): 18 degrees between two rows."""
N_LINES = 20
_SCREEN_LINES = 14
_ROW_LINES = 10
"""Rows are looked for among so many lines, as first, second and third orders."""
_ORDERS = (1.0, 4.0, 9.0)
_CROSS_LINES = 16
"""R comes from one of so many lines."""
_CROSS = np.array(((1, 1), (1, 2), (2, 1)))
_ANGLE_LINES = 5
"""The angle between two zones comes from one of so many lines that neither explains."""
_ANGLE_PLANES = np.array(((1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1)))
_FEWEST_OUTSIDE, _PARTNERS = 2, 15
"""A zone that leaves few lines, but so many, unexplained, is paired with so many zones made for them."""


_NETS: Mapping[str, tuple[tuple[tuple[float, float, float], ...], ...]] = MappingProxyType(
    {
        "mP": (((1, 0, 0), (0, 1, 0), (0, 0, 1)),),
        # h0l has even h only: a* is half of one of the three shortest rows of the zone that is seen.
        "mC": (
            ((0.25, 0, 0), (0, 1, 0), (0, 0, 0.5)),
            ((0, 1, 0), (0.25, 0, 0), (0, 0, 0.5)),
            ((0.25, 1, 1), (0.25, 0, 0), (-0.25, 0, -0.5)),
        ),
    }
)
"""Matrices that take a zone Q', Q'', R to the terms A, C, E of a monoclinic lattice."""
_HEIGHT_POINTS = np.array(((0, 0), (1, 0), (0, 1), (1, -1), (1, 1)))
"""The line that gives b* lies above or below one of these points h, l of its zone."""
_SYMMETRIC = 0.01
"""A triclinic cell within this of a symmetry is tried with it."""


@compiled
def _nearest_line(q2: float, lines: Float[np.ndarray, "peak"]) -> int:
    place = int(np.searchsorted(lines, q2))
    if place == lines.shape[0] or (place > 0 and q2 - lines[place - 1] < lines[place] - q2):
        return place - 1
    return place


@compiled
def _weigh_zone(
    zone: Float[np.ndarray, "3"], lines: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"],
    delta: Float[np.ndarray, "peak"], point: Int[np.ndarray, "peak 2"],
) -> float:  # fmt: skip
    """Give the log-likelihood of a zone against chance; write each line's nearest point and how far it is from it."""
    last, n, total = lines[-1], 0, 0.0
    delta[:] = np.inf
    # Within a reduced zone Q >= (h^2 Q' + k^2 Q'') / 2.
    h_max = min(int(math.sqrt(2.0 * last / zone[0])), MOST_INDEX)
    k_max = min(int(math.sqrt(2.0 * last / zone[1])), MOST_INDEX)
    for k in range(k_max + 1):
        for h in range(-h_max if k > 0 else 1, h_max + 1):
            q2 = h * h * zone[0] + k * k * zone[1] + h * k * zone[2]
            if q2 <= last + window[-1]:
                n += 1
                line = _nearest_line(q2, lines)
                if abs(lines[line] - q2) < abs(delta[line]):
                    delta[line], point[line, 0], point[line, 1] = lines[line] - q2, h, k
    for i in range(lines.shape[0]):
        if abs(delta[i]) <= window[i]:
            chance = 1.0 - math.exp(-2.0 * n / last * max(abs(delta[i]), LEAST_SHARE * window[i]))
            total += math.log(IN_ZONE / chance + 1.0 - IN_ZONE)
        else:
            total += math.log(1.0 - IN_ZONE)
    return total


@compiled
def _reduce_zone(zone: Float[np.ndarray, "3"]) -> None:
    """Make Q' <= Q'' the two shortest rows and 0 <= R <= Q'."""
    for _ in range(20):
        zone[2] = abs(zone[2])
        if zone[0] > zone[1]:
            zone[0], zone[1] = zone[1], zone[0]
        if zone[2] <= zone[0] * (1.0 + 1e-9):
            return
        zone[1], zone[2] = zone[0] + zone[1] - zone[2], 2.0 * zone[0] - zone[2]


@compiled
def _refine_zone(
    lines: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"], delta: Float[np.ndarray, "peak"],
    point: Int[np.ndarray, "peak 2"], shortest: float, refined: Float[np.ndarray, "3"],
) -> bool:  # fmt: skip
    """Fit a zone to its lines by least squares; False where that gives none."""
    n, matrix, right = lines.shape[0], np.empty((3, 3)), np.empty(3)
    design, weight, used = np.empty((n, 3)), np.zeros(n), np.zeros(n, np.bool_)
    for i in range(n):
        used[i] = abs(delta[i]) <= window[i]
        h, k = point[i]
        design[i, 0], design[i, 1], design[i, 2] = h * h, k * k, h * k
        weight[i] = (window[0] / window[i]) ** 2
    linear.normal_equations(design, lines, weight, used, n, 3, matrix, right)
    if not linear.solve(matrix, right, 3, refined):
        return False
    if refined[0] <= shortest or refined[1] <= shortest or refined[2] ** 2 > FLATTEST_ZONE * refined[0] * refined[1]:
        return False
    _reduce_zone(refined)
    return True


@compiled
def find_zones(  # noqa: C901 - nested loops over what fixes a zone
    lines: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"], rows: Float[np.ndarray, "row"],
    shortest: float, zones: Float[np.ndarray, "zone 3"], weight: Float[np.ndarray, "zone"],
) -> int:  # fmt: skip
    """Write the zones that three lines can fix, refined, with their log-likelihood; give their number."""
    n, zone, refined = 0, np.empty(3), np.empty(3)
    delta, point = np.empty(lines.shape[0]), np.zeros((lines.shape[0], 2), np.int64)
    n_cross = min(_CROSS_LINES, lines.shape[0])
    for i in range(rows.shape[0]):
        for j in range(i, rows.shape[0]):
            for cross in range(-1, n_cross * _CROSS.shape[0]):
                zone[0], zone[1], zone[2] = rows[i], rows[j], 0.0
                if cross >= 0:
                    h, k = _CROSS[cross % _CROSS.shape[0]]
                    zone[2] = (lines[cross // _CROSS.shape[0]] - h * h * rows[i] - k * k * rows[j]) / (h * k)
                if zone[2] ** 2 > FLATTEST_ZONE * zone[0] * zone[1]:
                    continue
                _reduce_zone(zone)
                if zone[0] < shortest:
                    continue
                total = _weigh_zone(zone, lines, window, delta, point)
                if total <= 0.0:
                    continue
                if _refine_zone(lines, window, delta, point, shortest, refined):
                    better = _weigh_zone(refined, lines, window, delta, point)
                    if better >= total:
                        zone[:] = refined
                        total = better
                if n < zones.shape[0]:
                    zones[n] = zone
                    weight[n] = total
                    n += 1
    return n


@compiled
def _distinct_zones(
    zones: Float[np.ndarray, "zone 3"], order: Int[np.ndarray, "zone"], keep: int
) -> Int[np.ndarray, "kept"]:
    """Choose the first zones that are not nearly equal to one before them."""
    kept, n = np.empty(keep, np.int64), 0
    for z in order:
        new = True
        for other in kept[:n]:
            large = SAME_ZONE * zones[other, 1]
            near = abs(zones[z, 0] - zones[other, 0]) < SAME_ZONE * zones[other, 0]
            if near and abs(zones[z, 1] - zones[other, 1]) < large and abs(zones[z, 2] - zones[other, 2]) < large:
                new = False
                break
        if new:
            kept[n] = z
            n += 1
            if n == keep:
                break
    return kept[:n]


@compiled
def _with_row(zone: Float[np.ndarray, "3"], row: int, turned: Float[np.ndarray, "3"]) -> None:
    """Write the zone with one of its four shortest rows as the first: Q', Q'', and the diagonals."""
    a, b, r = zone[0], zone[1], zone[2]
    if row == 0:
        turned[0], turned[1], turned[2] = a, b, r
    elif row == 1:
        turned[0], turned[1], turned[2] = b, a, r
    elif row == 2:
        turned[0], turned[1], turned[2] = a + b - r, a, 2.0 * a - r
    else:
        turned[0], turned[1], turned[2] = a + b + r, a, 2.0 * a + r


@compiled
def _in_zone(line: float, window: float, zone: Float[np.ndarray, "3"]) -> bool:
    h_max, k_max = int(math.sqrt(2.0 * line / zone[0])) + 1, int(math.sqrt(2.0 * line / zone[1])) + 1
    for k in range(min(k_max, MOST_INDEX) + 1):
        for h in range(-min(h_max, MOST_INDEX), min(h_max, MOST_INDEX) + 1):
            if abs(h * h * zone[0] + k * k * zone[1] + h * k * zone[2] - line) <= window:
                return True
    return False


@compiled
def _write_form(
    form: Float[np.ndarray, "6"], common: float, first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"],
    angle: float,
) -> None:  # fmt: skip
    form[0], form[1], form[2] = common, first[1], second[1]
    form[3], form[4], form[5] = angle, second[2], first[2]


@compiled
def combine(  # noqa: C901 - nested loops over what fixes a lattice
    zones: Float[np.ndarray, "zone 3"], lines: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"],
    forms: Float[np.ndarray, "cell 6"],
) -> int:  # fmt: skip
    """Write the lattices that two zones with a common row and a further line fix; give their number."""
    n, n_zones, n_lines = 0, zones.shape[0], lines.shape[0]
    inside = np.zeros((n_zones, n_lines), np.bool_)
    for z in range(n_zones):
        for i in range(n_lines):
            inside[z, i] = _in_zone(lines[i], window[i], zones[z])
    first, second = np.empty(3), np.empty(3)
    # The best zones come first: of pairs with equal sums of places, so do the best pairs.
    for total in range(1, 2 * n_zones - 1):
        for one in range(max(0, total - n_zones + 1), (total + 1) // 2):
            other = total - one
            for row in range(16):
                _with_row(zones[one], row // 4, first)
                _with_row(zones[other], row % 4, second)
                tolerance = window[_nearest_line(first[0], lines)]
                if abs(first[0] - second[0]) > tolerance:
                    continue
                if n == forms.shape[0]:
                    return n
                common, taken = 0.5 * (first[0] + second[0]), 0
                _write_form(forms[n], common, first, second, 0.0)
                n += 1
                for i in range(n_lines):
                    if inside[one, i] or inside[other, i]:
                        continue
                    taken += 1
                    if taken > _ANGLE_LINES:
                        break
                    for plane in _ANGLE_PLANES:
                        k, l = plane[0], plane[1]  # noqa: E741
                        for h in (-1, 0, 1):
                            rest = h * h * common + k * k * first[1] + l * l * second[1]
                            rest += h * l * second[2] + h * k * first[2]
                            angle = (lines[i] - rest) / (k * l)
                            if angle * angle > FLATTEST_ZONE * first[1] * second[1]:
                                continue
                            if n == forms.shape[0]:
                                return n
                            _write_form(forms[n], common, first, second, angle)
                            n += 1
    return n


@dataclass(frozen=True)
class Breadth:
    """How many to follow: zones, lattices made of them, lattices refined, lattices whose symmetry is sought."""

    zones: int
    lattices: int
    refined: int
    symmetry: int


@dataclass(frozen=True)
class Zones:
    """The generator; never complete.

    Attributes:
        window_deg: a line may be so far from a zone's or a lattice's point, degrees of 2theta.
    """

    window_deg: float = 0.05
    breadth: tuple[Breadth, Breadth] = (Breadth(40, 60_000, 1500, 30), Breadth(100, 400_000, 6000, 100))
    name: str = "zones"
    lattices: frozenset[str] = frozenset(("mP", "mC", "aP"))

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Propose cells of one lattice, best first."""
        breadth = self.breadth[min(effort.level, 1)]
        forms, n_tried = self._triclinic(observed, limits, effort, breadth)
        x = _in_setting(bravais, forms[: max(effort.keep, 1)], breadth.symmetry)
        if bravais in _NETS and not effort.stop():
            straight, n_straight = self._monoclinic(bravais, observed, limits, breadth)
            x, n_tried = np.concatenate([straight, x]), n_tried + n_straight
        rating, _, _ = rated(bravais, x, observed.first(N_LINES), limits, self.window_deg)
        return Proposal(x[distinct(x, rating, effort.keep)], n_tried)

    def _monoclinic(
        self, bravais: str, observed: Observed, limits: Limits, breadth: Breadth
    ) -> tuple[Float[np.ndarray, "cell 4"], int]:
        """Take each zone for a*, c* and a line's distance from it for b*."""
        first = observed.first(N_LINES)
        a, c, r = self.zones(first, limits, breadth.zones).T
        nets = np.concatenate([np.stack((a, c, r), axis=1) @ np.array(net) for net in _NETS[bravais]])
        h, l = _HEIGHT_POINTS.T  # noqa: E741
        points = nets @ np.array((h * h, l * l, h * l))
        heights = first.q2 - points[:, :, None]
        heights = np.concatenate([heights, heights / 4.0], axis=2)
        net, point, line = np.nonzero(heights > 0.9 / limits.max_length**2)
        x = np.column_stack([nets[net, 0], heights[net, point, line], nets[net, 1:]])
        rating, _, _ = rated(bravais, x, first, limits, self.window_deg)
        best = grown(
            bravais, x[np.argsort(-rating, kind="stable")[: breadth.refined // 4]], first, limits, self.window_deg
        )
        return best, len(x)

    def zones(self, observed: Observed, limits: Limits, keep: int) -> Float[np.ndarray, "zone 3"]:
        """Give the most improbable zones as Q', Q'', R, best first."""
        rows = np.unique(np.divide.outer(observed.q2[:_ROW_LINES], _ORDERS))
        zones = self._zones_of(observed, rows, limits, keep)
        if len(zones) == 0:
            return zones
        partners = self._partners(observed, zones[0], limits)
        return np.concatenate([zones[:1], partners, zones[1:]])[:keep]

    def _partners(
        self, observed: Observed, zone: Float[np.ndarray, "3"], limits: Limits
    ) -> Float[np.ndarray, "zone 3"]:
        """Give zones that share a row with a dominant one, by the few lines that it leaves unexplained."""
        window = self.window_deg * observed.per_degree
        outside = np.array([not _in_zone(line, half, zone) for line, half in zip(observed.q2, window, strict=True)])
        if not _FEWEST_OUTSIDE <= np.count_nonzero(outside) < len(outside) / 2:
            return np.empty((0, 3))
        rest = Observed(observed.q2[outside], observed.per_degree[outside], observed.slope[outside])
        diagonals = zone[0] + zone[1] + zone[2] * np.array((-1.0, 1.0))
        return self._zones_of(rest, np.concatenate([zone[:2], diagonals, rest.q2]), limits, _PARTNERS)

    def _zones_of(
        self, observed: Observed, rows: Float[np.ndarray, "row"], limits: Limits, keep: int
    ) -> Float[np.ndarray, "zone 3"]:
        """Give the best zones with two of these rows."""
        # The longest reciprocal lattice spacing that the limits allow, with room for oblique axes.
        shortest = 0.9 / limits.max_length**2
        zones, weight = np.empty((50_000, 3)), np.empty(50_000)
        window = self.window_deg * observed.per_degree
        n = find_zones(observed.q2, window, rows[rows > shortest], shortest, zones, weight)
        return zones[:n][_distinct_zones(zones[:n], np.argsort(-weight[:n], kind="stable"), keep)]

    def _triclinic(
        self, observed: Observed, limits: Limits, effort: Effort, breadth: Breadth
    ) -> tuple[Float[np.ndarray, "cell 6"], int]:
        first = observed.first(N_LINES)
        zones = self.zones(first, limits, breadth.zones)
        forms = np.empty((breadth.lattices, 6))
        n = combine(zones, first.q2, self.window_deg * first.per_degree, forms)
        kept = []
        for start in range(0, n, 2000):
            if effort.stop():
                break
            part = forms[start : min(start + 2000, n)]
            rating, _, _ = rated("aP", part, observed.first(_SCREEN_LINES), limits, self.window_deg)
            good = rating > REJECTED
            kept.append(np.column_stack([rating[good], part[good]]))
        if not kept:
            return np.empty((0, 6)), 0
        best = np.concatenate(kept)
        best = best[np.argsort(-best[:, 0], kind="stable")[: breadth.refined], 1:]
        x = grown("aP", best, first, limits, self.window_deg)
        rating, _, _ = rated("aP", x, first, limits, self.window_deg)
        # One lattice in two bases has one rating.
        _, unique = np.unique(np.round(rating, 4), return_index=True)
        unique = unique[rating[unique] > REJECTED]
        return x[unique[np.argsort(-rating[unique], kind="stable")]], n


def _in_setting(bravais: str, forms: Float[np.ndarray, "cell 6"], most: int) -> Float[np.ndarray, "cell param"]:
    """Give the conventional cells, reduced, or of those with the lattice's symmetry."""
    from app.crystallography.lattice import LATTICES
    from app.crystallography.lattice_symmetry import bravais_of
    from app.crystallography.metric import cell_from_form, x_from_cell

    lattice = LATTICES[bravais]
    candidates = (one for form in forms[:most] for one in bravais_of(cell_from_form(form), tolerance=_SYMMETRIC))
    x = [x_from_cell(lattice, one.cell) for one in candidates if one.bravais == bravais]
    return np.array(x) if x else np.empty((0, lattice.n_params))
