"""A D3 that exists in the computer: cells are filled, put in place, decay, are measured now and then, are exchanged.

For tests, where the truth must be known, and for training before there are measurements. Ranges come from D3's runs of
2018 to 2024; see the constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float

from app.polarization.decay import (
    HOUR_S,
    OPACITY_PER_BAR_CM_ANG,
    Optics,
    counting_sigma,
    flipping_ratio,
    neutron_polarization,
)
from app.polarization.experiment import Cell, Experiment, Material

BEGINNING: Final = datetime.fromisoformat("2024-02-01T09:00:00")
LEAST_COUNTS: Final = 1e3
MOST_COUNTS: Final = 6e5
"""Counts of one measurement that D3's errors tell of, by sigma_P^2 = (1 - P^2)/N."""
INSTALLATION_GAP_S: Final = (600.0, 2 * HOUR_S)
"""From the last row of a cell to the first of its successor."""


@dataclass(frozen=True)
class SetUp:
    """What differs between the two set-ups.

    Attributes:
        optics: amplitude and opacity ratio that were fitted to D3's runs (0.93 crystalline; 0.95 and 0.5 amorphous).
        length_wavelength_cm_ang: L lambda [cm A]; 11.7 and 8.6 give D3's median first polarizations, 0.85 and 0.54.
        median_t1_h: median T1 [h] of each polarizer cell.
        pressures_bar: of the polarizer.
        lab_polarization: range of the 3He polarization at filling.
        lab_delay_s: range of the time from filling to the first row (D3: 165 to 14142 s and 219 to 3939 s).
        analysers: analyser cells, empty where there is none.
        analyser_pressure_bar: theirs.
        reflection: Miller indices of the silicon crystal.
    """

    optics: Optics
    length_wavelength_cm_ang: float
    median_t1_h: MappingProxyType[str, float]
    pressures_bar: tuple[float, ...]
    lab_polarization: tuple[float, float]
    lab_delay_s: tuple[float, float]
    analysers: tuple[str, ...] = ()
    analyser_pressure_bar: float = 2.0
    reflection: tuple[float, float, float] = (1.0, 1.0, 1.0)


SETUPS: Final = MappingProxyType[Material, SetUp](
    {
        "crystalline": SetUp(
            optics=Optics(0.931),
            length_wavelength_cm_ang=11.7,
            median_t1_h=MappingProxyType({"ge18004": 118.0, "ge18012": 76.0, "ge18006": 54.0}),
            pressures_bar=(2.27, 2.28, 2.29, 2.30),
            lab_polarization=(0.70, 0.80),
            lab_delay_s=(165.0, 14_142.0),
        ),
        "amorphous": SetUp(
            optics=Optics(0.95, 0.5),
            length_wavelength_cm_ang=8.6,
            median_t1_h=MappingProxyType({"ge18004": 100.0, "ge18012": 95.0}),
            pressures_bar=(3.09, 3.10, 3.16, 3.17),
            lab_polarization=(0.77, 0.80),
            lab_delay_s=(219.0, 3_939.0),
            analysers=("sic1402", "sic1403"),
            reflection=(3.0, 3.0, 3.0),
        ),
    }
)


@dataclass(frozen=True)
class SimulationArgs:
    """How a campaign goes.

    Attributes:
        points: smallest and largest number of rows of a run (D3: 8 to 13).
        duration_h: median time [h] between a run's first and last row; spread by 30%.
        t1_spread: standard deviation of ln T1 around the cell's median.
        counts: median counts of a measurement; runs differ by a factor 2, rows by 30%.
        excess_sigma: scatter of P beyond counting.
        amplitude_spread: standard deviation of the amplitude between reflections: different samples, other
            backgrounds.
        reflections: reflections measured in turn on each installed cell.
    """

    points: tuple[int, int] = (8, 13)
    duration_h: float = 24.0
    t1_spread: float = 0.25
    counts: float = 5e4
    excess_sigma: float = 0.0
    amplitude_spread: float = 0.0
    reflections: int = 1


@dataclass(frozen=True)
class Simulated:
    """An experiment and the truth behind it.

    Attributes:
        experiment: what was measured.
        t1_s: T1 of the cell [s].
        phi_initial: its opacity at the first row.
        optics: amplitude and opacity ratio of this reflection.
        truth: neutron polarization without noise, shape ``time``.
    """

    experiment: Experiment
    t1_s: float
    phi_initial: float
    optics: Optics
    truth: Float[np.ndarray, "time"]


def simulate(
    material: Material, installations: int, rng: np.random.Generator, args: SimulationArgs | None = None
) -> list[Experiment]:
    """Give the experiments of a campaign of this many installed cells, in the order of time."""
    return [s.experiment for s in simulate_with_truth(material, installations, rng, args)]


def simulate_with_truth(
    material: Material, installations: int, rng: np.random.Generator, args: SimulationArgs | None = None
) -> list[Simulated]:
    """Give the experiments of a campaign with the truth behind each."""
    args = args or SimulationArgs()
    simulated: list[Simulated] = []
    start = BEGINNING
    for _ in range(installations):
        together = list(_installation(material, start, rng, args))
        simulated += together
        last = max(s.experiment.start + timedelta(seconds=float(s.experiment.time_s[-1])) for s in together)
        longest_delay = timedelta(seconds=SETUPS[material].lab_delay_s[1])
        start = last + longest_delay + timedelta(seconds=round(rng.uniform(*INSTALLATION_GAP_S)))
    return simulated


def _installation(
    material: Material, start: datetime, rng: np.random.Generator, args: SimulationArgs
) -> Iterator[Simulated]:
    setup = SETUPS[material]
    cell_id = str(rng.choice(list(setup.median_t1_h)))
    t1_s = setup.median_t1_h[cell_id] * HOUR_S * float(rng.lognormal(0.0, args.t1_spread))
    delay_s = 60.0 * round(float(np.exp(rng.uniform(*np.log(setup.lab_delay_s)))) / 60)
    polarizer = Cell(
        cell_id,
        float(rng.choice(setup.pressures_bar)),
        round(float(rng.uniform(*setup.lab_polarization)), 2),
        (start - timedelta(seconds=delay_s)).replace(second=0),
    )
    per_he3 = OPACITY_PER_BAR_CM_ANG * polarizer.pressure_bar * setup.length_wavelength_cm_ang
    phi = per_he3 * polarizer.lab_polarization * float(np.exp(-delay_s / t1_s))
    analyser = _analyser(setup, polarizer, rng)
    clock_s = _row_times(rng, args)
    for number in range(args.reflections):
        optics = replace(setup.optics, amplitude=min(1.0, rng.normal(setup.optics.amplitude, args.amplitude_spread)))
        yield _run(
            material, (polarizer, analyser), start, clock_s + 120.0 * number, phi, t1_s, optics, number, rng, args
        )


def _row_times(rng: np.random.Generator, args: SimulationArgs) -> Float[np.ndarray, "time"]:
    """Irregular whole seconds from 0 on, at least a minute times the number of reflections apart."""
    count = int(rng.integers(args.points[0], args.points[1] + 1))
    gaps = rng.exponential(1.0, count - 1)
    duration_s = args.duration_h * HOUR_S * float(rng.lognormal(0.0, 0.3))
    least_s = 180.0 * args.reflections
    return np.round(np.concatenate([[0.0], np.cumsum(gaps / gaps.sum() * duration_s + least_s)]))


def _run(
    material: Material,
    cells: tuple[Cell, Cell | None],
    installed: datetime,
    clock_s: Float[np.ndarray, "time"],
    phi: float,
    t1_s: float,
    optics: Optics,
    number: int,
    rng: np.random.Generator,
    args: SimulationArgs,
) -> Simulated:
    (polarizer, analyser), setup = cells, SETUPS[material]
    truth = neutron_polarization(phi * np.exp(-clock_s / t1_s), optics)
    scattered = np.clip(rng.normal(truth, args.excess_sigma), -0.999, 0.999)
    polarization, sigma = count(scattered, args.counts * float(rng.lognormal(0.0, np.log(2.0))), rng)
    start = installed + timedelta(seconds=float(clock_s[0]))
    reflection = (setup.reflection[0], setup.reflection[1], setup.reflection[2] + 2.0 * number)
    experiment = Experiment(
        name=f"simulated {polarizer.cell_id} {start:%Y-%m-%d %H:%M} {reflection}",
        material=material,
        polarizer=polarizer,
        analyser=analyser,
        reflection=reflection,
        start=start,
        time_s=clock_s - clock_s[0],
        polarization=polarization,
        sigma=sigma,
    )
    return Simulated(experiment, t1_s, float(phi * np.exp(-clock_s[0] / t1_s)), optics, truth)


def _analyser(setup: SetUp, polarizer: Cell, rng: np.random.Generator) -> Cell | None:
    if not setup.analysers:
        return None
    return Cell(str(rng.choice(setup.analysers)), setup.analyser_pressure_bar, 0.75, polarizer.lab_time)


def count(
    polarization: Float[np.ndarray, "time"], counts: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "time"], Float[np.ndarray, "time"]]:
    """Count neutrons in both spin states, Poisson-distributed, and give P = (n+ - n-)/(n+ + n-) with its error."""
    total = np.clip(counts * rng.lognormal(0.0, 0.3, polarization.shape), LEAST_COUNTS, MOST_COUNTS)
    up = rng.poisson(total * (1 + polarization) / 2)
    down = np.maximum(rng.poisson(total * (1 - polarization) / 2), 1)
    measured = (up - down) / (up + down)
    return measured, counting_sigma(measured, up + down)


def fli_text(experiments: Sequence[Experiment]) -> str:
    """Write experiments, one for each installed cell and in the order of time, as D3's `.fli` text.

    Four decimals, as the instrument does: reading it back rounds P and sigma to 5e-5.
    """
    lines = [line for number, e in enumerate(experiments) for line in _fli_lines(e, 1000 * (number + 1))]
    return "\n".join(lines) + "\n"


def _fli_lines(experiment: Experiment, first: int) -> Iterator[str]:
    yield _header("polariser", experiment.polarizer)
    if experiment.analyser is not None:
        yield _header("analyser", experiment.analyser)
    directions = "  +z +z" if experiment.analyser is None else ""
    ratio, ratio_sigma = flipping_ratio(experiment.polarization, experiment.sigma)
    columns = zip(experiment.polarization, experiment.sigma, ratio, ratio_sigma, strict=True)
    h, k, m = experiment.reflection
    for row, (time_s, values) in enumerate(zip(experiment.time_s, columns, strict=True)):
        moment = experiment.start + timedelta(seconds=float(time_s))
        place = f"{first + row:8d}{h:8.3f}{k:8.3f}{m:8.3f} {moment:%d/%m/%y %H:%M:%S}{10.0:11.2f}{directions}"
        yield f"{place}{''.join(f'{value:10.4f}' for value in values)}{60.0:11.2f}"


def _header(role: str, cell: Cell) -> str:
    return (
        f"{role} cell info {cell.cell_id} pressure/init. polar {cell.pressure_bar:.2f} {cell.lab_polarization:.2f} "
        f"initial date/time {cell.lab_time:%d %m %y} @ {cell.lab_time:%H:%M}"
    )
