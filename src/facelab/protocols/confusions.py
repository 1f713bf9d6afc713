"""Which classes are taken for which others, with pictures."""

import numpy as np
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.protocols.plots import Plot, face_grid

_SHOWN = 16
_COLUMNS, _INCHES = 4, 2.2


def most_confused(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Pairs of a true and a wrong label with their number of images, the most frequent first, then by label.

    Args:
        labels: (W,) true labels of the wrongly classified images.
        predicted: (W,) the labels they were given.
    """
    pairs, counts = np.unique(np.stack([labels, predicted], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order]


def confused_pairs(
    faces: FaceSet, train: NDArray[np.int64], wrong: NDArray[np.int64], predicted: NDArray[np.int64]
) -> Plot:
    """The classes that are confused most: a wrongly classified image beside a training image of the class it was given.

    Args:
        faces: the face set.
        train: numbers of the training images.
        wrong: (W,) numbers of the wrongly classified images, W at least 1.
        predicted: (W,) the labels they were given.
    """
    labels = faces.labels[wrong]
    found = most_confused(labels, predicted)
    images, captions = [], []
    for label, given, count in found[:_SHOWN]:
        taken = wrong[(labels == label) & (predicted == given)][0]
        like = train[faces.labels[train] == given][:1]
        pair = [faces.pixels[int(index)] for index in (taken, *like)]
        pair += [np.full_like(pair[0], 255)] * (2 - len(pair))
        images.append(np.concatenate(pair, axis=1))
        times = f"errors: {count} of {int((labels == label).sum())}"
        captions.append(f"{faces.label_names[label]}\ntaken for {faces.label_names[given]}\n{times}")
    shown = f", {len(images)} of {len(found):,}" if len(found) > len(images) else ""
    title = f"most confused{shown}: a test image, and a training image of the class it was taken for"
    return face_grid(images, captions, columns=_COLUMNS, title=title, inches=_INCHES)
