"""``train``: erase the concept of a dataset from the model that drew it."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ear.commands.opening import open_dataset, told
from ear.commands.options import DatasetOption, DtypeOption, ModelOption, SetOption
from ecgvf.commands.options import DeviceOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def train(
    dataset: DatasetOption = None,
    recipe: Annotated[str, typer.Option(help="default, or paper.")] = "default",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Another value of a recipe's setting: guidance=0.8. Repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of pairs and of what is rehearsed.")] = 0,
    seeds: Annotated[str | None, typer.Option(help="Several trainings: 0,1,2.")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Erase the concept of a dataset from the model that drew it."""
    from ear.method.erase import erase, resolve
    from ear.method.recipe import find
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    tuned = find(recipe).changed(_options(option or []))
    wanted = _numbers(seeds) if seeds is not None else [seed]
    opened = Store(store)
    data, janus = open_dataset(opened, dataset, chosen, model, device, dtype)
    resolved = resolve(tuned, data, janus)
    told(resolved.lines())
    done = erase(opened, data, janus, resolved, wanted)
    for one in done:
        facts = one.run.facts
        what = f"{facts['steps']} steps in {facts['seconds']:.0f} s" if one.fresh else "trained before"
        console.print(f"Adapter ({what}): {console.escape(str(one.run.adapter))}")
    if as_json:
        console.print_json(
            {
                "concept": data.concept.name,
                "dataset": data.fingerprint,
                "model": janus.name,
                **resolved.settings(),
                "runs": [one.json() for one in done],
            }
        )
    else:
        console.print("Look at it: [bold]ear generate --prompt …[/bold]; measure it: [bold]ear eval[/bold]")


def _options(texts: Sequence[str]) -> dict[str, str]:
    from ecgvf.core.errors import RecipeError

    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--option {text!r}: write SETTING=VALUE, such as guidance=0.8")
        options[name.strip()] = value.strip()
    return options


def _numbers(text: str) -> list[int]:
    from ecgvf.core.errors import SettingsError

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--seeds {text!r}: write whole numbers with commas, such as 0,1,2") from None
    return list(dict.fromkeys(numbers))
