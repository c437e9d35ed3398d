"""``ear recipes``."""

from typing import Annotated, Any

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console


def list_recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Explain this recipe, setting by setting.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes of ear train, or explain the settings of a recipe."""
    from ear.method import recipes
    from ear.method.recipe import setting_descriptions

    chosen = list(recipes.RECIPES.values()) if name is None else [recipes.find(name)]
    described = [
        {
            "name": recipe.name,
            "description": recipe.description,
            "default": recipe == recipes.DEFAULT,
            "settings": {} if isinstance(recipe, recipes.PromptRecipe) else recipe.settings(),
        }
        for recipe in chosen
    ]
    if as_json:
        console.print_json({"recipes": described, "settings": setting_descriptions()})
        return
    table = console.table("recipe", "what it does") if name is None else console.table("setting", "value", "meaning")
    if name is None:
        for recipe in chosen:
            is_default = " (default)" if recipe == recipes.DEFAULT else ""
            table.add_row(recipe.name + is_default, console.escape(recipe.description))
        console.print(table)
        console.print("Next: [bold]ear recipes NAME[/bold] explains its settings, which --option of ear train changes")
        return
    [recipe] = chosen
    console.print(console.escape(f"{recipe.name}: {recipe.description}"))
    if not isinstance(recipe, recipes.PromptRecipe):
        for setting, meaning in setting_descriptions().items():
            table.add_row(setting, console.escape(_text(getattr(recipe, setting))), console.escape(meaning))
        console.print(table)


def _text(value: Any) -> str:
    """A value as ``--option`` takes it."""
    return "none" if value is None else str(value)
