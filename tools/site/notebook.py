"""A notebook with its outputs as Markdown."""

import base64
import json
from pathlib import Path
from typing import Any


def as_markdown(notebook: Path, images: Path) -> str:
    """The Markdown of ``notebook``; its images are written into the folder ``images``, beside the page.

    Of an output in several formats an image is taken before text. Notes on standard error are left out.
    """
    parts = []
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(_fenced("python", source))
        for order, output in enumerate(cell["outputs"]):
            if "image/png" in output.get("data", {}):
                parts.append(_image(output, images / f"{notebook.stem}-{number}-{order}.png"))
            elif output.get("name") != "stderr":
                parts.append(_fenced("text", _text(output)))
    return "\n\n".join(parts) + "\n"


def _image(output: dict[str, Any], file: Path) -> str:
    file.write_bytes(base64.b64decode(output["data"]["image/png"]))
    facts = output["metadata"].get("image/png", {})
    width = f' width="{facts["width"]}"' if "width" in facts else ""
    return f'<img src="{file.name}" alt="{facts.get("alt", "")}"{width}>'


def _text(output: dict[str, Any]) -> str:
    return "".join(output["text"] if "text" in output else output["data"]["text/plain"])


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
