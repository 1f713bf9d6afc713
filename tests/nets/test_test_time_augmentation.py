"""Views of a picture."""

import torch

from facelab.nets.test_time_augmentation import AffineTestTimeAugmentation


def test_there_are_nine_views_and_their_mirror_images() -> None:
    images = torch.rand(2, 1, 25, 25)
    views = list(AffineTestTimeAugmentation()(images))
    assert len(views) == 18
    assert torch.equal(views[0], images)
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        assert view.shape == images.shape
        assert torch.equal(view.flip(3), mirrored)
    assert len({view.numpy().tobytes() for view in views}) == 18


def test_views_move_by_what_they_say() -> None:
    images = torch.zeros(1, 1, 51, 51)
    images[0, 0, 25, 25] = 1.0
    shifted = list(AffineTestTimeAugmentation(shift=0.1, zoom=0.5, turn_deg=90.0)(images))[2:10:2]
    found = sorted((view[0, 0] == view.max()).nonzero()[0].tolist() for view in shifted)
    assert found == [[20, 25], [25, 20], [25, 30], [30, 25]]  # a tenth of the side; a picture spans 50 pixel distances
    images[0, 0, 25, 25], images[0, 0, 25, 35] = 0.0, 1.0
    views = list(AffineTestTimeAugmentation(shift=0.1, zoom=0.5, turn_deg=90.0)(images))
    places = [(view[0, 0] == view.max()).nonzero()[0].tolist() for view in views[10::2]]
    assert places[0] == [25, 45]  # half the field: twice as far from the middle
    assert sorted(places[2:]) == [[15, 25], [35, 25]]  # a quarter turn either way
