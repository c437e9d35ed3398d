"""A notebook with its outputs as Markdown."""

import json
import re
from pathlib import Path
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def as_markdown(notebook: Path) -> str:
    """The Markdown of ``notebook``, with its PNG images embedded.

    If an output has several formats, an image is preferred to text. Standard error is left out.
    """
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(_fenced("python", source))
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                parts.append(_image(output))
            elif output.get("name") != "stderr":
                parts.append(_fenced("text", _text(output)))
    return "\n\n".join(parts) + "\n"


def _image(output: dict[str, Any]) -> str:
    facts = output["metadata"].get("image/png", {})
    width = f' width="{facts["width"]}"' if "width" in facts else ""
    return (
        f'<img alt="{facts.get("alt", "")}"{width} src="data:image/png;base64,{output["data"]["image/png"].strip()}">'
    )


def _text(output: dict[str, Any]) -> str:
    return _COLOURS.sub("", "".join(output["text"] if "text" in output else output["data"]["text/plain"]))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
