"""Approximate search of a large gallery: inverted lists of faiss, which exist in memory only.

Every enrolled person is in the list of the nearest of about sqrt(N) centroids, and a face is compared with the people
of the lists whose centroids are nearest to it (Douze et al., "The Faiss library", 2024). The lists hold the embeddings
with a byte for each number; the nearest people by these are then compared by their embeddings in the gallery.

No index is ever written: faiss reads its files without guarding against damaged ones, and a stored index would keep the
embeddings of people who are removed from the gallery.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.errors import ConfigError
from facelab.galleries.search import Nearest, nearest, unit

LEAST_PEOPLE = 100_000  # fewer are searched exactly in no time
FIRST = 1000  # faces that are searched exactly before an index is made, and set how many of its lists are searched
FOUND = 0.99  # share of these whose nearest person the index must find
MOST_LISTS = 1 / 16  # share of the lists; to search more takes about as long as the exact search
COMPARED = 100  # later faces that are searched exactly too
_PER_LIST = 64  # people that a centroid is trained on
_ITERATIONS = 10
_ADDED = 2**14  # people at a time
_CANDIDATES = 32  # people a face whose embeddings are compared, at least
_SAME = 1e-5  # cosines that differ by less are those of the same person, or of a twin
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


def refuse_missing() -> None:
    """Check that faiss is installed.

    Raises:
        ConfigError: it is not; says how to install it.
    """
    if importlib.util.find_spec("faiss") is None:
        raise ConfigError(
            "index=faiss needs the package faiss-cpu, which is not installed. Type: pip install 'facelab[faiss]' (or: "
            "pip install faiss-cpu), or choose index=exact."
        )


class Index:
    """Inverted lists of a gallery's embeddings; the same gallery gives the same lists.

    Args:
        gallery: (N, D) float32, each of length 1; at least one. The index takes less than half of their memory.
        advance: called after each person that is in the index.

    Attributes:
        lists: number of lists.
        searched: number of lists that are searched for each face; at first all.
    """

    def __init__(self, gallery: Tensor, advance: Callable[[], None] = lambda: None) -> None:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        self._gallery, rows = gallery, gallery.numpy()
        self.lists = self.searched = max(1, round(math.sqrt(len(rows))))
        self._centroids = faiss.IndexFlatIP(rows.shape[1])
        byte, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        self._faiss = faiss.IndexIVFScalarQuantizer(self._centroids, rows.shape[1], self.lists, byte, metric)
        how = self._faiss.cp
        how.niter, how.spherical, how.seed = _ITERATIONS, True, 0
        how.min_points_per_centroid, how.max_points_per_centroid = 1, _PER_LIST
        self._faiss.train(rows)
        for start in range(0, len(rows), _ADDED):
            some = rows[start : start + _ADDED]
            self._faiss.add(some)
            for _ in some:
                advance()

    def nearest(self, probes: Tensor, k: int) -> Nearest:
        """Find the rows with the highest cosines to each probe among those of the searched lists.

        Args:
            probes: (P, D) float32, of any length.
            k: rows for each probe, at least 1; all N if there are fewer.
        """
        self._faiss.nprobe, people = self.searched, len(self._gallery)
        k, faces = min(k, people), unit(probes)
        candidates = torch.from_numpy(self._faiss.search(faces.numpy(), min(max(k, _CANDIDATES), people))[1])
        scores = torch.einsum("pd,pcd->pc", faces, self._gallery[candidates])
        scores[candidates < 0] = -2.0  # the searched lists hold fewer
        scores, best = scores.topk(k, dim=1)
        places = candidates.gather(1, best)
        short = (places < 0).any(dim=1)
        if short.any():
            exact = nearest(self._gallery, probes[short], k)
            places[short], scores[short] = exact.people, exact.scores
        return Nearest(places, scores.clamp_(-1, 1))

    def tune(self, probes: Tensor, best: Tensor) -> None:
        """Search only as many lists as find the nearest person of nearly all of some faces; all, if that is too few.

        Args:
            probes: (P, D) float32.
            best: (P,) float32, the highest cosine of each with anybody in the gallery.
        """
        self.searched = 1
        while self.searched <= MOST_LISTS * self.lists:
            if count_best(self.nearest(probes, 1).scores[:, 0], best) >= FOUND * len(probes):
                return
            self.searched *= 2
        self.searched = self.lists


class IndexedSearch:
    """The search of a gallery for the faces of many photos, exact at first and then by an index.

    The first faces are searched exactly, and set how many lists are searched. If these are too many, or there are no
    further faces, everything stays exact. Of the faces that the index is used for, a sample is searched exactly too.

    Args:
        gallery: (N, D) float32, each of length 1.
        progress: called with what is done and the number of people; gives what to call after each.
    """

    def __init__(self, gallery: Tensor, progress: Progress) -> None:
        self._gallery, self._progress = gallery, progress
        self._index: Index | None = None
        self._draws, self._keys = np.random.default_rng(0), np.empty(0)
        self._faces, self._scores = gallery[:0], gallery[:0, 0]

    def search(self, embeddings: NDArray[np.float32], k: int) -> Nearest:
        """As `Gallery.search`."""
        faces = torch.from_numpy(embeddings)
        if self._index is None and len(self._faces) >= FIRST:
            with self._progress("people in the index", len(self._gallery)) as advance:
                self._index = Index(self._gallery, advance)
            self._index.tune(self._faces, self._scores)
            self._faces, self._scores = self._faces[:0], self._scores[:0]
        if self._index is None or self._index.searched == self._index.lists:
            found = nearest(self._gallery, faces, k)
            if self._index is None:
                self._keep(faces, found)
            return found
        found = self._index.nearest(faces, k)
        self._keep(faces, found)
        keys = np.concatenate([self._keys, self._draws.random(len(faces))])
        kept = np.argsort(keys)[:COMPARED]  # those with the smallest of all random keys are a uniform sample
        self._keys, self._faces, self._scores = keys[kept], self._faces[kept], self._scores[kept]
        return found

    def _keep(self, faces: Tensor, found: Nearest) -> None:
        self._faces = torch.cat([self._faces, faces])
        self._scores = torch.cat([self._scores, found.scores[:, 0]])

    def in_words(self) -> str:
        """How the faces were searched, in sentences; searches the sample exactly too."""
        if self._index is None:
            return f"All faces were searched exactly: an index is made after {FIRST:,} faces."
        if self._index.searched == self._index.lists:
            return (
                f"All faces were searched exactly: to find the nearest person of {FOUND:.0%} of the first faces, an "
                "index has to search more than a sixteenth of its lists, which takes about as long."
            )
        found = count_best(self._scores, nearest(self._gallery, self._faces, 1).scores[:, 0])
        return (
            f"The index searched {self._index.searched:,} of {self._index.lists:,} lists. It found the nearest person "
            f"of {found:,} of {len(self._faces):,} faces that were searched exactly too; index=exact finds all. "
            "People it misses lower the FPIR and raise the FNIR."
        )


def count_best(scores: Tensor, best: Tensor) -> int:
    """How many of the scores (P,) that were found are the highest there are (P,)."""
    return int((scores >= best - _SAME).sum())
