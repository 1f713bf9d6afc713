"""What a person does on the page of MLflow, in a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # In containers there is neither a sandbox nor much of /dev/shm.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def open_runs(browser: Browser, address: str) -> Page:
    """The table of runs, as someone sees it who has never been there."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    for _ in range(int(PATIENCE_MS / 500)):
        try:
            page.goto(address)
            break
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            page.wait_for_timeout(500)
    page.get_by_role("button", name="Close", exact=True).click()  # MLflow's assistant, open by default
    expect(page.get_by_role("grid")).to_be_visible()
    return page


def expand(page: Page, sweep: str) -> None:
    """Show a sweep's children in the table."""
    parent = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=sweep, exact=True))
    parent.get_by_role("button").click()


def run_links(page: Page) -> Locator:
    """The links of the table that lead to runs; a wide window shows links of the same names to logged models, too."""
    return page.get_by_role("grid").locator("a[href*='/runs/']")


def run_link(page: Page, name: str) -> Locator:
    return run_links(page).and_(page.get_by_role("link", name=name, exact=True))


def open_description(page: Page) -> Locator:
    """Unfold the description that a run's page opens on."""
    page.get_by_test_id("show-comment-toggle").click()
    return page.get_by_test_id("note-view-outer-container").first


def show_charts(page: Page) -> None:
    """Change from the table of runs to their charts."""
    page.locator("label").filter(has=page.locator("input[value=CHART]")).click()


def compare(page: Page, names: list[str]) -> None:
    """Mark runs in the table and press Compare."""
    for name in names:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
        row.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()


def show_scatter(page: Page, across: str, up: str) -> None:
    """Draw one quantity over another, on the page that compares runs."""
    page.get_by_role("tab", name="Scatter Plot").click()
    panel = page.get_by_role("tabpanel", name="Scatter Plot")
    for axis, quantity in (("X-axis:", across), ("Y-axis:", up)):
        panel.get_by_role("combobox", name=axis).click()
        page.get_by_role("option", name=quantity, exact=True).click()
    for layer, quantity in ((".g-xtitle", across), (".g-ytitle", up)):
        expect(panel.locator(f".js-plotly-plot {layer}")).to_have_text(quantity)
    expect(panel.locator(".js-plotly-plot canvas").first).to_be_attached()  # the points, drawn by WebGL


def add_image_grid(page: Page, picture: str) -> Locator:
    """Fill in the form for a grid of images.

    Returns:
        The form, to be confirmed with its button.
    """
    page.get_by_role("button", name="Add chart").first.click()
    page.get_by_role("menuitem", name="Image grid").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox", name="Images").click()
    page.get_by_role("option", name=picture, exact=True).click()
    page.keyboard.press("Escape")
    form.get_by_role("switch", name="Show run parameters").click()
    return form


def choose_step(form: Locator, step: int) -> None:
    """Type images seen into the number beside the slider, which follows when the number is left."""
    number = form.get_by_role("spinbutton")
    number.fill(str(step))
    number.press("Tab")


def drag_to_the_start(page: Page, slider: Locator) -> None:
    """Pull a slider as far to the left as it goes."""
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] - 400, middle, steps=10)
    page.mouse.up()


def expect_pictures(pictures: Locator, at_least: int = 1) -> None:
    """Wait until so many pictures are there and loaded."""
    expect(pictures.nth(at_least - 1)).to_be_visible()
    for picture in pictures.all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
