"""Patterns made of pseudo-Voigt lines at known places."""

from __future__ import annotations

import numpy as np

LAB6_A_ANG = 4.15689
WAVELENGTH_ANG = 1.5406
N = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14])


def lab6_two_theta() -> np.ndarray:
    """Lines of a primitive cube."""
    return np.degrees(2 * np.arcsin(WAVELENGTH_ANG * N**0.5 / 2 / LAB6_A_ANG))


def lab6_xy(header: str = "") -> bytes:
    """A two-column file with counting noise."""
    x = np.arange(15.0, 95.0, 0.02)
    lines = lab6_two_theta()
    height = 3000.0 / np.sqrt(np.arange(1, len(lines) + 1))
    y = 50.0 + np.sum(height * np.exp(-4 * np.log(2) * ((x[:, None] - lines) / 0.12) ** 2), axis=1)
    counts = np.random.default_rng(1).poisson(y)
    rows = "\n".join(f"{a:.3f} {b}" for a, b in zip(x, counts, strict=True))
    return f"{header}{rows}\n".encode()


def lab6_list(header: str = "") -> bytes:
    """A list of lines with intensities."""
    return (header + "\n".join(f"{position:.4f} {100 - i}" for i, position in enumerate(lab6_two_theta()))).encode()
