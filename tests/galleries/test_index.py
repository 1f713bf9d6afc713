"""The index of a gallery, against the exact search."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
import torch

from facelab.errors import ConfigError
from facelab.galleries import index
from facelab.galleries.search import nearest
from tests.galleries.made import directions

pytest.importorskip("faiss")


def clustered(count: int, seed: int, around: int = 200) -> torch.Tensor:
    """(count, 8) directions in narrow clusters."""
    noise = 0.1 * directions(count, seed=seed)
    return torch.nn.functional.normalize(directions(around, seed=99)[torch.arange(count) % around] + noise)


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def best_of(people: torch.Tensor, probes: torch.Tensor) -> torch.Tensor:
    return nearest(people, probes, 1).scores[:, 0]


def test_searching_all_lists_is_the_exact_search() -> None:
    people, probes = directions(500), 3 * directions(40, seed=1)
    made = index.Index(people)
    assert made.searched == made.lists == 22
    found, exact = made.nearest(probes, 3), nearest(people, probes, 3)
    assert torch.equal(found.people, exact.people)
    torch.testing.assert_close(found.scores, exact.scores, atol=1e-6, rtol=0)


def test_as_many_lists_are_searched_as_the_faces_need() -> None:
    people, faces = clustered(2000, seed=1), clustered(200, seed=2)
    narrow, wide, others = index.Index(people), index.Index(directions(2000)), directions(200, seed=1)
    narrow.tune(faces, best_of(people, faces))
    wide.tune(others, best_of(directions(2000), others))
    assert narrow.searched <= 2
    assert wide.searched == wide.lists == 45
    assert index.count_best(narrow.nearest(faces, 1).scores[:, 0], best_of(people, faces)) >= 198


def test_the_same_gallery_gives_the_same_answers() -> None:
    people, probes = directions(1000), directions(50, seed=1)
    made = [index.Index(people), index.Index(people)]
    for one in made:
        one.searched = 3
    first, second = (one.nearest(probes, 3) for one in made)
    assert torch.equal(first.people, second.people)
    assert torch.equal(first.scores, second.scores)


def test_what_is_missed_only_lowers_scores() -> None:
    """So a stranger who is rejected by the exact search is rejected by the index, at any threshold."""
    people, strangers = directions(2000), directions(300, seed=1)
    made = index.Index(people)
    made.searched = 1
    found, exact = made.nearest(strangers, 1).scores, nearest(people, strangers, 1).scores
    assert (found < exact - 1e-3).any()
    assert (found <= exact + 1e-6).all()


def test_more_people_are_asked_for_than_the_lists_hold() -> None:
    people = clustered(40, seed=1)
    made = index.Index(people)
    made.searched = 1
    found, exact = made.nearest(people[:5], 39), nearest(people, people[:5], 39)
    assert torch.equal(found.people[:, 0], torch.arange(5))
    torch.testing.assert_close(found.scores, exact.scores, atol=1e-6, rtol=0)
    assert made.nearest(people[:2], 100).people.shape == (2, 40)
    assert made.nearest(torch.zeros(1, 8), 3).scores.tolist() == [[0.0, 0.0, 0.0]]
    assert made.nearest(torch.zeros(0, 8), 3).people.shape == (0, 3)


def test_the_first_faces_are_searched_exactly_and_a_sample_of_the_others_too() -> None:
    people, faces = clustered(8000, seed=1), clustered(1600, seed=2)
    searching, exact = index.IndexedSearch(people, no_progress), nearest(people, faces, 3)
    for start in (0, 400, 800):
        found = searching.search(faces[start : start + 400].numpy(), 3)
        assert torch.equal(found.people, exact.people[start : start + 400])
    assert "exactly: an index is made after 1,000 faces" in searching.in_words()
    found = searching.search(faces[1200:].numpy(), 3)
    assert index.count_best(found.scores[:, 0], exact.scores[1200:, 0]) > 380
    assert re.search(r"searched \d of 89 lists\. .* of (9\d|100) of 100 faces", searching.in_words())


def test_an_index_that_takes_as_long_is_not_used() -> None:
    people, faces = directions(2000, dim=64), directions(1200, dim=64, seed=1)
    searching, exact = index.IndexedSearch(people, no_progress), nearest(people, faces, 3)
    searching.search(faces[:1000].numpy(), 3)
    assert torch.equal(searching.search(faces[1000:].numpy(), 3).people, exact.people[1000:])
    assert "All faces were searched exactly: to find the nearest person of 99% of" in searching.in_words()


def test_each_person_advances_the_progress() -> None:
    steps: list[int] = []
    index.Index(directions(50), lambda: steps.append(1))
    assert len(steps) == 50


@pytest.mark.slow
def test_an_index_takes_less_than_half_of_the_memory_of_the_embeddings() -> None:
    people = torch.nn.functional.normalize(torch.randn(100_000, 512, generator=torch.Generator().manual_seed(0)))
    index.Index(people[:1000]).nearest(people[:10], 3)
    before = psutil.Process().memory_info().rss
    made = index.Index(people)
    grown = (psutil.Process().memory_info().rss - before) / people.nbytes
    print(f"memory of the index: {grown:.2f} times that of the embeddings")
    made.searched = 1
    assert torch.equal(made.nearest(people[:10], 1).people[:, 0], torch.arange(10))
    assert grown < 0.5


def test_without_faiss_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    index.refuse_missing()
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"^index=faiss needs the package faiss-cpu.* pip install 'facelab\[faiss\]'"):
        index.refuse_missing()
