"""Classical recognisers, fitted once: nearest neighbours on pixels and on projections of them, and a linear SVM."""

import math
import warnings
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from facelab.errors import DataError
from facelab.models.base import FittedModule, Progress
from facelab.nets.encoders import ImageShape
from facelab.nets.light import standardise
from facelab.nets.neighbours import NearestNeighbours
from facelab.nets.projection import LinearProjection, PrincipalComponents

_AT_ONCE = 256  # images embedded at once
_EXACT_IMAGES = 2000  # up to which a decomposition of all images takes seconds
_RANK = 1e-5  # of the largest singular value: components below it are rounding errors
_MOST_PASSES = 1000  # of the solver over the images, as liblinear has it


class _ByNeighbours(FittedModule):
    """Base of models that give the label of the nearest training image, by the Euclidean distance of embeddings.

    Args:
        embedding_dim: length of the embeddings.
        num_classes: number of classes.
    """

    def __init__(self, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.neighbours = NearestNeighbours(embedding_dim, num_classes)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Scores (N, num_classes) of embeddings (N, D): minus the squared distance to the nearest of each class."""
        scores: Tensor = self.neighbours(embeddings)
        return scores

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor, progress: Progress) -> str | None:
        """Store the embeddings of the images and their labels."""
        self.neighbours.store(torch.cat([self.embed(some) for some in torch.split(images, _AT_ONCE)]), labels)
        return None


class Pixels(_ByNeighbours):
    """The label of the nearest training image, by the Euclidean distance of grey or colour levels.

    The embedding is the image itself, in [-1, 1].

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
    """

    def __init__(self, image_shape: ImageShape, num_classes: int) -> None:
        super().__init__(math.prod(image_shape), num_classes)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]."""
        return images.flatten(1)


class Eigenfaces(_ByNeighbours):
    """Nearest neighbour on principal components of the pixels.

    Turk and Pentland, "Eigenfaces for Recognition", 1991. The training images stay as they are instead of one mean a
    person. With as many components as training images less one, distances to training images differ from those of
    `Pixels` only by what the components leave of the image, the same for all of them, so the labels are the same.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
        components: number of principal components; with fewer training images than that, the others are 0.
    """

    def __init__(
        self, image_shape: ImageShape, num_classes: int, components: Annotated[int, Field(ge=1, le=4096)] = 100
    ) -> None:
        super().__init__(components, num_classes)
        self.projection = PrincipalComponents(math.prod(image_shape), components)

    def embed(self, images: Tensor) -> Tensor:
        """Principal components (N, components) of images (N, C, H, W) float in [-1, 1]."""
        components: Tensor = self.projection(images.flatten(1))
        return components

    def fit(self, images: Tensor, labels: Tensor, progress: Progress) -> str | None:
        """Compute the principal components, and store the projected images."""
        self.projection.fit(images.flatten(1))
        return super().fit(images, labels, progress)


class Fisherfaces(_ByNeighbours):
    """Nearest neighbour on linear discriminants of principal components of the pixels.

    Belhumeur, Hespanha and Kriegman, "Eigenfaces vs. Fisherfaces", 1997: for N training images of c classes, N - c
    principal components, in which the scatter within classes has an inverse, then c - 1 discriminants. That inverse is
    mostly chance where images are few, so the scatter is shrunk: Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004, on the deviations from all class means.

    With one image of each class, nothing varies within classes. The identity then stands for the scatter within, which
    leaves the principal components of the images: the same labels as `Eigenfaces` with all components. Copies of an
    image count once in N.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
        components: maximal number of principal components; fewer if N - c is.
        shrinkage: `auto` by the rule of Ledoit and Wolf; null for none, as in the paper.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        components: Annotated[int, Field(ge=1, le=4096)] = 400,
        shrinkage: Literal["auto"] | None = "auto",
    ) -> None:
        dim = max(1, num_classes - 1)
        super().__init__(dim, num_classes)
        self.projection = LinearProjection(math.prod(image_shape), dim)
        self._components, self._shrinkage = components, shrinkage

    def embed(self, images: Tensor) -> Tensor:
        """Discriminants (N, num_classes - 1) of images (N, C, H, W) float in [-1, 1]."""
        discriminants: Tensor = self.projection(images.flatten(1))
        return discriminants

    def fit(self, images: Tensor, labels: Tensor, progress: Progress) -> str | None:
        """Compute the discriminants, and store the projected images.

        Raises:
            DataError: the scatter within classes has no inverse.
        """
        note = None
        pixels, classes = images.flatten(1), len(np.unique(labels.numpy()))
        most = _distinct(pixels.numpy(), labels.numpy()) - classes
        if most:
            most = min(most, self._components, pixels.shape[1])
            mean, axes = _discriminants(pixels.numpy(), labels.numpy(), most, self._shrinkage)
            self.projection.set(torch.from_numpy(mean), torch.from_numpy(axes))
        else:
            principal = PrincipalComponents(pixels.shape[1], min(classes - 1, self.projection.axes.shape[1]) or 1)
            principal.fit(pixels)
            self.projection.set(principal.mean, principal.axes)
            note = (
                "Every class has one training image, or copies of one, so nothing varies within classes: these "
                "fisherfaces are eigenfaces with all components. They differ from split.train_per_identity=2 on."
            )
        super().fit(images, labels, progress)
        return note


def _distinct(pixels: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    """The number of images (N, F), copies in the same class not counted."""
    return len({(label, image.tobytes()) for label, image in zip(labels.tolist(), pixels, strict=True)})


def _discriminants(
    pixels: NDArray[np.float32], labels: NDArray[np.int64], most: int, shrinkage: Literal["auto"] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (F,) of the pixels (N, F), and axes (F, K) of the discriminants, along which the scatter within is 1.

    `most` is the largest number of principal components that they are computed from.
    """
    from sklearn.decomposition import PCA  # imported here: it takes half a second

    if len(pixels) <= _EXACT_IMAGES:  # the last components count, so the decomposition is exact where it can be
        principal = PCA(most, svd_solver="full").fit(pixels.astype(np.float64))
    else:
        principal = PCA(most, random_state=0).fit(pixels)
    kept = principal.singular_values_ > _RANK * principal.singular_values_[0]
    projected = principal.transform(pixels).astype(np.float64)[:, kept]
    try:
        axes = _discriminant_axes(projected, labels, shrinkage)
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"model=fisherfaces: the scatter within the classes of the {len(pixels):,} training images has no inverse: "
            f"{error}. The images differ alike in all classes, as after the same change of brightness. Take other "
            "images."
        ) from error
    return principal.mean_, principal.components_[kept].T @ axes


def _discriminant_axes(
    projected: NDArray[np.float64], labels: NDArray[np.int64], shrinkage: Literal["auto"] | None
) -> NDArray[np.float64]:
    """Axes (D, K) of the discriminants of principal components (N, D)."""
    from sklearn.covariance import ledoit_wolf_shrinkage
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    classes, class_of = np.unique(labels, return_inverse=True)
    if shrinkage is None:
        discriminant = LinearDiscriminantAnalysis(solver="svd")
    else:
        means = np.stack([projected[class_of == number].mean(axis=0) for number in range(len(classes))])
        # scikit-learn's own "auto" shrinks each class alone, which does nothing with two images a class.
        deviations = projected - means[class_of]
        amount = float(ledoit_wolf_shrinkage(deviations, assume_centered=True))
        if amount < _RANK**2 and np.linalg.matrix_rank(deviations, rtol=_RANK) < projected.shape[1]:
            raise np.linalg.LinAlgError("it is singular, and its shrinkage is 0")
        discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=amount)
    discriminant.fit(projected, labels)
    axes: NDArray[np.float64] = discriminant.scalings_[:, : min(len(classes) - 1, projected.shape[1])]
    if not axes.shape[1]:
        raise np.linalg.LinAlgError("where images of a class vary, the classes do not differ")
    return axes


class LinearSVM(FittedModule):
    """Linear support vector machines on the pixels, one for each class against all others.

    Every image is standardised first, to mean 0 and standard deviation 1. The embedding is the standardised image.
    Squared hinge loss, as in liblinear (Fan et al., "LIBLINEAR: A Library for Large Linear Classification", 2008).

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.
        cost: C, the weight of the loss against that of the margin, above 0.
    """

    weights: Tensor
    biases: Tensor

    def __init__(self, image_shape: ImageShape, num_classes: int, cost: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self._cost = cost
        self.register_buffer("weights", torch.zeros(num_classes, math.prod(image_shape)))
        self.register_buffer("biases", torch.zeros(num_classes))

    def embed(self, images: Tensor) -> Tensor:
        """Standardised images (N, D) of images (N, C, H, W) float in [-1, 1]."""
        return standardise(images).flatten(1)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Signed margins (N, num_classes) of embeddings (N, D); minus infinity for classes without training images."""
        return embeddings @ self.weights.T + self.biases

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor, progress: Progress) -> str | None:
        """Fit the machine of each class in turn."""
        pixels = torch.cat([self.embed(some) for some in torch.split(images, _AT_ONCE)]).double()
        # The weights are sums of images, so coordinates in the space that these span give the same machines, sooner.
        axes = torch.linalg.qr(pixels.T).Q if len(pixels) < pixels.shape[1] else None
        coordinates = (pixels if axes is None else pixels @ axes).numpy()
        self.weights.zero_()
        self.biases.fill_(-torch.inf)
        classes, unfinished = np.unique(labels.numpy()).tolist(), 0
        with progress("classes fitted", len(classes)) as advance:
            for label in classes:
                machine = _machine(coordinates, (labels == label).numpy(), self._cost, dual=axes is not None)
                weights = torch.from_numpy(machine.coef_[0])
                self.weights[label] = (weights if axes is None else axes @ weights).float()
                self.biases[label] = float(machine.intercept_[0])
                unfinished += int(machine.n_iter_ >= _MOST_PASSES)
                advance()
        if not unfinished:
            return None
        return (
            f"{unfinished} of {len(classes)} support vector machines had not converged after {_MOST_PASSES:,} passes "
            "over the images. They are used as they are; a lower model.cost converges sooner."
        )


def _machine(features: NDArray[np.float64], positive: NDArray[np.bool_], cost: float, dual: bool) -> Any:
    """A linear support vector machine (scikit-learn's LinearSVC) fitted to features (N, D) and labels (N,)."""
    from sklearn.exceptions import ConvergenceWarning  # imported here: it takes half a second
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LinearSVC(C=cost, dual=dual, random_state=0, max_iter=_MOST_PASSES).fit(features, positive)
