import numpy as np
import pytest
from scipy import constants, integrate

from training.aggregates import experiment, spheres
from training.aggregates.experiment import Experiment, photons_per_sphere, simulation


def test_constants_are_those_of_codata() -> None:
    radius_m, _, _ = constants.physical_constants["classical electron radius"]
    assert pytest.approx(radius_m * 1e9, rel=1e-8) == experiment.CLASSICAL_ELECTRON_RADIUS_NM
    hc_ev_m = constants.h * constants.c / constants.e
    assert pytest.approx(hc_ev_m * 1e6, rel=1e-12) == experiment.HC_KEV_NM
    assert constants.N_A == experiment.AVOGADRO_PER_MOL


def test_polystyrene_has_the_electrons_of_its_density() -> None:
    assert pytest.approx(340, rel=0.005) == experiment.POLYSTYRENE_ELECTRONS_PER_NM3


def test_photons_of_one_sphere_are_the_integral_over_its_form_factor() -> None:
    """F r_e^2 rho^2 V^2 lambda^2 times the integral of f(2 pi s R)^2 2 pi s ds."""
    radius_nm, wavelength_nm, fluence = 50.0, 1.24, 1e10
    inner, _ = integrate.quad(lambda x: spheres.form_factor(np.array(x)) ** 2 * x, 0, 60, limit=400)
    solid_angle = wavelength_nm**2 * inner / (2 * np.pi * radius_nm**2)
    contrast = experiment.CLASSICAL_ELECTRON_RADIUS_NM * experiment.POLYSTYRENE_ELECTRONS_PER_NM3
    forward = contrast**2 * (4 / 3 * np.pi * radius_nm**3) ** 2
    photons = photons_per_sphere(fluence_per_um2=fluence, diameter_nm=100.0, wavelength_nm=wavelength_nm)
    assert photons == pytest.approx(fluence * 1e-6 * forward * solid_angle, rel=1e-3)


def test_an_object_pixel_fills_the_pattern_with_its_own_resolution() -> None:
    """128 detector pixels span one cycle per object pixel."""
    setup = Experiment()
    angle = 128 * setup.pixel_mm / setup.distance_mm
    assert angle / setup.wavelength_nm == pytest.approx(1 / setup.object_pixel_nm)
    assert setup.object_pixel_nm == pytest.approx(9.686, abs=0.001)


def test_an_experiment_becomes_a_simulation_of_spheres() -> None:
    setting = simulation(Experiment(energy_kev=1.5))
    assert setting.particle == "sphere"
    assert setting.growth.least_distance == 2.0
    assert setting.detector.full_well_photons == pytest.approx(1000 * 16)
    assert setting.photons[1] / setting.photons[0] == pytest.approx(25)
