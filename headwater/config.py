"""A corpus' configuration: ``assets/<corpus>/defs.yaml``, checked when it is loaded.

The same file is the Dagster component's. Here it is read without Dagster: ``{{ env.NAME }}`` and
``{{ env('NAME', 'default') }}`` are resolved, paths are taken relative to the file, and every mistake is
reported with file, line and field.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headwater.errors import ConfigError
from headwater.policies import CorpusPolicy
from headwater.yaml_files import read_yaml

COMPONENT_TYPE = "assets.corpus.Corpus"
_TEMPLATE = re.compile(
    r"""\{\{\s*env(?:\.(?P<dotted>\w+)|\(\s*['"](?P<called>\w+)['"]\s*(?:,\s*['"](?P<default>[^'"]*)['"]\s*)?\))\s*\}\}"""
)


def load_corpus_file(path: Path) -> CorpusPolicy:
    """Return the policy in ``path``, its paths made absolute.

    Raises ConfigError naming file, line and field for YAML that doesn't parse, an unknown or wrong field, one that is
    there twice, or an environment variable that is not set.
    """
    document, root = read_yaml(path)
    if not isinstance(document, dict) or document.get("type") != COMPONENT_TYPE:
        raise ConfigError(f"{path}:1: the file must start with 'type: {COMPONENT_TYPE}' and hold 'attributes:'.")
    attributes = _resolve(document.get("attributes") or {}, path, *_find(root, 1, ("attributes",)))
    return policy_from_attributes(attributes, path, root)


def policy_from_attributes(attributes: Mapping[str, Any], path: Path, root: Node | None = None) -> CorpusPolicy:
    """Return the validated policy of already resolved ``attributes``; relative paths are relative to ``path``."""
    try:
        policy = CorpusPolicy.model_validate(attributes)
    except ValidationError as error:
        lines = [_explain(path, root, tuple(problem["loc"]), problem["msg"]) for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    return absolute_paths(policy, path.parent)


def absolute_paths(policy: CorpusPolicy, folder: Path) -> CorpusPolicy:
    """Return the policy with its source URI, question files and local models taken relative to ``folder``."""
    source = policy.source.model_copy(update={"uri": absolute_uri(policy.source.uri, folder)})
    updates: dict[str, Any] = {"source": source}
    if policy.gate.golden is not None:
        updates["gate"] = policy.gate.model_copy(update={"golden": str(_absolute(policy.gate.golden, folder))})
    if policy.dedup.exclude_questions is not None:
        questions = str(_absolute(policy.dedup.exclude_questions, folder))
        updates["dedup"] = policy.dedup.model_copy(update={"exclude_questions": questions})
    model = policy.embed.model
    if model is not None and (folder / model).is_dir():
        updates["embed"] = policy.embed.model_copy(update={"model": str(_absolute(model, folder))})
    return policy.model_copy(update=updates)


def absolute_uri(uri: str, folder: Path) -> str:
    """Return a bucket URI as it is, and a folder path as an absolute ``file://`` URI."""
    if "://" in uri and not uri.startswith("file://"):
        return uri
    path = urlsplit(uri).path if uri.startswith("file://") else uri
    return _absolute(path, folder).as_uri()


def _absolute(path: str, folder: Path) -> Path:
    return (folder / Path(path).expanduser()).resolve()


def _resolve(value: Any, path: Path, node: Node | None, line: int) -> Any:
    """Replace environment templates in every string of a YAML value."""
    if isinstance(value, dict):
        return {key: _resolve(item, path, *_find(node, line, (key,))) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, path, *_find(node, line, (index,))) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match["dotted"] or match["called"]
        resolved = os.environ.get(name, match["default"])
        if resolved is None:
            raise ConfigError(f"{path}:{line}: the environment variable {name} is not set.")
        return resolved

    return _TEMPLATE.sub(replace, value)


def _explain(path: Path, root: Node | None, location: tuple[Any, ...], message: str) -> str:
    _, line = _find(root, 1, ("attributes", *location))
    field = ".".join(str(part) for part in ("attributes", *location))
    return f"{path}:{line}: {field}: {message}"


def _find(node: Node | None, line: int, location: tuple[Any, ...]) -> tuple[Node | None, int]:
    """Follow ``location`` as far as the YAML goes; return the node reached and the line (from 1) that names it."""
    for part in location:
        found = None
        if isinstance(node, MappingNode):
            pairs = (pair for pair in node.value if isinstance(pair[0], ScalarNode) and pair[0].value == str(part))
            found = next(((value, key) for key, value in pairs), None)
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        node, line = found[0], found[1].start_mark.line + 1
    return node, line


def scaffold_corpus(uri: str, description: str = "") -> str:
    """Return a commented ``defs.yaml`` for the documents at ``uri``, every optional setting shown with its default."""
    lines = [
        f"type: {COMPONENT_TYPE}",
        "",
        "# What is commented out is a default. Every headwater command checks this file, and so does `dg check defs`.",
        "attributes:",
        f"  description: {_scalar(description)}",
    ]
    for name, field in CorpusPolicy.model_fields.items():
        if name == "description":
            continue
        if name == "source":
            lines += ["  source:", f"    uri: {_scalar(uri)}"]
            lines += _commented(field.annotation, indent="    ", skip=("uri",))
        elif name == "access":
            lines += ["", f"  # {field.description}", "  # access:", '  #   - {prefix: "", groups: ["*"]}']
        elif name == "owners":
            lines.append(f"  # owners: {_scalar(field.default)}  # {field.description}")
        else:
            lines += ["", f"  # {field.description}", f"  # {name}:"]
            lines += _commented(field.annotation, indent="  #   ")
    return "\n".join(lines) + "\n"


def _commented(model: Any, indent: str, skip: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for name, field in model.model_fields.items():
        if name not in skip:
            prefix = indent if indent.rstrip().endswith("#") else f"{indent}# "
            lines.append(f"{prefix}{name}: {_scalar(field.default)}  # {field.description}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")
