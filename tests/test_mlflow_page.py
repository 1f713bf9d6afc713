"""MLflow's own page on a sweep, in a browser; run as a program, pictures of it for the documentation.

    python -m tests.test_mlflow_page FOLDER

takes them from the store in FOLDER, where the README's first sweep was made.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import unquote

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ROOT, TINY, free_port
from tests.mlflow_page import (
    CHROMIUM,
    add_image_grid,
    choose_step,
    chromium,
    compare,
    drag_to_the_start,
    expand,
    expect_pictures,
    open_description,
    open_runs,
    run_link,
    run_links,
    show_charts,
    show_scatter,
)

FIRST, SECOND, AUTOENCODER = "cnn · seed=1", "cnn · seed=2", "autoencoder · seed=1"
NAMES = {FIRST, SECOND, AUTOENCODER, "autoencoder · seed=2"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs a browser: no {CHROMIUM} (apt-get install chromium)"),
]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address that `facelab ui` prints for the store in a folder."""
    program = "from facelab.cli import main; raise SystemExit(main())"
    with NamedTemporaryFile() as said:  # a pipe would fill with the server's lines, and the server wait for a reader
        process = subprocess.Popen(
            [sys.executable, "-c", program, "ui", f"port={free_port()}"],
            cwd=folder,
            stdout=said,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not (found := re.search(r"http://\S+", Path(said.name).read_text(encoding="utf-8"))):
                assert process.poll() is None
                time.sleep(0.1)
            yield found[0]
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def _steps(folder: Path, picture: str) -> list[int]:
    """At which numbers of images seen the first autoencoder recorded a picture."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{AUTOENCODER}'")
    paths = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
    return sorted({int(found[1]) for path in paths if (found := re.search(rf"/{picture}\+step\+(\d+)", path))})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two models and two seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    axes = ["-m", "model=cnn,autoencoder", "seed=1,2", "sweep.name=families"]
    recipe = ["model.recipe.batch_size=16", "model.recipe.max_images=160"]
    command = [sys.executable, str(ROOT / "train.py"), *axes, *TINY, *recipe]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> str:
    """Name of an evaluation of the first CNN on its own test faces."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{FIRST}'")
    program = "from facelab.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "evaluate", f"run={run.info.run_id}", "trainer=cpu", "trainer.threads=1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"eval on orl s1..s6 of {FIRST}"


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = open_runs(browser, address)
    yield page
    page.close()


def test_children_nest_under_their_sweep_with_names_of_their_own(page: Page) -> None:
    links = run_links(page).filter(has_text=re.compile("families|seed="))
    expect(links).to_have_text(["families"])
    expand(page, "families")
    expect(links).to_have_count(1 + len(NAMES))
    assert set(links.all_inner_texts()) == {"families", *NAMES}
    parent, *children = [box["x"] for link in links.all() if (box := link.bounding_box()) is not None]
    assert min(children) > parent
    expand(page, "families")
    expect(links).to_have_text(["families"])


def test_three_runs_are_compared(page: Page) -> None:
    expand(page, "families")
    compare(page, [FIRST, SECOND, AUTOENCODER])
    expect(page.get_by_role("heading", name="Comparing 3 Runs from 1 Experiment")).to_be_visible()
    expect(page.get_by_role("tabpanel").locator(".js-plotly-plot .parcoords").first).to_be_visible()
    names = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Run Name:"))
    expect(names.get_by_role("cell")).to_have_text([FIRST, SECOND, AUTOENCODER])
    run_ids = re.findall(r"\b[0-9a-f]{32}\b", unquote(page.url))
    assert len(run_ids) == 3
    # One row of the table, with a value of each run: whatever the model, the metric has the same name.
    metric = page.get_by_role("link", name="linear_probe/accuracy", exact=True)
    expect(metric).to_have_count(1)
    assert re.findall(r"\b[0-9a-f]{32}\b", metric.get_attribute("href") or "") == run_ids
    show_scatter(page, "model", "test/accuracy")


def test_charts_of_all_runs_of_a_sweep(page: Page) -> None:
    show_charts(page)
    expand(page, "families")
    search = page.get_by_placeholder("Search metric charts")
    for metric in ("test/accuracy", "val/loss"):
        search.fill(f"^{metric}$")
        expect(page.get_by_role("heading", name=metric, exact=True)).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(1)
        for name in NAMES:
            expect(page.get_by_role("main").get_by_text(name).last).to_be_attached()
    expect(page.locator(".js-plotly-plot .scatterlayer .trace").nth(len(NAMES) - 1)).to_be_attached()


def test_pictures_of_a_run_on_a_slider(page: Page, folder: Path) -> None:
    steps = _steps(folder, "reconstructions")
    assert len(steps) > 1
    expand(page, "families")
    run_link(page, AUTOENCODER).click()
    page.get_by_role("tab", name="Model metrics").click()
    form = add_image_grid(page, "reconstructions")
    slider = form.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuemin", str(steps[0]))
    expect(slider).to_have_attribute("aria-valuemax", str(steps[-1]))
    # MLflow begins at 0, where these have no picture yet.
    expect(form.get_by_text("No image logged at this step")).to_be_visible()
    choose_step(form, steps[-1])
    expect(slider).to_have_attribute("aria-valuenow", str(steps[-1]))
    picture = form.locator("img")
    expect_pictures(picture)
    last = picture.get_attribute("src") or ""
    drag_to_the_start(page, slider)
    expect(slider).to_have_attribute("aria-valuenow", str(steps[0]))
    expect(picture).not_to_have_attribute("src", last)
    expect_pictures(picture)
    form.get_by_role("button", name="Add chart").click()
    expect_pictures(page.get_by_role("main").locator("img"))


def test_pictures_of_several_runs_side_by_side(page: Page) -> None:
    show_charts(page)
    expand(page, "families")
    expect(run_link(page, FIRST)).to_be_visible()
    form = add_image_grid(page, "confusion_matrix")
    expect_pictures(form.locator("img"), at_least=4)


def test_a_run_opens_on_its_description(page: Page, tmp_path: Path) -> None:
    expand(page, "families")
    run_link(page, FIRST).click()
    description = open_description(page)
    expect(description).to_contain_text("CNN trained on orl s1..s6: 36 images of 6 people for training")
    expect(description.get_by_role("row", name=re.compile("^accuracy .*% to .*%"))).to_be_visible()
    expect_pictures(description.locator("img"), at_least=3)
    expect(description.locator("pre")).to_contain_text("model=cnn seed=1")
    page.screenshot(path=tmp_path / "description.png", full_page=True)
    with page.expect_popup() as opened:
        description.locator("img").first.click()
    expect_pictures(opened.value.get_by_role("main").locator("img"))
    opened.value.close()


def test_a_sweep_opens_on_its_answer(page: Page, tmp_path: Path) -> None:
    run_link(page, "families").click()
    description = open_description(page)
    expect(description).to_contain_text(re.compile("^Best: (cnn|autoencoder), with test/accuracy"))
    expect_pictures(description.locator("img"), at_least=2)
    expect(description.locator("pre")).to_contain_text("sweep.name=families")
    page.screenshot(path=tmp_path / "answer.png", full_page=True)
    with page.expect_popup() as opened:
        description.get_by_role("link", name="comparison.html").click()
    report = opened.value.frame_locator("iframe")
    expect(report.get_by_role("heading", name="sweep families")).to_be_visible()
    opened.value.close()


def test_an_evaluation_is_below_its_run_and_opens_on_its_description(page: Page, evaluation: str) -> None:
    expand(page, "families")
    expect(run_link(page, evaluation)).to_have_count(0)
    expand(page, FIRST)
    parent, child = (run_link(page, name).bounding_box() for name in (FIRST, evaluation))
    assert parent is not None
    assert child is not None
    assert child["x"] > parent["x"]
    run_link(page, evaluation).click()
    description = open_description(page)
    expect(description.get_by_role("link", name=FIRST)).to_be_visible()
    expect(description.locator("pre")).to_contain_text("facelab evaluate run=")
    expect_pictures(description.locator("img"), at_least=3)


def test_the_comparison_opens_on_the_page_of_the_sweep(page: Page) -> None:
    run_link(page, "families").click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("listitem").filter(has_text="comparison.html").click()
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", name="sweep families")).to_be_visible()
    expect_pictures(report.locator("img"))


def _widen_names(page: Page) -> None:
    """Drag the column of names as wide as the longest."""
    heading = page.get_by_role("columnheader", name="Run Name").first.bounding_box()
    assert heading is not None
    edge, middle = heading["x"] + heading["width"] - 2, heading["y"] + heading["height"] / 2
    page.mouse.move(edge, middle)
    page.mouse.down()
    page.mouse.move(edge + 110, middle, steps=10)
    page.mouse.up()


def take_pictures(folder: Path, images: Path) -> None:
    """Write mlflow_sweep.png, mlflow_compare.png and mlflow_pictures.png.

    Args:
        folder: with a store and in it the README's first sweep.
        images: where to.
    """
    with served(folder) as address, chromium() as browser:
        page = open_runs(browser, address)
        expand(page, "first")
        expect(run_link(page, FIRST)).to_be_visible()
        _widen_names(page)
        page.get_by_role("button", name="Columns").click()
        columns = page.locator("[class*=tree-title]")
        for name in (
            "Dataset",
            "Source",
            "Models",
            "test/accuracy",
            "test/f1",
            "linear_probe/accuracy",
            "knn/accuracy",
        ):
            columns.get_by_text(name, exact=True).click()
        page.keyboard.press("Escape")
        page.mouse.click(1100, 60)
        expect(columns).to_have_count(0)
        page.screenshot(path=images / "mlflow_sweep.png")

        compare(page, [FIRST, "cnn_arcface · seed=1", AUTOENCODER])
        show_scatter(page, "model", "test/accuracy")
        page.screenshot(path=images / "mlflow_compare.png")
        page.close()

        page = open_runs(browser, address)
        show_charts(page)
        expand(page, "first")
        expect(run_link(page, FIRST)).to_be_visible()
        form = add_image_grid(page, "embeddings")
        expect_pictures(form.locator("img"), at_least=9)
        form.get_by_role("button", name="Add chart").click()
        expect(form).to_have_count(0)
        page.set_viewport_size({"width": 1400, "height": 1140})  # three rows of pictures
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.locator("img"))
        card.get_by_role("button").first.click()  # the whole screen
        expect_pictures(page.get_by_role("dialog").locator("img"), at_least=9)
        page.mouse.move(5, 5)
        page.screenshot(path=images / "mlflow_pictures.png")
        page.close()

        (report,) = folder.glob("runs/*/comparison.html")
        page = browser.new_page(viewport={"width": 1100, "height": 1080})
        page.goto(report.absolute().as_uri())
        page.screenshot(path=images / "comparison.png")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]), ROOT / "docs" / "images")
