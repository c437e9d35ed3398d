"""YAML without duplicate keys: PyYAML would silently take the last of two."""

from contextlib import suppress
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as FastLoader
except ImportError:
    from yaml import SafeLoader as FastLoader  # type: ignore[assignment]


class DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping has a duplicate key. The message does not repeat it: the file may hold a secret."""


class _UniqueKeys(yaml.constructor.SafeConstructor):
    """Plain data only, without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise DuplicateKey(None, None, "duplicate key", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Loader(_UniqueKeys, yaml.SafeLoader):
    """In Python, for its messages, which say more."""


class _FastLoader(_UniqueKeys, FastLoader):
    """In C, if PyYAML was built with libyaml."""


def line_of(error: yaml.YAMLError) -> int | None:
    """The line of the fault, from 1, if it is known."""
    mark = getattr(error, "problem_mark", None)
    return None if mark is None else int(mark.line) + 1


def load(text: str) -> Any:
    """The content of ``text``. Raises ``yaml.YAMLError``, of which ``DuplicateKey`` is one, and nothing else."""
    others = (ValueError, LookupError, AttributeError, RecursionError)  # of a date such as 2026-13-45
    with suppress(yaml.YAMLError, *others):
        return yaml.load(text, _FastLoader)
    try:
        return yaml.load(text, _Loader)
    except others as error:
        raise yaml.YAMLError(str(error)) from error
