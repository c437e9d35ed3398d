"""YAML in which every key stands once: of two, PyYAML would silently take the second."""

from typing import Any

import yaml


class KeyTwice(yaml.constructor.ConstructorError):
    """A key stands twice in a mapping. It is not repeated in the message: what is in a file may be a secret."""


class _Loader(yaml.SafeLoader):
    """Plain data only, no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise KeyTwice(None, None, "a key stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """What `text` says. Raises ``yaml.YAMLError``; ``KeyTwice`` is one."""
    return yaml.load(text, _Loader)
