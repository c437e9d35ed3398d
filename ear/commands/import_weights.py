"""``ear import-weights``."""

from pathlib import Path
from typing import Annotated

import typer

from ecgvf.commands.options import DeviceOption, DtypeOption, JsonOption, StoreOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch


def import_weights(
    file: Annotated[Path, typer.Argument(help="File of weights that the paper's authors released.", metavar="FILE")],
    *,
    concept: Annotated[str, typer.Option(help="Concept that they erase: a name, or a YAML file.")],
    model: Annotated[str, typer.Option(help="Model that they belong to: name, folder or Hub id.")],
    store: StoreOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make an adapter from released weights, to render with and to measure."""
    import_pytorch()
    from ear.method.released_weights import import_weights as write_run
    from ear.method.released_weights import read_released
    from ecgvf.core import concepts
    from ecgvf.core.store import Store
    from ecgvf.janus import load

    found = concepts.find(concept)
    weights = read_released(file)
    run = write_run(Store(store), file, weights, found, load(model, device=device, dtype=dtype))
    console.print_result(
        {"concept": found.name, "model": model, "adapter": str(run.adapter), "new": run.new},
        f"Adapter ({'imported' if run.new else 'imported before'}): {console.escape(str(run.adapter))}",
    )
