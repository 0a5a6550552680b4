"""Pictures of the demo's report and of the API's page, for the README: docs/images/*.png.

Reads a finished runs/demo and changes nothing in it. The page comes from the real API over a copy
of the demo's registry and store, with fake voices: no policy is loaded and no event is sent. Needs
a Chromium on the path.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # The tests' fakes are no part of the installed packages.

from models.registry import Registry  # noqa: E402
from rluf.demo.report import render  # noqa: E402
from serving.meters import Meters  # noqa: E402
from tests.end_to_end.conftest import ARGUMENTS, CHROMIUMS, DESK, PHONE  # noqa: E402
from tests.serving.conftest import FAST, Place  # noqa: E402
from tests.serving.fakes import FakeClock, FakeLoader, FakeProducer  # noqa: E402
from tests.serving.live_server import running  # noqa: E402

BYTES_MAX = 300_000
COLOURS = 128
"""Of the palette: the pages are flat, so nobody sees the difference, and files are a third."""
AFTER = timedelta(minutes=1)
"""How long after its last event the demo is looked at."""
STORED = ("store", "snapshots")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: where it is taken, and how much of it."""

    name: str
    until: str
    """The part of the page at whose foot the picture ends."""
    width: int = DESK
    scheme: str = "light"
    scale: float = 1.0


REPORT = (
    Picture(name="report.png", until="section[aria-labelledby=loved]"),
    Picture(
        name="report-dark-phone.png",
        until="section[aria-labelledby=loved]",
        width=PHONE,
        scheme="dark",
        scale=2.0,
    ),
)
PAGE = (Picture(name="page.png", until="section[aria-labelledby=activity]"),)


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    asked = parser.parse_args()
    chromium = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if chromium is None:
        sys.exit(f"no Chromium on the path: looked for {', '.join(CHROMIUMS)}")
    document = asked.demo / "report.json"
    if not (asked.demo / "report.html").exists():
        sys.exit(f"{asked.demo} holds no finished demo; run `make demo` first")
    facts = json.loads(document.read_text("utf-8"))
    asked.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        served(asked.demo, Path(folder) / "home") as url,
    ):
        report = Path(folder) / "report.html"
        report.write_text(render(facts), "utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        for pictures, address in ((REPORT, report.as_uri()), (PAGE, url)):
            for picture in pictures:
                file = asked.out / picture.name
                file.write_bytes(take(browser, address, picture))
                print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
        browser.close()


@contextmanager
def served(demo: Path, home: Path) -> Iterator[str]:
    """Serve a copy of what the demo's registry and store hold; gives the page's address."""
    home.mkdir()
    shutil.copy(demo / "registry.db", home)
    for name in STORED:
        shutil.copytree(demo / name, home / name)
    registry = Registry(f"sqlite:///{home / 'registry.db'}", root=home)
    place = Place(
        root=home,
        registry=registry,
        producer=FakeProducer(),
        loader=FakeLoader(),
        clock=FakeClock(at=last_move(registry) + AFTER),
        meters=Meters(),
    )
    with running(place.room(FAST)) as url:
        yield url
    registry.close()


def last_move(registry: Registry) -> datetime:
    """When the demo last changed what is live, which is when it ended."""
    times = [arms.set_at for arms in registry.arm_history(FAST.model)]
    return max((at for at in times if at is not None), default=datetime.now(UTC))


def take(browser: Browser, address: str, picture: Picture) -> bytes:
    """Give the picture as an optimised PNG."""
    page = browser.new_page(
        viewport={"width": picture.width, "height": 900},
        color_scheme="dark" if picture.scheme == "dark" else "light",
        device_scale_factor=picture.scale,
    )
    page.goto(address)
    page.wait_for_selector("svg", state="attached")
    page.wait_for_selector(picture.until)
    box = page.locator(picture.until).bounding_box()
    assert box is not None, f"{picture.until} is not on the page"
    taken = page.screenshot(
        full_page=True,
        clip={"x": 0, "y": 0, "width": picture.width, "height": box["y"] + box["height"] + 9},
    )
    page.close()
    image = Image.open(BytesIO(taken)).convert("RGB")
    small = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = BytesIO()
    small.save(out, "PNG", optimize=True)
    assert out.tell() <= BYTES_MAX, f"{picture.name} has {out.tell()} bytes"
    return out.getvalue()


if __name__ == "__main__":
    main()
