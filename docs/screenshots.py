"""Make the pictures of the documentation, from the program as it is.

    sl-assets run pocket --animals owl      # what the pictures show
    sl-assets ui &
    python docs/screenshots.py

The graph is what Chromium (or Chrome), which has to be installed, shows of the UI; charts are the drawings in the lake.
"""

import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import click
from PIL import Image
from vl_convert import svg_to_png

from sl_assets.config import PROJECT
from sl_assets.definitions import open_lake
from sl_assets.lake.places import Place

PICTURES = PROJECT / ".readme"
CHARTS = ("preference_chart", "split_chart")
CHART_SCALE = 2
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The report reads of nearly everything: its lines would hide the others.
SELECTION = 'group:"pocket" and not key:"pocket/experiment_report"'
WINDOW, SCALE = (1800, 1000), 1.5
ASIDE, ABOVE = 545, 115
"""Pixels of the window that navigation and the list of assets take, and the search."""
BUTTONS = (60, 350)
"""Pixels of the corner, at the right and at the bottom, that has buttons in it."""
DARK, MARGIN = 225, 24
"""What is lighter than the first is background and its dots; pixels that are left around the graph."""


@click.command()
@click.option("--ui", default="http://127.0.0.1:3000", show_default=True, help="Where the UI runs.")
def main(ui: str) -> None:
    """Write the pictures to .readme/."""
    lake = open_lake()
    for chart in CHARTS:
        drawing = lake.picture(Place("pocket", chart)).with_suffix(".svg")
        if not drawing.exists():
            raise click.ClickException(f"{drawing}: not there; sl-assets run pocket --animals owl")
        drawn = Image.open(BytesIO(svg_to_png(drawing.read_text(), scale=CHART_SCALE)))
        keep(drawn.convert("RGB"), chart)
    keep(graph_of(screenshot(f"{ui}/asset-groups~{quote(SELECTION, safe='')}/")), "asset_graph")


def keep(picture: Image.Image, name: str) -> None:
    """Write ``picture`` among those of the documentation."""
    picture.save(PICTURES / f"{name}.png", optimize=True)


def screenshot(url: str) -> Image.Image:
    """What a browser without a window shows of ``url`` once it has loaded."""
    try:
        urlopen(url).close()
    except URLError as error:
        raise click.ClickException(f"--ui: nobody answers at {url} ({error.reason}); sl-assets ui") from None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"none of {', '.join(BROWSERS)} is installed")
    options = [
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={WINDOW[0]},{WINDOW[1]}",
        f"--force-device-scale-factor={SCALE}",
        # Timers run ahead while nothing is loading, so that whatever the page waits for has come.
        "--virtual-time-budget=30000",
        # Its sandbox does not start where everything runs as root, as in a container.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        subprocess.run([browser, *options, f"--screenshot={file}", url], check=True, stderr=subprocess.DEVNULL)
        with Image.open(file) as page:
            return page.convert("RGB")


def graph_of(page: Image.Image) -> Image.Image:
    """The part of ``page`` in which the graph is drawn."""
    area = page.crop((round(SCALE * ASIDE), round(SCALE * ABOVE), page.width, page.height))
    wide, high = (round(SCALE * pixels) for pixels in BUTTONS)
    area.paste("white", (area.width - wide, area.height - high, area.width, area.height))
    drawn = area.convert("L").point(lambda light: 255 if light < DARK else 0).getbbox()
    if drawn is None:
        sys.exit("the page shows no graph: is the experiment loaded?")
    return area.crop(
        (
            max(drawn[0] - MARGIN, 0),
            max(drawn[1] - MARGIN, 0),
            min(drawn[2] + MARGIN, area.width),
            min(drawn[3] + MARGIN, area.height),
        )
    )


if __name__ == "__main__":
    main()
