"""Orders in which training images are drawn: each a pure function of the seed and the number of the batch."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Draw = tuple[int, int]  # (epoch, index)


class Order(ABC):
    """An endless sequence of training batches that can be entered at any batch.

    No pair (epoch, index) comes twice, so that every draw of an image has an augmentation of its own.

    Args:
        indices: (N,) of the training images.
        batch_size: images per step, over all processes together.
        seed: of the run.
    """

    def __init__(self, indices: Indices, batch_size: int, seed: int) -> None:
        self.indices, self.batch_size, self.seed = indices, batch_size, seed

    @abstractmethod
    def batch(self, number: int) -> list[Draw]:
        """The `batch_size` draws of a batch, counted from 0; processes share them in strides."""


class ByImage(Order):
    """Every image equally often: position p of the run is image `permutation(seed, p // N)[p % N]`.

    A batch may be larger than the set. Arguments as for `Order`.
    """

    def __init__(self, indices: Indices, batch_size: int, seed: int) -> None:
        super().__init__(indices, batch_size, seed)
        self._epoch, self._permuted = -1, indices

    def batch(self, number: int) -> list[Draw]:
        """The images at positions `number * batch_size` and following, with their epochs."""
        return self.draws(number * self.batch_size, (number + 1) * self.batch_size)

    def draws(self, begin: int, end: int) -> list[Draw]:
        """The images at positions from `begin` to before `end`, with their epochs."""
        draws = []
        for position in range(begin, end):
            epoch, place = divmod(position, len(self.indices))
            if epoch != self._epoch:
                self._epoch, self._permuted = epoch, _permutation(self.indices, [self.seed, epoch])
            draws.append((epoch, int(self._permuted[place])))
        return draws


class WithShare(Order):
    """Two kinds of images, of which the second has a given share of the draws; within a kind as `ByImage`.

    Args:
        first: indices (N,) of the first kind.
        second: indices (M,) of the second kind.
        share: of the second kind, in (0, 1).
        batch_size: images per step, over all processes together.
        seed: of the run.
    """

    def __init__(self, first: Indices, second: Indices, share: float, batch_size: int, seed: int) -> None:
        super().__init__(np.concatenate([first, second]), batch_size, seed)
        self._first, self._second = ByImage(first, batch_size, seed), ByImage(second, batch_size, seed)
        self._share = share

    def batch(self, number: int) -> list[Draw]:
        """Images of the first kind, then of the second; their number differs from the share by less than one."""
        begin, end = number * self.batch_size, (number + 1) * self.batch_size
        before, after = int(begin * self._share), int(end * self._share)
        return self._first.draws(begin - before, end - after) + self._second.draws(before, after)


class _ByClass(Order):
    """Base of the orders that draw classes first, then images of them.

    Args:
        indices: (N,) of the training images.
        labels: (N,) their labels.
        batch_size: images per step, over all processes together.
        seed: of the run.
    """

    def __init__(self, indices: Indices, labels: Indices, batch_size: int, seed: int) -> None:
        super().__init__(indices, batch_size, seed)
        by_label = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[by_label], return_index=True)
        self._members = np.split(indices[by_label], starts[1:])
        self._classes = np.arange(len(self._members))
        self._round, self._permuted = -1, self._classes
        self._shuffled: dict[int, tuple[int, Indices]] = {}  # the latest epoch of each class

    def _classes_of(self, round_: int) -> Indices:
        """All classes in the order of a round."""
        if round_ != self._round:
            self._round, self._permuted = round_, _permutation(self._classes, [self.seed, round_])
        return self._permuted

    def _images_of(self, label: int, visit: int, count: int) -> list[Draw]:
        """Images of a class on one of its visits: all different, unless it has fewer than `count`.

        An epoch of the class is a permutation that is cut into groups of `count`; a rest too small for a group is left
        out until the next epoch.
        """
        members = self._members[label]
        epoch, group = divmod(visit, max(1, len(members) // count))
        if self._shuffled.get(label, (-1,))[0] != epoch:
            # The shift by 1 keeps the stream apart from that of the classes, since NumPy pads seeds with zeros.
            self._shuffled[label] = epoch, _permutation(members, [self.seed, epoch, label + 1])
        permuted, repeats = self._shuffled[label][1], -(-count // len(members))
        places = (divmod(group * count + place, len(members)) for place in range(count))
        return [(epoch * repeats + again, int(permuted[place])) for again, place in places]


class Balanced(_ByClass):
    """Every class equally often: classes come in rounds, each once a round; each class shows its images in turn.

    Arguments as for `_ByClass`.
    """

    def batch(self, number: int) -> list[Draw]:
        """One image each of the classes at positions `number * batch_size` and following."""
        draws = []
        for position in range(number * self.batch_size, (number + 1) * self.batch_size):
            round_, place = divmod(position, len(self._classes))
            draws += self._images_of(int(self._classes_of(round_)[place]), round_, 1)
        return draws


class PK(_ByClass):
    """P classes with K images each in every batch, as losses over pairs need them.

    Hermans, Beyer and Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, section 2. Classes
    come in rounds, each at most once a round; those left over when a round has no full batch any more wait for the next
    one. A class with fewer than K images repeats them, each time augmented anew. If P is a multiple of the number of
    processes, each process gets whole classes.

    Args:
        indices: (N,) of the training images.
        labels: (N,) their labels.
        batch_size: P * K.
        seed: of the run.
        images_per_class: K.

    Raises:
        ValueError: K is below 2, or P is not a whole number from 2 to the number of classes.
    """

    def __init__(self, indices: Indices, labels: Indices, batch_size: int, seed: int, images_per_class: int) -> None:
        super().__init__(indices, labels, batch_size, seed)
        self.images_per_class, self.classes_per_batch = images_per_class, batch_size // images_per_class
        if images_per_class < 2 or batch_size % images_per_class or self.classes_per_batch < 2:
            raise ValueError(
                f"sampling=pk fills a batch with P classes of images_per_class=K images: batch_size={batch_size} must "
                f"be a multiple of K, with K and P at least 2, got K={images_per_class}"
            )
        if self.classes_per_batch > len(self._classes):
            raise ValueError(
                f"batch_size={batch_size} with images_per_class={images_per_class} takes {self.classes_per_batch} "
                f"classes a batch, and the training set has {len(self._classes)}; lower batch_size to at most "
                f"{len(self._classes) * images_per_class}, or raise images_per_class"
            )

    def batch(self, number: int) -> list[Draw]:
        """The first image of each of the P classes, then the second of each, and so on."""
        round_, place = divmod(number, len(self._classes) // self.classes_per_batch)
        classes = self._classes_of(round_)[place * self.classes_per_batch :][: self.classes_per_batch]
        draws = [self._images_of(int(label), round_, self.images_per_class) for label in classes]
        return [draw for nth in zip(*draws, strict=True) for draw in nth]


def _permutation(values: Indices, seed: list[int]) -> Indices:
    return np.random.default_rng(seed).permutation(values)
