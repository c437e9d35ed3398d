"""A concept of your own, with pairs by your own LLM server (vLLM, llama.cpp, Ollama: any that speaks OpenAI's API).

Run it from the repository, in the environment of `make quickstart`:

    python examples/own_concept.py http://localhost:8000/v1 MODEL
"""

import argparse
from pathlib import Path

import ecgvf

MOSQUE = """
name: mosque
kind: object
description: A building for Muslim worship, with a dome and minarets.
terms: [mosque, masjid]
unseen_terms: [masjid]
surrogates: [hotel, factory, hospital, bank]
neighbours: [church, pagoda]
judge_labels:
  nano: [mosque]
  imagenet: [mosque]
"""


def main(url: str, model: str, pairs: int = 10, evaluation: int = 20) -> ecgvf.Dataset:
    file = Path("mosque.yaml")
    if not file.exists():
        file.write_text(MOSQUE, encoding="utf-8")
    run = ecgvf.Run(file)
    server = ecgvf.Registry().own_server(url, model)
    run.generate_with_llms([server], count=pairs)  # every answer is kept, and paid once
    run.generate_with_llms([server], split="validation", count=evaluation)
    run.generate_with_llms([server], split="test", count=evaluation)
    print(run.filter())  # renders with Janus-nano first; call run.render(model=...) for another model
    return run.dataset()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    main(**vars(parser.parse_args()))
