"""Write the pages and build the site of them. Any fault is named and ends the build with exit code 1.

python -m tools.site
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tools.site.links import check
from tools.site.pages import Pages

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> list[str]:
    """Build the site in ``folder``/site, and return its faults, a line each."""
    for name in ("pages", "site", ".cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        Pages(ROOT, folder / "pages").write()
    except FileNotFoundError as missing:
        return [str(missing)]
    settings = shutil.copyfile(ROOT / "mkdocs.yml", folder / "mkdocs.yml")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(settings)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [done.stdout] if done.returncode else check(folder / "site")


def main() -> None:
    """Build the site in build/docs, and print the path of its first page."""
    folder = ROOT / "build" / "docs"
    faults = build(folder)
    if faults:
        raise SystemExit("\n".join(faults))
    print(folder / "site" / "index.html")


if __name__ == "__main__":
    main()
