"""Named simulations: those to train on, and shifts that a model must survive or refuse."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from training.aggregates.detector import Detector
from training.aggregates.experiment import Experiment, simulation
from training.aggregates.place import Growth
from training.aggregates.simulate import Simulation

TANGENT: Final = Growth(least_distance=2.0)
"""Hard particles: they touch in one point and never overlap."""

REFERENCE: Final = Simulation()
"""Discs of 5 px that may overlap, unknown fluence, a beam stop of 3 px."""
SPHERES: Final = Simulation(particle="sphere", growth=TANGENT)
"""Hard spheres of 5 px in space."""

TRAINING: Final = MappingProxyType(
    {
        "reference-r5": REFERENCE,
        "reference-r3-7": replace(REFERENCE, radius_px=(3.0, 7.0)),
        "spheres-r5": SPHERES,
        "spheres": replace(SPHERES, radius_px=(3.0, 7.0)),
    }
)
"""What models are trained on."""

SHIFTS: Final = MappingProxyType(
    {
        "r4.5": replace(REFERENCE, radius_px=(4.5, 4.5)),
        "r6": replace(REFERENCE, radius_px=(6.0, 6.0)),
        "beam-stop-8": replace(REFERENCE, detector=Detector(beam_stop_px=(8.0, 8.0))),
        "projected-spheres": SPHERES,
        "pairwise": replace(REFERENCE, growth=Growth(contact="pairwise")),
        "photons-3e3-3e4": replace(REFERENCE, photons=(3e3, 3e4)),
        "tangent": replace(REFERENCE, growth=TANGENT),
        "gaps": replace(REFERENCE, detector=Detector(gap_rows=((40, 2),), gap_columns=((20, 3), (50, 1)))),
        "bad-pixels": replace(REFERENCE, detector=Detector(bad_fraction=0.02)),
        "size-spread-5": replace(REFERENCE, size_spread=0.05),
        "size-spread-15": replace(REFERENCE, size_spread=0.15),
        "jitter": replace(REFERENCE, detector=Detector(jitter_px=1.0)),
        "background-1": replace(REFERENCE, detector=Detector(background=1.0)),
        "full-well-500": replace(REFERENCE, detector=Detector(full_well_photons=500.0)),
    }
)
"""The reference at r = 5 with one thing changed."""

REALISTIC: Final = MappingProxyType(
    {
        "polystyrene-100nm": simulation(
            Experiment(), Detector(jitter_px=0.3, gap_rows=((30, 1),), beam_stop_px=(3.0, 3.0), bad_fraction=0.002)
        ),
    }
)
"""Spheres in physical units, with what an ordinary detector brings along all at once."""

SIMULATIONS: Final = MappingProxyType({**TRAINING, **SHIFTS, **REALISTIC})
"""Every named simulation."""
