"""Groups of options: a command takes a dataclass of options as one parameter, and users see each option."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def grouped(command: Callable[..., R]) -> Callable[..., R]:
    """``command`` for Typer, with each parameter that is a dataclass spread into its fields.

    A field is declared like a Typer parameter: ``seed: Annotated[int, typer.Option(help="Seed of the run")] = 0``.
    Raises ``TypeError`` if two groups share a name.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = signature.parameters.items()
    groups: dict[str, Any] = {name: kind.annotation for name, kind in parameters if is_dataclass(kind.annotation)}
    spread = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in parameters
        for option in (inspect.signature(groups[name]).parameters.values() if name in groups else [parameter])
    ]
    names = [parameter.name for parameter in spread]
    if shared := sorted({name for name in names if names.count(name) > 1}):
        raise TypeError(f"{command.__name__}: two groups share an option: {', '.join(shared)}")

    @wraps(command)
    def run(**values: Any) -> R:
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**filled, **values)

    run.__signature__ = signature.replace(parameters=spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return run


def to_argv(*groups: Any) -> list[str]:
    """What a user types for the options of ``groups`` that are not at their defaults."""
    found = []
    for group in groups:
        hints = get_type_hints(type(group), include_extras=True)
        for field in fields(group):
            value = getattr(group, field.name)
            if value == field.default:
                continue
            declared = hints[field.name].__metadata__[0].default  # where Typer keeps the name in ``Option("--set")``
            option = declared if isinstance(declared, str) else f"--{field.name.replace('_', '-')}"
            for each in value if isinstance(value, list) else [value]:
                found += [option] if each is True else [option, str(each)]
    return found
