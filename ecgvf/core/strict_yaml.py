"""YAML without duplicate keys: PyYAML would silently take the last of two."""

from typing import Any

import yaml


class DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping has a duplicate key. The message does not repeat it: the file may hold a secret."""


class _Loader(yaml.SafeLoader):
    """Plain data only, without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise DuplicateKey(None, None, "duplicate key", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """The content of ``text``. Raises ``yaml.YAMLError``, of which ``DuplicateKey`` is one, and nothing else."""
    try:
        return yaml.load(text, _Loader)
    except (ValueError, LookupError, AttributeError, RecursionError) as error:  # of a date such as 2026-13-45
        raise yaml.YAMLError(str(error)) from error
