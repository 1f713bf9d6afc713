"""The declaration of metrics."""

import pytest

from facelab.metrics.declaration import Metric, find_metric, from_text, to_text, validation_name

DECLARED = {
    metric.name: metric
    for metric in (
        Metric("test/f1", "F1", True, "share", headline=True),
        Metric("verification/eer", "EER", False, "share"),
        Metric("loss", "loss", False),
        Metric("depth_low", "a metric that ends like an interval", True),
    )
}


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("test/f1", "test/f1"),
        ("val/f1", "test/f1"),
        ("best/f1", "test/f1"),
        ("test/f1_low", "test/f1"),
        ("val/verification/eer", "verification/eer"),
        ("train/loss", "loss"),
        ("depth_low", "depth_low"),
        ("verification/auc", None),
        ("fit/loss", None),
    ],
)
def test_a_recorded_name_finds_its_declaration(name: str, declared: str | None) -> None:
    assert find_metric(name, DECLARED) is (None if declared is None else DECLARED[declared])


def test_a_validation_name_is_found_again() -> None:
    assert validation_name("test/f1") == "val/f1"
    assert validation_name("verification/eer") == "val/verification/eer"
    assert all(find_metric(validation_name(name), DECLARED) is metric for name, metric in DECLARED.items())


def test_a_declaration_survives_its_text_but_for_the_title() -> None:
    again = from_text(to_text(DECLARED.values()))
    assert {name: (m.unit, m.higher_is_better, m.headline) for name, m in again.items()} == {
        name: (m.unit, m.higher_is_better, m.headline) for name, m in DECLARED.items()
    }
    assert from_text("not json") == from_text("[1]") == from_text('{"a": 1}') == {}
