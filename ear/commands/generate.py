"""``generate``: draw prompts before and after erasing."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.opening import adapter_files
from ear.commands.options import AdapterOption, DatasetOption, DtypeOption, ModelOption
from ecgvf.commands.options import DeviceOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def generate(
    prompt: Annotated[list[str], typer.Option("--prompt", help="What to draw; repeat for more.")],
    adapter: AdapterOption = None,
    dataset: DatasetOption = None,
    seed: Annotated[int, typer.Option(help="Of the first picture; the next prompt takes the next seed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="PNG file. [default: beside the adapter]")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Do not blur the pictures of an unsafe concept.")] = False,
    model: ModelOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Draw prompts before and after erasing, with the same seed: before | after."""
    from ear.evaluation import contact_sheet as sheet
    from ear.method import adapter as adapters
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.stage_set import fingerprint
    from ecgvf.core.store import Store
    from ecgvf.janus import Sampling, load, render_images

    console.json_mode(as_json)
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: it must be 0 or more")
    files = adapter_files(Store(store), dataset, adapter)
    facts, _ = adapters.read(files[0])
    janus = load(model or str(facts["model"]), device=device, dtype=dtype)
    stacked = adapters.stack(janus, files)
    sampling = Sampling(**stacked.facts["sampling"])
    numbers = [seed + place for place in range(len(prompt))]
    before = render_images(janus, prompt, numbers, sampling)
    with stacked.active(janus):
        after = render_images(janus, prompt, numbers, sampling)
    concept = str(stacked.facts["concept"])
    title = f"{concept} erased from {Path(janus.name).name}"
    rows = [(f"seed {number}", text) for number, text in zip(numbers, prompt, strict=True)]
    name = f"before-after-{fingerprint({'prompts': prompt, 'seed': seed})[:8]}.png"
    file = out if out is not None else files[-1].parent / name
    columns = [("original", before.pixels), ("erased", after.pixels)]
    hidden = bool(stacked.facts.get("unsafe")) and not clear
    sheet.save(sheet.sheet(rows, columns, title=title, blurred=[hidden] * len(rows)), file)
    console.print(f"before | after: {console.escape(str(file))}")
    if as_json:
        console.print_json({"concept": concept, "model": janus.name, "adapter": [*map(str, files)], "sheet": str(file)})
