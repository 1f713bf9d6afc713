"""Scores of pairs, against densities and scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from facelab.errors import ConfigError
from facelab.protocols.backends import Backend, covariances, fit


def _people(people: int, images: int, dims: int = 6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings with much noise along the first axes, on which a cosine cannot rely."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), images)
    noise = random.standard_normal((len(identities), dims)) * np.linspace(3, 0.3, dims)
    centres = random.standard_normal((people, dims))
    return (centres[identities] + noise + 4).astype(np.float32), identities


def test_cosine_scores_are_cosines_and_a_zero_vector_has_none() -> None:
    embeddings, identities = _people(5, 3)
    embeddings[0] = 0
    compared = fit("cosine", embeddings, identities)(embeddings)
    expected = cosine_similarity(embeddings)
    np.testing.assert_allclose(compared.against(compared), expected, atol=1e-6)
    first, second = np.triu_indices(15, k=1)
    np.testing.assert_allclose(compared.pairs(first, second), expected[first, second], atol=1e-6)


def test_lda_scores_are_cosines_after_the_discriminants() -> None:
    (train, people), (test, _) = _people(30, 4), _people(6, 3, seed=1)
    compared = fit("lda", 7 * train, people)(0.1 * test)  # lengths do not matter
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test)]
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(unit[0].astype(float), people)
    np.testing.assert_allclose(compared.against(compared), cosine_similarity(model.transform(unit[1])), atol=1e-4)


def test_plda_scores_are_log_likelihood_ratios() -> None:
    (train, people), (test, _) = _people(200, 3), _people(4, 2, seed=1)
    compared = fit("plda", train, people)(test)
    unit = [x.astype(float) / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test)]
    mean = unit[0].mean(axis=0)
    within, between = covariances(unit[0] - mean, people)
    values, axes = np.linalg.eigh(between)
    between = (axes * values.clip(0)) @ axes.T
    total = within + between
    same = multivariate_normal(np.tile(mean, 2), np.block([[total, between], [between, total]]))
    alone = multivariate_normal(mean, total)
    for i in range(len(test)):
        for j in range(i):
            both = np.concatenate([unit[1][i], unit[1][j]])
            expected = same.logpdf(both) - alone.logpdf(unit[1][i]) - alone.logpdf(unit[1][j])
            assert compared.pairs(np.array([i]), np.array([j]))[0] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_covariances_are_recovered_from_people_of_different_sizes() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(4000), random.integers(1, 6, 4000))
    centres = random.standard_normal((4000, 3)) * [1, 2, 0.5]
    embeddings = centres[people] + random.standard_normal((len(people), 3)) * [0.5, 1, 2]
    within, between = covariances(embeddings - embeddings.mean(axis=0), people)
    np.testing.assert_allclose(np.diag(within), [0.25, 1, 4], rtol=0.05)
    np.testing.assert_allclose(np.diag(between), [1, 4, 0.25], rtol=0.1, atol=0.06)


def test_fitted_backends_tell_strangers_apart_better_than_the_cosine() -> None:
    (train, people), (test, strangers) = _people(300, 4), _people(60, 4, seed=1)
    first, second = np.triu_indices(len(test), k=1)
    same = strangers[first] == strangers[second]
    area = {
        name: roc_auc_score(same, fit(name, train, people)(test).pairs(first, second))
        for name in ("cosine", "lda", "plda")
    }
    assert area["lda"] > area["cosine"] + 0.05
    assert area["plda"] > area["cosine"] + 0.05


@pytest.mark.parametrize("name", ["lda", "plda"])
def test_people_with_one_image_do_not_change_what_the_others_fit(name: Backend) -> None:
    (train, people), (test, _) = _people(30, 3), _people(5, 2, seed=1)
    alone = np.random.default_rng(2).standard_normal((7, 6)).astype(np.float32)
    more, numbers = (
        np.concatenate([alone, train, alone]),
        np.concatenate([np.arange(7), 10 + 2 * people, 90 + np.arange(7)]),
    )
    expected, found = fit(name, train, people)(test), fit(name, more, numbers)(test)
    np.testing.assert_allclose(found.against(found), expected.against(expected), atol=1e-5)


@pytest.mark.parametrize("name", ["lda", "plda"])
def test_people_with_one_image_cannot_fit_a_backend(name: Backend) -> None:
    embeddings, _ = _people(6, 1)
    with pytest.raises(ConfigError, match=f"backend={name} .* there are 0"):
        fit(name, embeddings, np.arange(6))


def test_fitted_backends_need_images_that_differ_and_lda_three_of_somebody() -> None:
    embeddings, people = _people(40, 2, dims=64)
    with pytest.raises(ConfigError, match="one at least has three images"):
        fit("lda", embeddings, people)
    more, numbers = np.concatenate([embeddings, embeddings[:1] + 1]), np.append(people, 0)
    fit("lda", more, numbers)(embeddings)
    same, numbers = _people(5, 3, dims=64)
    same[:] = same[::3][numbers]  # every image of a person is the same
    with pytest.raises(ConfigError, match="vary along too few directions"):
        fit("lda", same, numbers)
    for collapsed in (same, np.ones_like(same), np.zeros_like(same)):
        with pytest.raises(ConfigError, match="the training images of one person have equal embeddings"):
            fit("plda", collapsed, numbers)
