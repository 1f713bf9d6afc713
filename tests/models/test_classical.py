"""Classical recognisers against scikit-learn on the same split, and by hand."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC
from torch import Tensor

from facelab.config.compose import config_folder
from facelab.data.faces import FaceSet
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot
from facelab.errors import DataError
from facelab.models import Eigenfaces, Fisherfaces, FittedModule, LinearSVM, Pixels
from facelab.models.base import Progress, to_float
from facelab.nets.light import standardise
from facelab.system import progress

SHAPE = (1, 32, 32)


class Few:
    """Training and test images of a few-shot split of AT&T, as tensors for facelab and as arrays for scikit-learn."""

    def __init__(self, faces: FaceSet, images_a_person: int) -> None:
        splits = split(faces, FewShot(images_a_person, seed=0))
        images = to_float(torch.from_numpy(np.asarray(faces.pixels)).permute(0, 3, 1, 2)).contiguous()
        labels = torch.from_numpy(faces.labels)
        self.train, self.labels, self.test = images[splits.train], labels[splits.train], images[splits.test]
        self.true = faces.labels[splits.test]

    @property
    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        return flat(self.train), self.labels.numpy(), flat(self.test)


@pytest.fixture(scope="module")
def few(orl: FaceSet) -> Few:
    return Few(orl, 3)


def flat(images: Tensor) -> NDArray[np.float64]:
    return images.flatten(1).double().numpy()


def fitted(module: FittedModule, few: Few, shown: Progress = progress) -> FittedModule:
    note = module.fit(few.train, few.labels, shown)
    assert note is None
    return module


def predicted(module: FittedModule, images: Tensor) -> list[int]:
    scores = module.classify(module.embed(images))
    assert scores is not None
    labels: list[int] = scores.argmax(dim=1).tolist()
    return labels


def nearest(train: NDArray[np.float64], labels: NDArray[np.int64], test: NDArray[np.float64]) -> list[int]:
    found: list[int] = KNeighborsClassifier(1).fit(train, labels).predict(test).tolist()
    return found


def test_pixels_are_the_nearest_neighbour(few: Few) -> None:
    assert predicted(fitted(Pixels(SHAPE, 40), few), few.test) == nearest(*few.arrays)


def test_eigenfaces_are_pca_and_the_nearest_neighbour(few: Few) -> None:
    train, labels, test = few.arrays
    components = PCA(20, svd_solver="full").fit(train)
    expected = nearest(components.transform(train), labels, components.transform(test))
    module = fitted(Eigenfaces(SHAPE, 40, components=20), few)
    assert predicted(module, few.test) == expected
    # Axes have a sign of their own; the lengths of the embeddings have none.
    lengths = np.linalg.norm(components.transform(test), axis=1)
    assert module.embed(few.test).norm(dim=1).numpy() == pytest.approx(
        lengths, rel=0.01
    )  # the decomposition is randomised


def test_eigenfaces_with_all_components_have_the_distances_of_pixels(few: Few) -> None:
    pixels, eigenfaces = fitted(Pixels(SHAPE, 40), few), fitted(Eigenfaces(SHAPE, 40, components=200), few)
    assert predicted(eigenfaces, few.test) == predicted(pixels, few.test)


@pytest.mark.parametrize("shrinkage", ["auto", None])
def test_fisherfaces_are_pca_discriminants_and_the_nearest_neighbour(few: Few, shrinkage: str | None) -> None:
    train, labels, test = few.arrays
    components = PCA(len(labels) - 40, svd_solver="full").fit(train)
    projected = components.transform(train)
    discriminant = LinearDiscriminantAnalysis(solver="svd")
    if shrinkage is not None:
        means = np.stack([projected[labels == label].mean(axis=0) for label in range(40)])
        amount = ledoit_wolf_shrinkage(projected - means[labels], assume_centered=True)
        discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=amount)
    discriminant.fit(projected, labels)
    expected = nearest(discriminant.transform(projected), labels, discriminant.transform(components.transform(test)))
    module = fitted(Fisherfaces(SHAPE, 40, shrinkage="auto" if shrinkage else None), few)
    agreeing = np.mean(np.array(predicted(module, few.test)) == expected)
    assert agreeing > 0.99, "float32 may turn a tie, and no more"


def test_fisherfaces_of_one_image_a_class_are_eigenfaces_and_say_so(orl: FaceSet) -> None:
    one = Few(orl, 1)
    fisherfaces, eigenfaces = Fisherfaces(SHAPE, 40), Eigenfaces(SHAPE, 40, components=39)
    note = fisherfaces.fit(one.train, one.labels, progress)
    assert note
    assert "split.train_per_identity=2" in note
    assert predicted(fisherfaces, one.test) == predicted(fitted(eigenfaces, one), one.test)


@pytest.mark.parametrize("shrinkage", ["auto", None])
@pytest.mark.parametrize("copies", [0, 1, 2, 5, 20])
def test_copies_of_one_image_a_class_leave_fisherfaces_as_they_are(
    orl: FaceSet, shrinkage: Literal["auto"] | None, copies: int
) -> None:
    one, module, copied = (Few(orl, 1), *(Fisherfaces(SHAPE, 40, shrinkage=shrinkage) for _ in range(2)))
    assert module.fit(one.train, one.labels, progress)
    images, labels = (torch.cat([every, *[every] * copies, every[:1]]) for every in (one.train, one.labels))
    note = copied.fit(images, labels, progress)
    assert note
    assert "or copies of one" in note
    assert np.mean(np.array(predicted(copied, one.test)) == predicted(module, one.test)) > 0.99


@pytest.mark.parametrize("shrinkage", ["auto", None])
def test_fisherfaces_with_copies_have_no_axes_of_noise(few: Few, shrinkage: Literal["auto"] | None) -> None:
    module, copied = (Fisherfaces(SHAPE, 40, shrinkage=shrinkage) for _ in range(2))
    fitted(module, few)
    copied.fit(few.train.repeat(4, 1, 1, 1), few.labels.repeat(4), progress)
    longest = [one.projection.axes.norm(dim=0).max() for one in (module, copied)]
    assert longest[1] < 10 * longest[0]
    right = [np.mean(np.array(predicted(one, few.test)) == few.true) for one in (module, copied)]
    assert right[1] > right[0] - 0.05


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # of scikit-learn
@pytest.mark.parametrize("shrinkage", ["auto", None])
def test_a_scatter_without_an_inverse_is_refused(shrinkage: Literal["auto"] | None) -> None:
    brightened, labels = grey((0.0, 0.0), (0.2, 0.0), (0.0, 1.0), (0.2, 1.0)), torch.tensor([0, 0, 1, 1])
    with pytest.raises(DataError, match="4 training images has no inverse"):
        Fisherfaces((1, 1, 2), 2, shrinkage=shrinkage).fit(brightened, labels, progress)


def test_a_linear_svm_is_liblinear_on_standardised_pixels(few: Few) -> None:
    seen: list[tuple[str, int, int]] = []

    @contextmanager
    def shown(what: str, total: int) -> Iterator[Callable[[], None]]:
        yield lambda: seen.append((what, len(seen) + 1, total))

    module = fitted(LinearSVM(SHAPE, 40), few, shown)
    machines = LinearSVC(random_state=0).fit(flat(standardise(few.train)), few.labels.numpy())
    test = flat(standardise(few.test))
    scores = module.classify(module.embed(few.test))
    assert scores is not None
    assert scores.numpy() == pytest.approx(machines.decision_function(test), abs=0.02)
    assert np.mean(np.array(predicted(module, few.test)) == machines.predict(test)) > 0.99
    assert seen == [("classes fitted", done, 40) for done in range(1, 41)]


def grey(*rows: Sequence[float]) -> Tensor:
    """Images of 1 x 2 pixels."""
    return torch.tensor(rows).reshape(len(rows), 1, 1, 2)


def test_neighbours_and_components_by_hand() -> None:
    train, labels = grey((0.0, 0.0), (0.0, 0.2), (1.0, 0.0), (1.0, 0.2)), torch.tensor([0, 0, 1, 1])
    pixels, eigenfaces = Pixels((1, 1, 2), 2), Eigenfaces((1, 1, 2), 2, components=1)
    for module in (pixels, eigenfaces):
        module.fit(train, labels, progress)
    scores = pixels.classify(pixels.embed(grey((0.25, 0.2))))
    assert scores.flatten().tolist() == pytest.approx([-(0.25**2), -(0.75**2)])
    # The first component is the first pixel, around its mean of 0.5; the second pixel has a variance of 0.01.
    assert eigenfaces.embed(grey((0.9, 0.7))).abs().item() == pytest.approx(0.4, abs=1e-6)
    assert predicted(eigenfaces, grey((0.4, 9.0), (0.6, -9.0))) == [0, 1]


def test_fisherfaces_by_hand_use_the_pixel_that_tells_classes_apart() -> None:
    # The second pixel varies most, but within both classes alike.
    train = grey((0.0, -1.0), (0.1, 0.0), (0.0, 1.0), (0.5, -1.0), (0.6, 0.0), (0.5, 1.0))
    module = Fisherfaces((1, 1, 2), 2, shrinkage=None)
    module.fit(train, torch.tensor([0, 0, 0, 1, 1, 1]), progress)
    assert predicted(module, grey((0.1, 0.9), (0.5, -0.9))) == [0, 1]
    axis = module.projection.axes[:, 0]
    assert abs(axis[0]) > 5 * abs(axis[1])


def test_a_class_without_images_is_never_the_answer(few: Few) -> None:
    for module in (Pixels(SHAPE, 50), LinearSVM(SHAPE, 50)):
        fitted(module, few)
        assert max(predicted(module, few.test)) < 40
        probabilities = module.probabilities(module.embed(few.test))
        assert probabilities is not None
        assert probabilities[:, 40:].max() == 0


def test_stored_embeddings_are_loaded_whatever_their_number(few: Few) -> None:
    module, other = Pixels(SHAPE, 40), Pixels(SHAPE, 40)
    fitted(module, few)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.neighbours.embeddings, module.neighbours.embeddings)
    for labels in (few.labels + 1, few.labels[:-1], torch.tensor(0)):
        with pytest.raises(RuntimeError, match=r"expected one in \[0, 40\)"):
            other.load_state_dict({**module.state_dict(), "neighbours.labels": labels})
    with pytest.raises(RuntimeError, match="embeddings"):
        other.load_state_dict({**module.state_dict(), "neighbours.embeddings": torch.zeros(120, 5)})


def test_the_example_of_the_page_is_the_nearest_mean(few: Few) -> None:
    page = (config_folder().parent / "docs" / "classical.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    train, labels, test = few.arrays
    expected = NearestCentroid().fit(train, labels).predict(test).tolist()
    assert predicted(fitted(names["MeanFaces"](SHAPE, 40), few), few.test) == expected
