"""``ear recipes``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.files import JSON

if TYPE_CHECKING:
    from ear.method.recipes import AnyRecipe


def list_recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Explain this recipe, setting by setting.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes of ear train, or explain the settings of a recipe."""
    from ear.method import recipes
    from ear.method.recipe import setting_descriptions

    chosen = [*recipes.RECIPES.values()] if name is None else [recipes.find(name)]
    if as_json:
        console.print_json({"recipes": [*map(_described, chosen)], "settings": setting_descriptions()})
    elif name is None:
        _list(chosen)
    else:
        _explain(chosen[0])


def _described(recipe: "AnyRecipe") -> JSON:
    from ear.method import recipes
    from ear.method.recipe import SETTINGS

    content = {"name": recipe.name, "description": recipe.description, "default": recipe == recipes.DEFAULT}
    if isinstance(recipe, recipes.PromptRecipe):
        fields = {name: {"from": source, "meaning": meaning} for name, (source, meaning) in recipe.fields.items()}
        return {**content, "settings": {}, "fields": fields}
    return {**content, "settings": {name: getattr(recipe, name) for name in SETTINGS}}


def _list(chosen: "list[AnyRecipe]") -> None:
    from ear.method.recipes import DEFAULT

    table = console.table("recipe", "what it does")
    for recipe in chosen:
        is_default = " (default)" if recipe == DEFAULT else ""
        table.add_row(recipe.name + is_default, console.escape(recipe.description))
    console.print(table)
    console.print("Next: [bold]ear recipes NAME[/bold] explains its settings, which --option of ear train changes")


def _explain(recipe: "AnyRecipe") -> None:
    from ear.method.recipe import setting_descriptions
    from ear.method.recipes import PromptRecipe

    console.print(console.escape(f"{recipe.name}: {recipe.description}"))
    if isinstance(recipe, PromptRecipe):
        table = console.table("field of recipe.json", "from", "meaning")
        for name, (source, meaning) in recipe.fields.items():
            table.add_row(name, console.escape(source), console.escape(meaning))
        console.print(table)
        return
    table = console.table("setting", "value", "meaning")
    for setting, meaning in setting_descriptions().items():
        table.add_row(setting, console.escape(_text(getattr(recipe, setting))), console.escape(meaning))
    console.print(table)


def _text(value: Any) -> str:
    """A value as ``--option`` takes it."""
    return "none" if value is None else str(value)
