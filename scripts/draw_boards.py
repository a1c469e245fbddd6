"""Draw the data of the boards in dashboards/grafana as pictures: docs/images/<board>.png.

    python scripts/draw_boards.py --prometheus http://localhost:9090    # what it has of the last half hour
    python scripts/draw_boards.py --run                                 # start all that it takes, for some minutes

The queries are the boards' own, and so is their grid; what draws is not Grafana, and each picture says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from dashboards.pictures.page import drawn  # noqa: E402
from dashboards.pictures.prometheus import Window, over_http  # noqa: E402
from dashboards.pictures.running import running  # noqa: E402

BOARDS = ROOT / "dashboards" / "grafana"
IMAGES = ROOT / "docs" / "images"


def draw(prometheus: str, window: Window, folder: Path) -> None:
    """All boards."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in sorted(BOARDS.glob("*.json")):
        picture = drawn(json.loads(board.read_text("utf-8")), over_http(prometheus), window)
        (folder / f"{board.stem}.png").write_bytes(picture)
        print(f"{folder / board.stem}.png: {len(picture) // 1024} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whence = parser.add_mutually_exclusive_group(required=True)
    whence.add_argument("--prometheus", metavar="URL", help="one that runs")
    whence.add_argument("--run", action="store_true", help="start the stack's agent, proxy, load and a Prometheus")
    parser.add_argument("--minutes", type=float, metavar="N", help="how much is shown (default: 30; 4 with --run)")
    parser.add_argument("--scrape", type=float, default=5, metavar="SECONDS", help="between two scrapes (default: 5)")
    parser.add_argument("--output", type=Path, default=IMAGES, metavar="FOLDER", help="default: docs/images")
    given = parser.parse_args()
    seconds = 60 * (given.minutes or (4 if given.run else 30))
    if given.prometheus:
        now = time.time()
        draw(given.prometheus.rstrip("/"), Window(now - seconds, now, given.scrape), given.output)
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), given.scrape, streams=20) as url:
        # The first rates need some scrapes before them.
        begin = time.time() + 6 * given.scrape
        print(f"{url} scrapes for {seconds / 60:g} minutes", flush=True)
        time.sleep(begin + seconds - time.time())
        draw(url, Window(begin, begin + seconds, given.scrape), given.output)


if __name__ == "__main__":
    main()
