"""Groups of options: a command takes a dataclass of options as one parameter, and users see each option."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
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
    spread: list[inspect.Parameter] = []
    for name, parameter in parameters:
        spread += _fields(groups[name]) if name in groups else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    names = [parameter.name for parameter in spread]
    if len(set(names)) < len(names):
        raise TypeError(f"{command.__name__}: two groups share an option: {sorted(names)}")

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


def _fields(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
