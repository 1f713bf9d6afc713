"""How metrics, values and curves are shown."""

import numpy as np
import pytest

from facelab.compare.figures import envelope, is_logarithmic
from facelab.compare.shown import shown_value
from facelab.metrics.declaration import find_metric
from tests.compare.store import DECLARED


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("val/f1", False),
        ("val/loss", True),
        ("verification/eer", True),
        ("generation/kid_face", True),
        ("reconstruction/rmse_over_pca", True),
        ("verification/tar_at_far_1e-2", False),
        ("generation/recall", False),
        ("generation/copy_share", True),
        ("best/verification/eer", True),
        ("test/f1_low", False),
    ],
)
def test_the_declaration_says_which_end_is_better(metric: str, lower: bool) -> None:
    found = find_metric(metric, DECLARED)
    assert found is not None
    assert found.higher_is_better != lower


def test_values_are_shown_with_three_digits() -> None:
    assert shown_value(DECLARED["verification/eer"], 0.0123) == "1.2%"
    assert shown_value(DECLARED["generation/kid_face"], 0.012345) == "0.0123"
    assert shown_value(DECLARED["reconstruction/psnr"], 23.456) == "23.5"
    assert shown_value(DECLARED["loss"], 0.0) == "0.000"


def test_curves_are_averaged_where_they_are() -> None:
    steps, mean, low, high = envelope([[(0, 0.0), (10, 1.0)], [(5, 1.0), (15, 1.0)]])
    assert list(steps) == [0, 5, 10, 15]
    assert list(mean) == [0.0, 0.75, 1.0, 1.0]
    assert list(low) == [0.0, 0.5, 1.0, 1.0]
    assert list(high) == [0.0, 1.0, 1.0, 1.0]


def test_a_logarithmic_axis_is_for_what_was_drawn_so() -> None:
    rng = np.random.default_rng(0)
    assert is_logarithmic(list(10 ** rng.uniform(-4, -2, size=200)))
    assert not is_logarithmic(list(rng.uniform(0.001, 1, size=200)))
    assert not is_logarithmic([16.0, 32.0, 64.0, 128.0])
    assert not is_logarithmic([0.0, 1.0])
