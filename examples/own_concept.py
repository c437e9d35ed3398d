"""A concept of your own, whose pairs are written by your own LLM server (vLLM, llama.cpp, Ollama: any OpenAI API).

python examples/own_concept.py http://localhost:8000/v1 MODEL
"""

import sys
from pathlib import Path

import ecgvf

MOSQUE = """
name: mosque
kind: object
description: A building for Muslim worship, with a dome and minarets.
terms: [mosque, masjid]
surrogates: [hotel, factory, hospital, bank]
neighbours: [church, pagoda]
judge_labels:
  nano: [mosque]
  imagenet: [mosque]
"""


def main(url: str, model: str, pairs: int = 20, tests: int = 20) -> ecgvf.Dataset:
    Path("mosque.yaml").write_text(MOSQUE, encoding="utf-8")
    run = ecgvf.Run("mosque.yaml")
    writer = ecgvf.Writers(url=url, model=model)
    run.generate(writers=writer, pairs=pairs)  # each answer is kept, and paid once
    run.generate(writers=writer, tests=tests, split="test")
    print(run.filter())  # renders with Janus-nano; pass another model to run.render() first
    return run.dataset()


if __name__ == "__main__":
    main(*sys.argv[1:3])
