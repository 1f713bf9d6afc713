"""The search of a gallery, against sorting all cosines and against the searches of protocol=identification."""

import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from facelab.galleries import search
from facelab.galleries.search import nearest
from facelab.protocols import backends
from facelab.protocols.enrolment import draw_enrolment
from facelab.protocols.searches import search as search_of_protocol
from facelab.protocols.searches import templates
from tests.galleries.made import directions, gallery


@pytest.mark.parametrize(("enrolled", "k", "block"), [(1, 3, 100), (500, 3, 64), (500, 1, 100_000), (7, 7, 1)])
def test_every_block_size_gives_the_order_of_all_cosines(
    enrolled: int, k: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_BLOCK_SCORES", block)
    people, probes = directions(enrolled), 3 * directions(20, seed=1)
    found = nearest(people, probes, k)
    cosines = (people.double() @ directions(20, seed=1).double().T).T.numpy()
    order = np.argsort(-cosines, axis=1)[:, :k]
    assert (found.people.numpy() == order).all()
    np.testing.assert_allclose(found.scores.numpy(), np.take_along_axis(cosines, order, 1), atol=1e-6)


def test_it_finds_whom_the_identification_protocol_finds() -> None:
    identities = np.repeat(np.arange(30), 4)
    embeddings = (directions(30).repeat_interleave(4, 0) + 0.5 * directions(120, seed=1)).numpy()
    enrolment = draw_enrolment(identities, 2, 0.5, 0)
    theirs = search_of_protocol(embeddings, identities, enrolment, backends.fit("cosine", embeddings, identities))
    owners = np.searchsorted(enrolment.people, identities[enrolment.gallery])
    people = torch.from_numpy(backends.unit(templates(embeddings[enrolment.gallery], owners)))
    ours = nearest(people, torch.from_numpy(embeddings[enrolment.non_mated]), 1)
    assert (ours.people[:, 0].numpy() == theirs.nearest).all()
    np.testing.assert_allclose(ours.scores[:, 0].numpy(), theirs.best, atol=1e-6)


def test_no_probe_and_a_zero_embedding(tmp_path: Path) -> None:
    assert gallery().search(np.zeros((0, 8), np.float32), 3).people.shape == (0, 3)
    assert gallery().search(np.zeros((1, 8), np.float32), 3).scores.tolist() == [[0.0, 0.0, 0.0]]
    nobody = gallery(0).search(np.ones((2, 8), np.float32), 3)
    assert nobody.people.shape == nobody.scores.shape == (2, 0)


@pytest.mark.slow
def test_a_hundred_of_a_million_people_are_found() -> None:
    """The duration is printed and not asserted; memory is that of the whole process, with the gallery."""
    people = torch.nn.functional.normalize(torch.randn(1_000_000, 512, generator=torch.Generator().manual_seed(0)))
    planted = torch.arange(0, 1_000_000, 10_000)
    probes = people[planted] + 0.02 * torch.randn(100, 512, generator=torch.Generator().manual_seed(1))
    begin = time.perf_counter()
    found = nearest(people, probes, 3)
    seconds, peak_gib = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"100 searches of 1,000,000 people: {seconds:.2f} s; memory of the process {peak_gib:.1f} GiB")
    assert (found.people[:, 0] == planted).all()
