"""Build and check everything a run needs, before anything is recorded."""

import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytorch_lightning as pl
import torch

from facelab.config.build import build, configured, nearest
from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.order import PK, Balanced, ByImage, Order, WithShare
from facelab.data.splits.base import Splits, prepare
from facelab.errors import ConfigError
from facelab.metrics.classification import NAMES
from facelab.metrics.declaration import Metric, validation_name
from facelab.models.base import FaceModule, FittedModule
from facelab.models.recipe import Recipe
from facelab.models.trained import ModelMetadata
from facelab.models.transfer import find_weights, load_encoder
from facelab.protocols.base import Protocol
from facelab.runs.description import opening_of_training
from facelab.runs.evaluate import as_validation
from facelab.runs.experiment import Experiment
from facelab.runs.generators import check_generator, find_generator
from facelab.synthetic import GeneratedFaces
from facelab.synthetic.base import Plan
from facelab.training.callbacks.validation import Criterion
from facelab.training.trainer import TrainerSettings

# Recorded during training for models with a classification head.
_CLASSIFICATION_TERMS = tuple(Metric(name, name, True, "share") for name in NAMES)


@dataclass(frozen=True)
class Prepared:
    """The objects a run needs, built from its config.

    Args:
        experiment: built from the config.
        settings: hardware and precision, with every `auto` resolved.
        faces: the face set.
        splits: train, val and test.
        metadata: image shape and labels the model was built for.
        module: the model.
        data: its batches.
        protocols: by name, those that apply to the model.
        criterion: selects the best weights; None for the default.
        plan: of the synthetic faces; None for none. `facelab.runs.synthetic.with_synthetic` makes them.
        further: what else the run is trained on, in a sentence of Markdown.
    """

    experiment: Experiment
    settings: TrainerSettings
    faces: FaceSet
    splits: Splits
    metadata: ModelMetadata
    module: FaceModule
    data: FaceDataModule
    protocols: Mapping[str, Protocol]
    criterion: Criterion | None
    plan: Plan | None = None
    further: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Prepared":
        """Build and check everything.

        Args:
            config: as saved in the run's folder.

        Raises:
            FacelabError: config or data are invalid.
        """
        experiment = Experiment(**build(config))
        settings = experiment.trainer.resolved()
        experiment.runtime.check()
        faces, splits = prepare(experiment.data.load(), experiment.split)
        if not len(splits.train):
            raise ConfigError(
                "split=all: every image is tested, so none is left to train on. This split is for `facelab evaluate`; "
                "choose another one, such as split=ratio."
            )
        for note in (*faces.notes, *splits.notes) if int(os.environ.get("RANK", 0)) == 0 else ():
            print(note)
        experiment.augment.check(faces.pixels[int(splits.train[0])])
        plan = _planned(experiment, faces, splits)  # may load a generator, which draws weights first
        pl.seed_everything(experiment.seed, verbose=False)
        metadata = _model_metadata(faces, splits, plan)
        module = configured("model", lambda: _make_model(experiment, metadata))
        configured(module.optimizer_keys, module.configure_optimizers)
        if isinstance(module, FittedModule):
            _check_fitted(experiment, settings, type(module).__name__)
        protocols = applicable(experiment.protocol, type(module))
        for protocol in protocols.values():
            protocol.check(splits, faces)
        criterion = _criterion(experiment, protocols, module, splits, faces)
        if criterion is None and not isinstance(module, FittedModule) and int(os.environ.get("RANK", 0)) == 0:
            _tell_unselected(module, splits, faces)
        data = _data_module(experiment, settings, faces, splits, module, plan)
        return cls(experiment, settings, faces, splits, metadata, module, data, protocols, criterion, plan)

    @property
    def opening(self) -> str:
        """What the run trains, in one sentence of Markdown."""
        model, images, seed = type(self.module).__name__, self.data.total_images, self.experiment.seed
        return f"{opening_of_training(model, self.faces, self.splits, images, seed)} {self.further}".rstrip()

    @property
    def metrics(self) -> list[Metric]:
        """All metrics the run may record."""
        of_protocols = [metric for protocol in self.protocols.values() for metric in protocol.metrics]
        return [*self.module.term_metrics, *_CLASSIFICATION_TERMS, *of_protocols]


def _check_fitted(experiment: Experiment, settings: TrainerSettings, model: str) -> None:
    """Refuse settings that a model fitted once cannot follow."""
    if experiment.augment.transforms:
        raise ConfigError(
            f"augment: {model} is fitted once to the training images as they are, so no augmentation would be seen. "
            "Remove augment=..., or set augment=none."
        )
    if settings.devices > 1:
        raise ConfigError(
            f"trainer.devices={settings.devices}: {model} is fitted once, in one process. Set trainer.devices=1."
        )


def _refuse_too_large(make: Callable[[], FaceModule]) -> None:
    """Count the weights without memory for them.

    Raises:
        ValueError: with gradients and two moments of each, they need more memory than this machine has.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            weights = sum(weight.numel() for weight in make().parameters())
    except (NotImplementedError, RuntimeError):
        return  # a model that looks at values while it is built
    needed, has = 4 * 4 * weights, psutil.virtual_memory().total
    if needed > has:
        raise ValueError(
            f"{weights:,} weights need {needed / 2**30:,.0f} GiB to train; this machine has {has / 2**30:,.0f} GiB. "
            "Lower widths, embedding_dim or latent_dim."
        )


def applicable(protocols: Mapping[str, Protocol], model: type[FaceModule]) -> dict[str, Protocol]:
    """The protocols that apply to a class of models.

    Raises:
        ConfigError: none does.
    """
    found = {name: protocol for name, protocol in protocols.items() if protocol.can_evaluate(model)}
    if not found:
        raise ConfigError(
            f"protocol: {', '.join(protocols) or 'none is given, and none'} cannot evaluate {model.__name__}. "
            "protocol=classification and protocol=verification apply to every model."
        )
    return found


def _criterion(
    experiment: Experiment, protocols: Mapping[str, Protocol], module: FaceModule, splits: Splits, faces: FaceSet
) -> Criterion | None:
    """The criterion that selects the best weights; None for the default."""
    settings = experiment.validation
    unknown = [name for name in settings.protocols if name not in protocols]
    if unknown:
        raise ConfigError(
            f"validation.protocols: '{unknown[0]}' is not among the protocols of this run that apply to its model: "
            f"{', '.join(protocols)}.{nearest(unknown[0], list(protocols))} Add it with protocol=[...]."
        )
    if (settings.protocols or settings.metric) and not len(splits.val):
        raise ConfigError(
            "validation: the split has no validation images. Choose one that has, such as split=ratio, or remove "
            "validation.protocols and validation.metric."
        )
    validated = as_validation(splits)
    for name in settings.protocols:
        protocols[name].check_validation(validated, faces)
    if settings.metric is None:
        return None
    measured = [metric for name in settings.protocols for metric in protocols[name].measured(validated, faces)]
    known = _validation_metrics(module, measured, _unseen(splits, faces))
    if settings.metric not in known:
        raise ConfigError(
            f"validation.metric={settings.metric}: validation records {', '.join(sorted(known)) or 'nothing here'}."
            f"{nearest(settings.metric, list(known))} Add the metrics of a protocol with validation.protocols=[...], "
            "or, for a rate at an operating point, validation images until 30 errors are expected there (rule of 30)."
        )
    return Criterion(settings.metric, known[settings.metric].higher_is_better)


def _unseen(splits: Splits, faces: FaceSet) -> bool:
    """Whether validation images show classes without training images, as in splits by people."""
    return bool(len(np.setdiff1d(faces.labels[splits.val], faces.labels[splits.train])))


def _tell_unselected(module: FaceModule, splits: Splits, faces: FaceSet) -> None:
    """Tell the user if validation has no metric that selects the weights: a classifier has none of people it was not
    trained on, and a model without a head whose loss compares images has none at all."""
    unseen = _unseen(splits, faces)
    if module.classifies and unseen:
        cause = "The validation images show classes without training images"
    elif not module.classifies and not module.has_validation_loss and len(splits.val):
        cause = "The loss compares images with each other, and there is no head"
    else:
        return
    protocol, metric = ("verification", "verification/auc") if unseen else ("classification", "knn/accuracy")
    print(
        f"{cause}, so this model has no val/loss and val/f1, and keeps its last weights. To select them by validation, "
        f"type protocol={protocol} validation.protocols=[{protocol}] validation.metric=val/{metric}."
    )


def _validation_metrics(module: FaceModule, measured: list[Metric], unseen: bool) -> dict[str, Metric]:
    """The metrics that validation records, by name.

    Args:
        module: the model.
        measured: by the protocols that are evaluated in validation.
        unseen: whether validation images show classes without training images.
    """
    terms = module.validation_metrics
    if module.classifies:
        terms = () if unseen else (*terms, *_CLASSIFICATION_TERMS)
    return {f"val/{metric.name}": metric for metric in terms} | {validation_name(one.name): one for one in measured}


def _planned(experiment: Experiment, faces: FaceSet, splits: Splits) -> Plan | None:
    """The plan of the synthetic faces, if there are any; a given generator is checked."""
    source = experiment.synthetic
    if source is None:
        return None
    source.check(faces)
    if isinstance(source, GeneratedFaces) and source.run is not None:
        folder = find_generator(source, Path(experiment.runtime.runs_folder), experiment.tracking)
        check_generator(source, folder, experiment.data, faces, splits)
    labels = faces.labels[splits.train]
    source.check_size(labels, math.prod(faces.image_shape))
    return source.plan(labels, faces.label_names[: labels.max() + 1])


def _check_batch_size(recipe: Recipe, devices: int) -> None:
    if recipe.batch_size % devices:
        raise ConfigError(
            f"model.recipe.batch_size={recipe.batch_size} is not divisible by "
            f"trainer.devices={devices}; choose a multiple."
        )
    if recipe.batch_size < 2 * devices:
        raise ConfigError(
            f"model.recipe.batch_size={recipe.batch_size} leaves each of trainer.devices={devices} processes "
            "one image a step, and batch norm needs at least two. Choose at least "
            f"model.recipe.batch_size={2 * devices}."
        )


def _refuse_share(share: float | None, recipe: Recipe, total: int) -> None:
    """Raise if the share of synthetic faces follows from their number, and yet one is given, or is too small."""
    if share is not None and total * share < 1:
        raise ConfigError(
            f"synthetic.share={share}: of the {total:,} images that are drawn in training, none would be synthetic. "
            f"Choose {1 / total:.2g} or more, or remove synthetic=."
        )
    if share is not None and recipe.sampling != "images":
        raise ConfigError(
            f"synthetic.share={share}: model.recipe.sampling={recipe.sampling} draws classes first and then images of "
            "them, so the share of synthetic faces is that among a class's images. Set synthetic.share=null."
        )


def _data_module(
    experiment: Experiment,
    settings: TrainerSettings,
    faces: FaceSet,
    splits: Splits,
    module: FaceModule,
    plan: Plan | None,
) -> FaceDataModule:
    recipe = module.recipe
    module.check_training(faces, splits.train, with_synthetic=plan is not None)
    indices, labels = splits.train, faces.labels[splits.train]
    share = None
    if plan is not None and experiment.synthetic is not None:
        share = experiment.synthetic.share
        _refuse_share(share, recipe, module.total_images(len(splits.train)))
        # The real images come first, see `facelab.synthetic.base.joined`.
        indices, labels = np.arange(len(labels) + len(plan)), np.concatenate([labels, plan.labels])
    _check_batch_size(recipe, settings.devices)
    order: Order
    if share is None:
        order = configured("model.recipe", lambda: _order(recipe, indices, labels, experiment.seed, settings.devices))
    else:
        real, synthetic = np.split(indices, [len(splits.train)])
        order = WithShare(real, synthetic, share, recipe.batch_size, experiment.seed)
    return FaceDataModule(
        faces,
        splits,
        experiment.augment,
        order,
        # As many steps as without synthetic faces; a model that is fitted once sees each of them, too.
        module.total_images(len(indices if isinstance(module, FittedModule) else splits.train)),
        experiment.seed,
        experiment.runtime.workers,
        module.needs_originals,
    )


def _order(recipe: Recipe, indices: Indices, labels: Indices, seed: int, devices: int) -> Order:
    size = recipe.batch_size
    if recipe.sampling == "images":
        return ByImage(indices, size, seed)
    if recipe.images_per_class is None:
        return Balanced(indices, labels, size, seed)
    order = PK(indices, labels, size, seed, recipe.images_per_class)
    if order.classes_per_batch % devices:
        raise ValueError(
            f"batch_size={size} with images_per_class={recipe.images_per_class} gives {order.classes_per_batch} "
            f"classes a batch, which trainer.devices={devices} processes cannot share without splitting one; choose a "
            f"batch_size that is a multiple of {devices * recipe.images_per_class}"
        )
    return order


def _model_metadata(faces: FaceSet, splits: Splits, plan: Plan | None) -> ModelMetadata:
    num_classes = int(faces.labels[splits.train].max()) + 1  # a split by people: training classes come first
    further = 0 if plan is None else len(plan.new_classes)
    return ModelMetadata(faces.image_shape, num_classes, tuple(faces.label_names[:num_classes]), further)


def _make_model(experiment: Experiment, metadata: ModelMetadata) -> FaceModule:
    make = functools.partial(metadata.build, experiment.model)
    _refuse_too_large(make)
    module = make()
    if module.transfer is not None and module.transfer.init_from is not None:
        runs_folder = Path(experiment.runtime.runs_folder)
        load_encoder(module, find_weights(module.transfer.init_from, runs_folder, experiment.tracking))
    # Set before averaging and optimisers hold references to the weights.
    return module.to(memory_format=torch.channels_last)
