"""The differences between two sets of settings."""

from collections.abc import Mapping
from typing import Any

from ecgvf.core.files import JSON


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) of each setting that differs, sorted; None stands for a missing one."""
    before, after = _flat(old), _flat(new)
    pairs = [(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())]
    return [(key, was, is_now) for key, was, is_now in pairs if was != is_now]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> JSON:
    """Nested mappings as one, with dotted keys: ``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    flat: JSON = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
