"""The job at full size: Janus-Pro-1B, judged by ResNet-50. It needs a GPU, and downloads the
model, ResNet-50 and CLIP once.

Run it from the repository; `--tiny` takes a random Janus of 270,000 parameters instead, on a CPU:

    python -m examples.janus_pro [--tiny]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ear
import ecgvf


def main(
    model: str = "janus-pro-1b",
    judge: ecgvf.Judge | None = None,
    prompts: int = 84,
    others: int = 8,
    store: Path | None = None,
) -> ear.Evaluation:
    run = ecgvf.Run("church", store)
    # The grammar of nano's world needs no key. With keys: run.generate_with_llms("gpt,claude,gemini").
    run.generate(pairs=60, tests=100)
    run.render(model=model, batch_size=32)
    print(run.filter(judge=judge))  # None: ResNet-50, as in the paper
    dataset = run.dataset()

    # The paper's settings, which are for Janus-Pro. The default recipe was chosen on Janus-nano.
    adapter = ear.train(dataset, recipe="paper", store=store)
    evaluation = ear.evaluate(
        dataset, adapter, judge=judge, prompts_per_concept=prompts, prompts_per_other=others, store=store
    )
    print(evaluation)
    return evaluation


def coin(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """0 or 1 per image [N, H, W, 3], uint8, by its pixels: no real judge would know what a random model renders."""
    return np.asarray(images.sum(axis=(1, 2, 3)) % 2, np.float64)


def tiny() -> ear.Evaluation:
    from tools.tiny_janus import build

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build(folder / "model")
        return main(str(model), ecgvf.judge(coin, "coin", version="1"), prompts=4, others=0, store=folder / "store")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny random model, in a store that is deleted at the end"
    )
    tiny() if parser.parse_args().tiny else main()
