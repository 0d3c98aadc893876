"""YAML that people write: corpora, the project's settings, cases of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headwater.errors import ConfigError
from headwater.text_files import read_text


def read_yaml(path: Path) -> tuple[Any, Node | None]:
    """Return the document in ``path``, and the node it was made from, which knows its lines.

    Raises ConfigError, with the line, for what is not UTF-8 or YAML, and for a key that stands twice in one mapping: YAML
    forbids it (1.2.2, 3.2.1.3), and PyYAML would silently take the last one.
    """
    text = read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)}).") from error
    except RecursionError:
        raise ConfigError(f"{path}: lists and mappings stand too deep in one another.") from None
    _check_keys(path, root)
    return document, root


def _check_keys(path: Path, root: Node | None) -> None:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:  # an alias leads to the node that it names
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            waiting += node.value
        if not isinstance(node, MappingNode):
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            waiting.append(value)
            if not isinstance(key, ScalarNode):
                continue
            line = key.start_mark.line + 1
            if (first := lines.get((key.tag, key.value))) is not None:
                raise ConfigError(
                    f"{path}:{line}: {key.value!r} stands here for the second time (first in line {first}); only one of "
                    "them could count. Join them."
                )
            lines[key.tag, key.value] = line
