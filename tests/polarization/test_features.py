"""Facts of the static features."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import numpy as np
import pytest

from app.errors import InvalidInput, ModelRefused
from app.polarization.experiment import Calibration, Cell, Query
from app.polarization.features import feature_names, one_hot_columns, static_features

FILLED = datetime.fromisoformat("2024-05-31T11:30")
POLARIZER = Cell("ge18004", 2.3, 0.79, FILLED)
ANALYSER = Cell("sic1402", 2.0, 0.75, FILLED)
CELLS = ("ge18012", "ge18004", "ge18006")


def _query(analyser: Cell | None = None) -> Query:
    return Query(
        material="amorphous" if analyser else "crystalline",
        polarizer=POLARIZER,
        analyser=analyser,
        lab_time_s=-600.0,
        initial=Calibration(0.0, 0.87, 0.001),
        final=Calibration(80_000.0, 0.71, 0.002),
        time_s=np.array([100.0]),
    )


def test_the_crystalline_vector_has_the_ten_features_of_the_source_in_its_order() -> None:
    names = feature_names("crystalline", CELLS)
    assert names[3:6] == ("cell=ge18004", "cell=ge18006", "cell=ge18012")
    assert static_features(_query(), names).values.tolist() == [2.3, 0.79, -600, 1, 0, 0, 0, 0.87, 80_000, 0.71]


def test_the_amorphous_vector_has_the_thirteen_features_of_the_source_in_its_order() -> None:
    names = feature_names("amorphous", CELLS, ("sic1402", "sic1403"))
    values = static_features(_query(ANALYSER), names).values.tolist()
    assert values == [2.3, 2.0, 0.79, -600, 1, 0, 0, 1, 0, 0, 0.87, 80_000, 0.71]


def test_the_order_is_that_of_the_names() -> None:
    names = feature_names("crystalline", CELLS)
    forward, backward = static_features(_query(), names), static_features(_query(), names[::-1])
    assert backward.values.tolist() == forward.values[::-1].tolist()


def test_an_unknown_cell_has_no_one_hot_column_and_is_named() -> None:
    query = _query()._replace(polarizer=dataclasses.replace(POLARIZER, cell_id="ge99999"))
    names = feature_names("crystalline", CELLS)
    features = static_features(query, names)
    assert features.values[list(one_hot_columns(names))].tolist() == [0, 0, 0]
    assert features.unknown_cells == ("ge99999",)


def test_a_list_without_cells_knows_no_unknown_cell() -> None:
    assert static_features(_query(), ("pressure_bar",)).unknown_cells == ()


def test_an_analyser_feature_without_an_analyser_is_refused() -> None:
    with pytest.raises(InvalidInput, match="analyser"):
        static_features(_query(), ("analyser_pressure_bar",))


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(ModelRefused, match="pressure_psi"):
        static_features(_query(), ("pressure_psi",))
