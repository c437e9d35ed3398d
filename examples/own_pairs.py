"""Prompt pairs of your own, from a CSV file with the columns target and surrogate.

Run it from the repository, in the environment of `make quickstart`:

    python examples/own_pairs.py [PAIRS.csv]
"""

import sys
from pathlib import Path

import ecgvf

CSV = """target,surrogate
a church on a hill of grass under a blue sky,a hotel on a hill of grass under a blue sky
a chapel in the snow at night,a bank in the snow at night
a church by a road at sunset,a factory by a road at sunset
"""


def main(file: Path) -> ecgvf.Dataset:
    run = ecgvf.Run("church")
    imported = run.import_pairs(file)
    for warning, count in imported.warnings.items():
        print(f"{count} × {warning}")
    print(run.filter())
    return run.dataset()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        example = Path("pairs.csv")
        if not example.exists():
            example.write_text(CSV, encoding="utf-8")
        main(example)
