"""Vectorised draws of people for the parts of a split, and checks that no two parts share a person."""

from collections.abc import Sequence

import numpy as np

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.listing import some_of
from facelab.errors import DataError


def deal(labels: Indices, groups: Indices, shares: Sequence[float], random: np.random.Generator) -> Indices:
    """Deal groups to parts, stratified by label and size: each part gets its share of groups of every kind.

    Groups are sorted by their most frequent label, then by their number of images, ties at random. Along this order
    each part takes one group in every stretch that is as long as one over its share, at a random place in it. With
    equal shares this deals out blocks of consecutive groups, one group to each part.

    Args:
        labels: (N,) of the images.
        groups: (N,) of the images, any numbers.
        shares: of the parts, above 0; they sum to 1.
        random: draws ties and places.

    Returns:
        (N,) number of the part of each image. Of G groups, a part gets G times its share, rounded by the largest
        remainder method.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.lexsort((random.permutation(len(sizes)), -sizes, _most_frequent(labels, group)))
    counts = largest_remainder(len(sizes), shares)
    places = [(np.arange(count) + random.random(count)) / share for count, share in zip(counts, shares, strict=True)]
    part = np.empty(len(sizes), dtype=np.int64)
    part[order] = np.repeat(np.arange(len(shares)), counts)[np.argsort(np.concatenate(places), kind="stable")]
    return part[group]


def draw_first(labels: Indices, groups: Indices, count: int, random: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw a number of images of every class from few groups.

    All classes go through the groups in the same random order, and take their images in that order, at random within
    a group, until they have enough.

    Args:
        labels: (N,) of the images.
        groups: (N,) of the images, any numbers.
        count: images to draw of each class; a class that has fewer gives them all.
        random: draws the orders.

    Returns:
        Sorted indices of the drawn images, and of the images of all other groups.
    """
    _, group = np.unique(groups, return_inverse=True)
    rank = random.permutation(int(group.max()) + 1)
    order = np.lexsort((random.permutation(len(labels)), rank[group], labels))
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    drawn = order[np.arange(len(order)) - np.repeat(starts, sizes) < count]
    used = np.zeros(len(rank), dtype=np.bool_)
    used[group[drawn]] = True
    return np.sort(drawn), np.flatnonzero(~used[group])


def groups_per_class(labels: Indices, groups: Indices, num_classes: int) -> Indices:
    """Number of distinct groups (num_classes,) among the images of each class; labels and groups (N,)."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    return np.bincount(np.unique(labels * count + group) // count, minlength=num_classes)


def largest_remainder(total: int, shares: Sequence[float]) -> list[int]:
    """Integers that sum to `total`, as close to the shares as possible; of equal remainders, the first is rounded up.

    Args:
        total: the sum.
        shares: at least 0; they sum to 1.
    """
    exact = [total * share for share in shares]
    counts = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts)]:
        counts[part] += 1
    return counts


def require_known(faces: FaceSet, column: str, images: Indices, needed_by: str) -> None:
    """Check that images have a value in a column that tells people apart.

    Args:
        faces: the face set.
        column: such as `identity`.
        images: indices of the images.
        needed_by: the setting that needs it, such as `split=group_kfold`.

    Raises:
        DataError: there is no such column, or some of the images have no value in it.
    """
    if column not in faces.columns:
        other = ", or name another column with data.group" if column == faces.group else ""
        raise DataError(
            f"{needed_by} must know who is in each image, but {faces.source} has no column '{column}'. Its columns: "
            f"{', '.join(sorted(faces.columns))}. Add it{other}."
        )
    unknown = images[faces.columns[column].codes[images] < 0]
    if len(unknown):
        raise DataError(
            f"{needed_by} must know who is in each image, but {len(unknown):,} of {len(images):,} images of "
            f"{faces.source} have no value in the column '{column}': "
            f"{some_of([faces.names[index] for index in unknown])}. Add the values, or delete these images."
        )


def refuse_shared(faces: FaceSet, column: str, parts: Sequence[tuple[str, Indices]], rule: str) -> None:
    """Check that no value of a column is in two parts.

    Args:
        faces: the face set.
        column: such as `identity`.
        parts: name and image indices of each part.
        rule: name of the rule's class, for the message.

    Raises:
        DataError: a value is in two parts; names some.
    """
    codes = faces.codes_of(column)
    # One row per value and part: a value with two rows is shared.
    rows = [np.unique(codes[indices]) for _, indices in parts]
    values, counts = np.unique(np.concatenate(rows), return_counts=True)
    shared = values[counts > 1]
    if len(shared):
        name, names = int(shared[0]), faces.columns[column].names if column in faces.columns else ()
        shown = f"'{names[name]}'" if name < len(names) else f"number {name}"
        where = " and ".join(part for part, indices in parts if np.isin(name, codes[indices]))
        raise DataError(
            f"{rule} must not put a value of '{column}' into two parts, but {len(shared):,} are in several, such as "
            f"{shown} in {where}. Correct its method `divide`."
        )


def _most_frequent(labels: Indices, group: Indices) -> Indices:
    """Most frequent label (G,) of each group; of equally frequent ones, the smallest.

    Args:
        labels: (N,).
        group: (N,) in [0, G), each at least once.
    """
    count = int(labels.max()) + 1
    pairs, images = np.unique(group * count + labels, return_counts=True)
    order = np.lexsort((pairs % count, -images, pairs // count))
    begins = np.diff(pairs[order] // count, prepend=-1) > 0
    found: Indices = pairs[order][begins] % count
    return found
