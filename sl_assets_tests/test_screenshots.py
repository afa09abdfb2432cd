"""The pictures of the documentation: what of a page is the graph."""

from importlib.util import module_from_spec, spec_from_file_location

import pytest
from PIL import Image

from sl_assets.config import PROJECT

spec = spec_from_file_location("screenshots", PROJECT / "docs" / "screenshots.py")
assert spec
assert spec.loader
screenshots = module_from_spec(spec)
spec.loader.exec_module(screenshots)

WIDTH, HEIGHT = (round(pixels * screenshots.SCALE) for pixels in screenshots.WINDOW)


def page_with(*boxes: tuple[int, int, int, int]) -> Image.Image:
    """A page with the UI around a graph of ``boxes``."""
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    page.paste("black", (0, 0, 700, HEIGHT))
    page.paste("black", (WIDTH - 60, HEIGHT - 300, WIDTH - 20, HEIGHT - 20))
    for box in boxes:
        page.paste("gray", box)
    return page


def test_the_graph_is_cut_out_of_the_page() -> None:
    graph = screenshots.graph_of(page_with((1000, 500, 1100, 550), (2000, 900, WIDTH, 950)))
    margin = screenshots.MARGIN
    assert graph.size == (WIDTH - 1000 + margin, 950 - 500 + 2 * margin)
    assert graph.getpixel((margin, margin)) == (128, 128, 128)


def test_a_page_without_a_graph_is_no_picture() -> None:
    with pytest.raises(SystemExit, match="shows no graph"):
        screenshots.graph_of(page_with())
