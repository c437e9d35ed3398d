"""A judge of your own: any function from images to scores. Here, the mean of two classifiers.

Run it from the repository, in the environment of `make quickstart`:

    python examples/own_judge.py
"""

import numpy as np
from numpy.typing import NDArray

import ecgvf
from ecgvf.judges import create_judge

LABELS = ecgvf.JudgeOptions(labels=("church",))
CLASSIFIERS = [create_judge(None, None, name, LABELS) for name in ("nano-object-a", "nano-object-b")]


def church(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB [N, H, W, 3] → the mean probability of "church", [N] in [0, 1]."""
    scores = [[prediction.score for prediction in judge.predict(images)] for judge in CLASSIFIERS]
    return np.asarray(np.mean(scores, axis=0), np.float32)


def main(pairs: int = 60, evaluation: int = 100) -> ecgvf.Dataset:
    run = ecgvf.Run("church")
    run.generate(pairs=pairs, validation=evaluation, tests=evaluation)
    # Name and version enter the fingerprint: change the version whenever the function changes.
    print(run.filter(judge=ecgvf.judge(church, "mean-of-two", version="1")))
    return run.dataset()


if __name__ == "__main__":
    main()
