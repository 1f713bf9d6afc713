"""GAN-test and GAN-train: whether generated faces show the label they were asked for, and all that real ones need."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facelab.metrics import Metric
from facelab.protocols.base import Report
from facelab.protocols.probe import linear_probe, training_scores

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

LABEL_METRICS = (
    Metric("generation/gan_test", "GAN-test: samples classified as asked", True, "share"),
    Metric("generation/gan_test_real", "real test faces classified by the same classifier", True, "share"),
    Metric("generation/gan_train", "GAN-train: real test faces classified after samples only", True, "share"),
    Metric("generation/gan_train_real", "the same after real training faces", True, "share"),
)


@dataclass(frozen=True)
class Labelled:
    """Images with labels.

    Args:
        images: (N, H, W, C) uint8.
        labels: (N,) int64.
    """

    images: Images
    labels: Labels


def with_label_accuracy(
    report: Report,
    samples: Labelled,
    train: Labelled,
    test: Labelled,
    embed: Callable[[Images], Tensor],
    classify: Callable[[Images], Tensor],
) -> Report:
    """Add the accuracy of two classifiers to the report on a conditional generator.

    `generation/gan_test`: a classifier trained on the real training faces says the asked label of so many samples:
    Shmelkov et al., "How good is my GAN?", 2018, section 3. It is low if samples do not show their person. Its accuracy
    on real test faces, `generation/gan_test_real`, is what to compare with; above it, samples are easier than real
    faces, or copies of training faces.

    `generation/gan_train`: a classifier trained on samples alone says the label of so many real test faces: the same
    section; Ravuri and Vinyals, "Classification Accuracy Score for Conditional Generative Models", 2019. It is low,
    too, if samples lack what real faces vary in. Here the classifier is the linear probe of protocol=classification on
    the embedder's features, in place of a network trained from scratch, which would double the time of the evaluation.
    The features have seen real faces, so the value is above that of the papers; compare it with
    `generation/gan_train_real`, the same probe fitted to the real training faces; the larger of both sets decides which
    classifier it is.

    Args:
        report: on the samples.
        samples: generated faces, with the labels they were asked for.
        train: real training faces.
        test: real test faces; those whose label is not among these training faces are left out.
        embed: returns embeddings (N, D) float32.
        classify: returns predicted labels (N,) int64.
    """
    known = np.isin(test.labels, train.labels)
    if not known.any():
        return report
    test = Labelled(test.images[known], test.labels[known])
    features = {id(part): embed(part.images).numpy() for part in (samples, train, test)}
    scores = max(training_scores(part.labels) for part in (samples, train))

    def probed(fitted_to: Labelled) -> float:
        predicted = linear_probe(features[id(fitted_to)], fitted_to.labels, features[id(test)], scores)
        return float(np.mean(predicted == test.labels))

    def classified(part: Labelled) -> float:
        return float(np.mean(classify(part.images).numpy() == part.labels))

    values = (classified(samples), classified(test), probed(samples), probed(train))
    names = [metric.name for metric in LABEL_METRICS]
    rows = [
        ["GAN-test: shows the asked person", f"{values[0]:.1%}", f"{values[1]:.1%}"],
        ["GAN-train: test faces, learnt from these", f"{values[2]:.1%}", f"{values[3]:.1%}"],
    ]
    table = replace(report.table, rows=[*report.table.rows, *rows])
    return replace(report, metrics={**report.metrics, **dict(zip(names, values, strict=True))}, table=table)
