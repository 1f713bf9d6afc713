"""The rule of 30, and names of rates."""

from facelab.protocols.operating_points import rate_text, supported


def test_thirty_errors_must_be_expected() -> None:
    targets = [1e-1, 1e-2, 1e-3, 1e-4]
    assert supported(targets, 3000) == [1e-1, 1e-2]
    assert supported(targets, 2999) == [1e-1]
    assert supported(targets, 30_000) == [1e-1, 1e-2, 1e-3]
    assert supported(targets, 0) == []


def test_rates_are_written_as_powers() -> None:
    assert [rate_text(rate) for rate in (0.1, 0.01, 1e-6, 0.025)] == ["1e-1", "1e-2", "1e-6", "2.5e-2"]
