"""Templates: verification of people by several images each, as IJB-B and IJB-C ask it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.listing import some_of
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.metrics import Metric
from facelab.metrics.verification import auc, eer, roc, tar_at_far
from facelab.protocols import backends
from facelab.protocols.base import Protocol, Report, Subject, Table
from facelab.protocols.intervals import ScoredPairs
from facelab.protocols.operating_points import FARS, left_out, rate_text, refuse_other_fars, supported
from facelab.protocols.template_intervals import tar_intervals
from facelab.protocols.template_lists import TemplateLists, read_templates
from facelab.protocols.unseen import require_unseen
from facelab.protocols.verification_plots import roc_curve

_KEY = "protocol.templates"


class Templates(Protocol):
    """Verification of pairs of templates, lists of images of a person, in the form of IJB-B and IJB-C.

    A template's embedding is the sum over its media of the mean over the media's images of embedding times detector
    score; the score of two templates is their cosine (Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", 2017;
    Maze et al., "IARPA Janus Benchmark-C", 2018; as insightface evaluates them). Embeddings keep their length, and
    cover the mirrored image where the model's test-time augmentation does. Reports TAR at FAR <= each target.

    Args:
        templates: file with a line `name template media` for each image of a template.
        pairs: file with a line `template template label` for each pair, label 1 for one person, else 0.
        scores: file with a line `name x1 y1 ... x5 y5 score` for each image, for detector scores; null for none.
        far: FARs at which the TAR is reported, among 1e-1, 1e-2, ..., 1e-6; null for all that the pairs support.

    Raises:
        ValueError: a FAR is none of these.
    """

    metrics = (
        *(
            Metric(f"templates/tar_at_far_{rate_text(far)}", f"TAR at FAR {rate_text(far)}", True, "share")
            for far in FARS
        ),
        Metric("templates/eer", "equal error rate of templates", False, "share", headline=True),
        Metric("templates/templates", "templates", True),
        Metric("templates/genuine_pairs", "genuine pairs of templates", True),
        Metric("templates/impostor_pairs", "impostor pairs of templates", True),
        Metric("test/images", "test images", True, "images"),
    )

    def __init__(
        self, templates: str, pairs: str, scores: str | None = None, far: Sequence[float] | None = None
    ) -> None:
        refuse_other_fars(far)
        self.templates, self.pairs, self.scores, self.far = templates, pairs, scores, far

    def needs_training_images(self, splits: Splits, faces: FaceSet) -> bool:
        """False: cosines are not fitted."""
        return False

    def check(self, splits: Splits, faces: FaceSet) -> None:
        """Check that the lists are usable and of unseen test images, and that their pairs support `far`."""
        lists = read_templates(self.templates, self.pairs, self.scores, faces)
        elsewhere = np.setdiff1d(lists.image, splits.test)
        if len(elsewhere):
            raise ConfigError(
                f"{_KEY}.templates: {len(elsewhere):,} of its images are not test images: "
                f"{some_of([faces.names[int(i)] for i in elsewhere])}. Set a split that tests all of them, such as "
                "split=all for `facelab evaluate`, or split=official with a column part."
            )
        require_unseen(splits, faces, "protocol=templates")
        refused = left_out("FAR", f"{_KEY}.far", self.far or (), int((~lists.genuine).sum()), "impostor pairs", FARS)
        if refused:
            raise ConfigError(f"{_KEY}.far: {refused} Correct it.")

    def evaluate(self, subject: Subject) -> Report:
        """Compare the pairs of templates."""
        lists, test = read_templates(self.templates, self.pairs, self.scores, subject.faces), subject.test
        pooled = template_embeddings(test.embeddings, np.searchsorted(test.indices, lists.image), lists)
        scores = backends.fit("cosine", pooled, lists.people)(pooled).pairs(lists.first, lists.second)
        genuine, impostor = (
            ScoredPairs(scores[of], lists.people[lists.first[of]], lists.people[lists.second[of]])
            for of in (lists.genuine, ~lists.genuine)
        )
        curve = roc(torch.from_numpy(genuine.scores), torch.from_numpy(impostor.scores))
        equal_error = eer(curve)
        asked = FARS if self.far is None else self.far
        fars = supported(asked, len(impostor.scores))
        tars = [tar_at_far(curve, far) for far in fars]
        intervals = tar_intervals(genuine, impostor, int(lists.people.max()) + 1, tars, fars)
        names = [f"templates/tar_at_far_{rate_text(far)}" for far in fars]
        count = len(np.unique(lists.template))
        title = (
            f"{count:,} templates of {len(lists.image):,} images, {len(genuine.scores):,} genuine and "
            f"{len(impostor.scores):,} impostor pairs"
        )
        rows = [["equal error rate", f"{equal_error:.2%}", ""]]
        rows += [
            [f"TAR at FAR {rate_text(far)}", f"{tar:.2%}", f"{low:.2%} to {high:.2%}"]
            for far, tar, (low, high) in zip(fars, tars, intervals, strict=True)
        ]
        missing = left_out("FAR", f"{_KEY}.far", asked, len(impostor.scores), "impostor pairs", FARS)
        return Report(
            {
                **dict(zip(names, tars, strict=True)),
                "templates/eer": equal_error,
                "templates/templates": float(count),
                "templates/genuine_pairs": float(len(genuine.scores)),
                "templates/impostor_pairs": float(len(impostor.scores)),
                "test/images": float(len(test.labels)),
            },
            Table(title, ["", "test", "95 % interval"], rows),
            dict(zip(names, intervals, strict=True)),
            {"templates_roc": roc_curve(curve, auc(curve), equal_error, fars)},
            notes=[f"templates: {missing}"] if missing else [],
        )


def template_embeddings(embeddings: NDArray[np.float32], places: Indices, lists: TemplateLists) -> NDArray[np.float32]:
    """Embeddings (T, D) of templates: sums over media of the means over their images of embedding times weight.

    Args:
        embeddings: (N, D) of images.
        places: (E,) the image of each entry of the lists.
        lists: the templates.
    """
    order = np.lexsort((lists.media, lists.template))
    template, media = lists.template[order], lists.media[order]
    starts = np.flatnonzero((np.diff(template, prepend=-1) != 0) | (np.diff(media, prepend=0) != 0))
    weighted = embeddings[places[order]]
    weighted *= lists.weight[order, None]
    means = np.add.reduceat(weighted, starts) / np.diff(np.append(starts, len(order)))[:, None].astype(np.float32)
    pooled: NDArray[np.float32] = np.add.reduceat(means, np.flatnonzero(np.diff(template[starts], prepend=-1)))
    return pooled
