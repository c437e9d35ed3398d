"""``ear generate``."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.inputs import adapter_files
from ear.commands.options import AdapterOption, DatasetOption, ModelOption
from ecgvf.commands.options import DeviceOption, DtypeOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def generate(
    prompt: Annotated[list[str], typer.Option("--prompt", help="Prompt to render. Repeatable.")],
    adapter: AdapterOption = None,
    dataset: DatasetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image; each prompt takes the next one.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="PNG file.", show_default="beside the adapter")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Do not blur the images of an unsafe concept.")] = False,
    model: ModelOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Render prompts before and after erasing, with the same seed: before | after."""
    from ear.evaluation.preview import preview
    from ear.method import adapter as adapters
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.files import write_atomic
    from ecgvf.core.shard_set import fingerprint
    from ecgvf.core.store import Store
    from ecgvf.janus import load

    console.json_mode(as_json)
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: it must be 0 or more")
    files = adapter_files(Store(store), dataset, adapter)
    facts, _ = adapters.read(files[0])
    janus = load(model or str(facts["model"]), device=device, dtype=dtype)
    stacked = adapters.stack(janus, files)
    blurred = bool(stacked.facts.get("unsafe")) and not clear
    name = f"before-after-{fingerprint({'prompts': prompt, 'seed': seed})[:8]}.png"
    sheet = out if out is not None else files[-1].with_name(name)
    write_atomic(sheet, preview(janus, stacked, prompt, seed, blurred=blurred))
    console.print(f"before | after: {console.escape(str(sheet))}")
    if as_json:
        paths = {"adapter": [*map(str, files)], "sheet": str(sheet)}
        console.print_json({"concept": str(stacked.facts["concept"]), "model": janus.name, **paths})
