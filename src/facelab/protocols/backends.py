"""Backends of verification and identification: from embeddings to scores of pairs, fitted to training people only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, eigh

from facelab.errors import ConfigError

Backend = Literal["cosine", "lda", "plda"]
_BLOCK_ENTRIES = 2**23  # of the vectors on one side of a block of pairs: 32 MiB


@dataclass(frozen=True)
class Compared:
    """Embeddings in a form whose scores are inner products.

    The score of i and j is vectors[i] . vectors[j] + offsets[i] + offsets[j].

    Args:
        vectors: (N, D) float32.
        offsets: (N,) float32; 0 for cosines.
    """

    vectors: NDArray[np.float32]
    offsets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)

    def only(self, rows: NDArray[np.int64]) -> "Compared":
        """The embeddings of some rows (M,)."""
        return Compared(self.vectors[rows], self.offsets[rows])

    def pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (P,) float32 of pairs of rows, (P,) each, higher is more alike; in blocks of bounded memory."""
        scores = np.empty(len(first), np.float32)
        step = max(1, _BLOCK_ENTRIES // max(1, self.vectors.shape[1]))
        for start in range(0, len(first), step):
            block = slice(start, start + step)
            np.einsum("nd,nd->n", self.vectors[first[block]], self.vectors[second[block]], out=scores[block])
        return scores + self.offsets[first] + self.offsets[second]

    def against(self, gallery: "Compared") -> NDArray[np.float32]:
        """Scores (N, M) float32 of all embeddings with all M of a gallery."""
        scores = self.vectors @ gallery.vectors.T
        scores += self.offsets[:, None]
        scores += gallery.offsets
        return scores


Scoring = Callable[[NDArray[np.float32]], Compared]  # embeddings (N, D) -> a form that can be compared


def fit(backend: Backend, embeddings: NDArray[np.float32], identities: NDArray[np.int64]) -> Scoring:
    """Fit a backend to the embeddings of training people.

    `cosine`: the cosine of two embeddings; nothing is fitted.
    `lda`: the cosine after linear discriminant analysis (Fisher, 1936; scikit-learn's, in which the covariance of each
    person is shrunk as of Ledoit and Wolf, 2004, before all are averaged) of embeddings of length 1.
    `plda`: the log-likelihood ratio of one person against two under probabilistic linear discriminant analysis (Ioffe,
    "Probabilistic Linear Discriminant Analysis", 2006; Prince and Elder, 2007, with Gaussian person and noise) of
    embeddings of length 1, which are centred on the training mean.

    Args:
        backend: `cosine`, `lda` or `plda`.
        embeddings: (N, D) of the training images; a zero vector has cosine 0 with all others.
        identities: (N,) of the people on them.

    Raises:
        ConfigError: `lda` or `plda` with fewer than two people of two or more images, or where images of one person
            hardly differ; `lda` where nobody has three images.
    """
    if backend == "cosine":
        return lambda others: _cosine(unit(others))
    check(backend, identities)
    _, person, counts = np.unique(identities, return_inverse=True, return_counts=True)
    several = counts[person] > 1  # only these show how images of one person differ
    directions = unit(embeddings)[several].astype(np.float64)
    numbered = np.unique(person[several], return_inverse=True)[1]
    return _lda(directions, numbered) if backend == "lda" else _plda(directions, numbered)


def check(backend: Backend, identities: NDArray[np.int64]) -> None:
    """Check that a backend can be fitted to training images of these people (N,).

    Raises:
        ConfigError: `lda` or `plda` with fewer than two people of two or more images, or `lda` where nobody has three.
    """
    counts = np.unique(identities, return_counts=True)[1]
    several = int((counts > 1).sum())
    if backend == "lda" and several > 1 and counts.max() < 3:  # two images show no correlations to shrink by
        raise ConfigError(
            "backend=lda is fitted to training people of whom one at least has three images; here all have at most "
            "two. Set backend=plda or cosine, or train on more images."
        )
    if backend != "cosine" and several < 2:
        raise ConfigError(
            f"backend={backend} is fitted to training people with at least two images each; there are {several}. Set "
            "backend=cosine, or train on more images."
        )


def _lda(directions: NDArray[np.float64], person: NDArray[np.int64]) -> Scoring:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # imported here: it takes half a second

    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    try:
        model.fit(directions, person)
    except LinAlgError as error:
        raise ConfigError(
            f"backend=lda cannot be fitted: the embeddings of one person's images vary along too few directions "
            f"({error}). Set backend=plda or cosine."
        ) from error
    return lambda others: _cosine(unit(model.transform(unit(others).astype(np.float64)).astype(np.float32)))


def _plda(directions: NDArray[np.float64], person: NDArray[np.int64]) -> Scoring:
    mean = directions.mean(axis=0)
    within, between = covariances(directions - mean, person)
    if np.trace(within) < np.finfo(np.float32).eps ** 2:
        raise ConfigError(
            "backend=plda cannot be fitted: the training images of one person have equal embeddings, up to rounding. "
            "Set backend=cosine, or train the model longer."
        )
    ratios, axes = eigh(between, within)  # axes: within becomes the identity, between the diagonal of ratios
    kept = ratios > 1e-6
    psi, axes = ratios[kept], axes[:, kept]
    gain = np.sqrt(psi / (1 + 2 * psi))
    penalty = psi**2 / ((1 + psi) * (1 + 2 * psi)) / 2
    constant = float(np.sum(np.log1p(psi) - np.log1p(2 * psi) / 2))

    def compare(others: NDArray[np.float32]) -> Compared:
        latent = (unit(others) - mean) @ axes
        offsets = constant / 2 - np.square(latent) @ penalty
        return Compared((latent * gain).astype(np.float32), offsets.astype(np.float32))

    return compare


def covariances(
    embeddings: NDArray[np.float64], person: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Covariances (D, D) within and between people, by the moments of an unbalanced one-way analysis of variance.

    Searle, Casella and McCulloch, "Variance Components", 1992, section 3.6. The one within is shrunk (Ledoit and Wolf,
    2004), so that it has an inverse with fewer images than dimensions.

    Args:
        embeddings: (N, D), centred.
        person: (N,) numbers from 0 without gaps.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # imported here: it takes half a second

    counts = np.bincount(person)
    total, people, dims = len(person), len(counts), embeddings.shape[1]
    means = np.zeros((people, dims))
    np.add.at(means, person, embeddings)
    means /= counts[:, None]
    residuals = embeddings - means[person]
    within = residuals.T @ residuals / (total - people)
    shrinkage = ledoit_wolf_shrinkage(residuals, assume_centered=True)
    among = (means * counts[:, None]).T @ means / (people - 1)
    size = (total - np.square(counts).sum() / total) / (people - 1)  # images a person, for people of different sizes
    between = (among - within) / size
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / dims * np.eye(dims)
    return within, between


def unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings (N, D) scaled to length 1; a zero vector stays 0."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions: NDArray[np.float32] = (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)
    return directions


def _cosine(directions: NDArray[np.float32]) -> Compared:
    return Compared(directions, np.zeros(len(directions), np.float32))
