"""Makes the screenshots of docs/page.md: a real browser shows a real engine with made-up orders.

    python tools/page_screenshots.py [FOLDER]

FOLDER is docs/images by default. It needs ``pip install 'tapring[serve]' playwright`` and Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHROMIUM: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
WIDE: Final = {"width": 1100, "height": 640}
PHONE: Final = {"width": 360, "height": 720}

# It offers some orders every tenth of a second, and 4,000 at once for each line that it reads.
SHOP: Final = """
import itertools, random, sys, threading, time, tapring
tap = tapring.Tap("shop", recorder="decoded")
random.seed(int(sys.argv[1]))
bursts = []
threading.Thread(target=lambda: [bursts.append(1) for _ in sys.stdin], daemon=True).start()
print(flush=True)
numbers = itertools.count(17000)
def order():
    level = random.choices(["info", "warning", "error"], [12, 2, 1])[0]
    said = {"info": "order paid", "warning": "payment is slow", "error": "card was refused"}[level]
    return {
        "level": level, "msg": said, "order": next(numbers), "cents": random.randint(400, 90000),
        "user": {"id": random.randint(1, 99), "email": "someone@example.org"},
        "items": [{"sku": random.choice(["lamp", "chair", "desk"]), "count": 1}],
    }
while True:
    watched = tap.snapshot()
    if bursts:
        bursts.pop()
        for _ in range(4):
            watched.offer("decoded", [order() for _ in range(1000)])
    watched.offer("decoded", [order() for _ in range(random.randint(1, 12))])
    time.sleep(0.1)
"""
SERVE: Final = "from tapring.cli import main; main()"


def main(folder: Path) -> None:
    """Make the screenshots in ``folder``."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium")
    if path is None:
        sys.exit("page_screenshots: chromium is not installed")
    with ExitStack() as stack:
        shops = [stack.enter_context(running(SHOP, str(seed))) for seed in (1, 2, 3)]
        for shop in shops:
            _line(shop.stdout)
        serve = ("serve", "--listen", "127.0.0.1:0", "--buffer", "64KiB", "--allow", "shop")
        server = stack.enter_context(running(SERVE, *serve, stderr=subprocess.PIPE))
        found = re.search(r"http\S+", _line(server.stderr))
        assert found, "the server has not said where it listens"
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        shots: tuple[tuple[str, Any, Any], ...] = (
            ("page.png", "light", WIDE),
            ("page-dark.png", "dark", WIDE),
            ("page-phone.png", "light", PHONE),
        )
        for name, scheme, size in shots:
            page = browser.new_page(color_scheme=scheme, viewport=size)
            page.goto(f"{found[0]}&engine=shop")
            page.get_by_text("Live").wait_for()
            page.wait_for_timeout(9000)
            arrange(name, page, shops[0])
            page.screenshot(path=folder / name)
            print(f"{name}: {(folder / name).stat().st_size:,} bytes")
            page.close()
        browser.close()


def arrange(name: str, page: Any, shop: subprocess.Popen[bytes]) -> None:
    """Put on the page what a screenshot is to show."""
    assert shop.stdin is not None
    if name == "page.png":
        shop.stdin.write(b"\n")
        shop.stdin.flush()
        gap = ".event-row[data-kind=missed]:not([hidden])"
        page.locator("#count-missed:not([title='0'])").wait_for()
        look = f"document.querySelector('{gap}')?.click() === undefined"
        selected = "document.querySelector('[data-kind=missed][aria-selected=true]') !== null"
        while not (page.evaluate(look) and page.evaluate(selected)):
            page.evaluate("document.getElementById('list').scrollTop -= 240")
            page.wait_for_timeout(50)
        for _ in range(3):
            page.keyboard.press("j")
        page.wait_for_timeout(4000)
    elif name == "page-dark.png":
        page.get_by_label("Where").fill("level=='error'")
        page.get_by_label("Where").press("Enter")
        page.wait_for_timeout(6000)
        page.get_by_label("Grep").fill("timeout|(refused")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_timeout(3000)
    else:
        page.locator("#engines-box").evaluate("box => box.open = false")
        page.wait_for_timeout(500)


@contextmanager
def running(
    source: str, *args: str, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python source as a process, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _line(stream: Any) -> str:
    return str(stream.readline().decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
