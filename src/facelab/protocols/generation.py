"""Generation: compare generated with real faces, by means of two further trained models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from facelab.config.build import resolve_target
from facelab.config.needs import Need
from facelab.data.faces import ChosenPixels, FaceSet
from facelab.data.images import resize
from facelab.data.other_people import known_faces, other_people
from facelab.data.sources.face_nonface import FaceNonFace
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.models.base import FaceModule, Generative, refuse_without_head
from facelab.models.sampling import sample
from facelab.models.trained import Trained, embeddings, load, predictions
from facelab.protocols.base import Protocol, Report, Subject
from facelab.protocols.generation_labels import LABEL_METRICS, Labelled, with_label_accuracy
from facelab.protocols.generation_report import MOST_REAL_FACES, NEIGHBOURS, ReferenceModels, generation_report, spread
from facelab.protocols.inception import load_inception
from facelab.system import check_path


@dataclass(frozen=True)
class Generation(Protocol):
    """Quality and diversity of generated faces, for generative models; see `generation_report` for the metrics.

    The runs it depends on are looked up among the finished ones by their config, or trained first.

    Args:
        samples: number of faces to generate.
        people: whose faces the embedder learns. `other`: LFW's if `lfw` is given, else the AT&T people that are not in
            the run's data; if fewer than ten are left, the run's own. `same`: those of the run's own data.
        lfw: folder of LFW, for `people=other`; null if it is not at hand.
        embedder: the run whose embeddings are the features, as a list of overrides without data.
        face_classifier: the run that classifies images as faces or not, as a list of overrides; images are resized to
            the size it was trained on.
        label_classifier: the run that classifies the samples of a conditional model, as a list of overrides; on the
            same data and split. Null for neither GAN-test nor GAN-train: see `with_label_accuracy`.
        inception: path of an Inception network as TorchScript, for KID and FID as papers report them, such as NVIDIA's
            `inception-2015-12-05.pt`. It is called as `network(images, return_features=True)` with (N, 3, H, W) uint8
            and must return features (N, 2048). Null for none.
    """

    metrics = (
        Metric("generation/kid_face", "KID, face embedder", False, headline=True),
        Metric("generation/kid_face_sd", "KID, face embedder: standard deviation over subsets", False),
        Metric("generation/kid_face_floor", "KID of two halves of the real faces", False),
        Metric("generation/kid_face_over_floor", "KID, as a multiple of that of real faces", False),
        Metric("generation/frechet_face", "Frechet distance, face embedder", False),
        Metric("generation/frechet_face_floor", "Frechet distance of real faces", False),
        Metric("generation/precision", "precision", True, "share"),
        Metric("generation/recall", "recall", True, "share"),
        Metric("generation/precision_real", "precision of real faces", True, "share"),
        Metric("generation/recall_real", "recall of real faces", True, "share"),
        Metric("generation/face_share", "accepted as faces", True, "share"),
        Metric("generation/face_share_real", "real faces accepted as faces", True, "share"),
        Metric("generation/copy_z", "copy test, z", True),
        Metric("generation/copy_share", "nearer to a training face than 99 % of unseen faces", False, "share"),
        Metric("generation/kid", "KID, Inception", False),
        Metric("generation/fid", "FID", False),
        *LABEL_METRICS,
    )
    samples: Annotated[int, Field(ge=10)]
    embedder: list[str]
    face_classifier: list[str]
    people: Literal["other", "same"] = "other"
    lfw: str | None = None
    inception: str | None = None
    label_classifier: list[str] | None = None

    @classmethod
    def can_evaluate(cls, model: type[FaceModule]) -> bool:
        """Whether the model is generative."""
        return issubclass(model, Generative)

    @classmethod
    def needs(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> Sequence[Need]:
        """An embedder of other people, a face classifier, and a classifier of the labels of a conditional model."""
        others = () if node.get("people") == "same" else other_people(config["data"], node.get("lfw"))
        embedder = Need("embedder", overrides=others, of_strangers=True) if others else Need("embedder", same=("data",))
        found = [embedder, Need("face_classifier")]
        model = cast(type[Generative], resolve_target(config["model"]["_target_"]))
        if model.is_conditional() and node.get("label_classifier") is not None:
            found.append(Need("label_classifier", same=("data", "split")))
        return found

    @classmethod
    def check_dependency(cls, name: str, config: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        """Require a non-generative embedder, and a face classifier with a head, trained on faces and other images."""
        model = cast(type[FaceModule], resolve_target(config["model"]["_target_"]))
        data = cast(type, resolve_target(config["data"]["_target_"]))
        if issubclass(model, Generative):
            raise ConfigError(
                "a generative model would itself depend on such runs. Set another one, such as model=cnn."
            )
        if name != "embedder":
            refuse_without_head(model, config["model"])
        if name == "face_classifier" and not issubclass(data, FaceNonFace):
            raise ConfigError(f"expected data=face_spoilt_face or face_nonface, got {data.__name__}.")

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that there are enough real faces, and that the Inception network loads."""
        if min(len(splits.train), len(splits.test)) <= NEIGHBOURS:
            raise ConfigError(
                f"protocol=generation compares each generated face with its {NEIGHBOURS} nearest neighbours among "
                f"training and among test images; this split has {len(splits.train)} and {len(splits.test)} of them. "
                "Add images, or choose another split."
            )
        if self.lfw is not None and self.people == "same":
            raise ConfigError(
                "protocol.generation.lfw has no effect with people=same. Remove one of them: people=other learns LFW."
            )
        if self.lfw is not None:
            check_path("protocol.generation.lfw", Path(self.lfw))
            if not Path(self.lfw).is_dir():
                raise ConfigError(
                    f"protocol.generation.lfw: there is no folder {Path(self.lfw).absolute()}. Set the folder of LFW, "
                    "or null for an embedder of AT&T people."
                )
        if self.inception is not None:
            load_inception(self.inception)

    def evaluate(self, subject: Subject) -> Report:
        """Compare generated faces with at most 2,000 training and 2,000 test faces, evenly spaced in their splits, and
        look for copies of any training face.
        """
        module, faces, splits = subject.module, subject.faces, subject.splits
        embedder, classifier = (_loaded(subject, name) for name in ("embedder", "face_classifier"))
        face, side = classifier.metadata.label_names.index("face"), classifier.metadata.image_shape[1]
        reference = ReferenceModels(
            embed=lambda images: embeddings(embedder.module, images),
            face_share=lambda images: _share(predictions(classifier.module, _resized(images, side)) == face),
            inception=None if self.inception is None else load_inception(self.inception),
        )
        samples, asked = sample(module, self.samples, subject.seed)
        train, held_out = (_labelled(faces, spread(part, MOST_REAL_FACES)) for part in (splits.train, splits.test))
        report = generation_report(samples, ChosenPixels(faces.pixels, splits.train), held_out.images, reference)
        known = known_faces(subject.dependencies["embedder"], faces)
        if known:
            report = replace(report, notes=[*report.notes, _familiar(known, len(faces))])
        if "label_classifier" not in subject.dependencies:
            return report
        judge = _loaded(subject, "label_classifier").module

        def classify(images: NDArray[np.uint8]) -> Tensor:
            return predictions(judge, images)

        labels = cast(Generative, module).num_labels
        if labels > self.samples:
            report = replace(report, notes=[*report.notes, _unasked(self.samples, labels)])
        return with_label_accuracy(report, Labelled(samples, asked), train, held_out, reference.embed, classify)


def _familiar(known: int, images: int) -> str:
    return (
        f"The face embedder knows {known:,} of the {images:,} real images. It maps people it has learnt closer "
        "together than others, so precision, recall and the copy test say little. For an embedder of other people, set "
        "protocol.generation.lfw=<folder of LFW>, or train on at most 30 of the AT&T people."
    )


def _unasked(samples: int, labels: int) -> str:
    return (
        f"generation/gan_train: samples of {samples:,} of the {labels:,} labels were made, so test faces of the others "
        f"count as errors. Set protocol.generation.samples={labels} or more."
    )


def _loaded(subject: Subject, name: str) -> Trained:
    trained = load(subject.dependencies[name])
    trained.module.to(subject.module.device)
    return trained


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.stack([resize(Image.fromarray(image.squeeze()), side) for image in images])


def _share(accepted: Tensor) -> float:
    return float(accepted.double().mean())


def _labelled(faces: FaceSet, indices: NDArray[np.int64]) -> Labelled:
    return Labelled(np.stack([faces.pixels[int(i)] for i in indices]), faces.labels[indices])
