"""A corpus' configuration: what a scaffolded file says, and how mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from headwater.config import COMPONENT_TYPE, load_corpus_file, scaffold_corpus
from headwater.errors import ConfigError
from headwater.policies import CorpusPolicy, Policy, SourcePolicy


def write(folder: Path, attributes: str, head: str = f"type: {COMPONENT_TYPE}\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "defs.yaml"
    path.write_text(f"{head}attributes:\n{attributes}")
    return path


def policies(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], type[Policy]]]:
    """Return every policy model below ``model`` with the path of the fields to it."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Policy):
            found.append(((*path, name), field.annotation))
    return found


def uncommented(text: str) -> str:
    """Return a scaffolded file with every setting switched on, except the introduction."""
    lines = []
    for line in text.splitlines():
        body = line.lstrip()
        setting = body.removeprefix("# ")
        is_setting = body.startswith("# ") and (
            setting.lstrip().split(" ")[0].endswith(":") or setting.startswith("  - ")
        )
        lines.append(line.replace("# ", "", 1) if is_setting else line)
    return "\n".join(lines)


# --- scaffolded files -----------------------------------------------------------------------------------------


def test_a_scaffolded_file_is_valid_and_changes_no_default(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(scaffold_corpus("./documents", "House rules"))
    policy = load_corpus_file(path)
    expected = CorpusPolicy(
        source=SourcePolicy(uri=(tmp_path / "documents").as_uri()),
        description="House rules",
    )
    assert policy == expected


@pytest.mark.parametrize(
    "path,model", policies(CorpusPolicy), ids=lambda value: ".".join(value) if isinstance(value, tuple) else ""
)
def test_every_setting_stands_in_it_commented_with_default_and_meaning(
    path: tuple[str, ...], model: type[Policy]
) -> None:
    block = section_of(scaffold_corpus("./documents"), path[0])
    for name, field in model.model_fields.items():
        line = next((line for line in block if line.lstrip("# ").startswith(f"{name}:")), None)
        assert line is not None, f"{path[0]}.{name} is missing"
        if field.is_required():
            continue
        assert line.lstrip().startswith("#"), f"{path[0]}.{name} is not commented out"
        setting, _, meaning = line.lstrip("# ").partition("  # ")
        default = field.default
        shown = default.model_dump(mode="json") if isinstance(default, Policy) else default
        assert yaml.safe_load(setting)[name] == shown
        assert meaning == field.description


def section_of(text: str, name: str) -> list[str]:
    """Return the lines of a scaffolded file from a section's name to the next empty line."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().lstrip("# ") == f"{name}:")
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return lines[start:end]


def test_switching_every_comment_on_gives_the_same_policy(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(scaffold_corpus("./documents"))
    commented = load_corpus_file(path)
    path.write_text(uncommented(scaffold_corpus("./documents")))
    everything = yaml.safe_load(path.read_text())["attributes"]
    assert set(everything) == set(CorpusPolicy.model_fields)
    # The access rule shown is an example: everyone may read everything, in so many words.
    assert load_corpus_file(path).model_copy(update={"access": []}) == commented


@pytest.mark.parametrize("text", ["a: b # c", "- x", "'quoted' and \"double\"", "{{ braces }", "né, 東京", "null", ""])
def test_a_description_of_any_kind_survives(tmp_path: Path, text: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(scaffold_corpus("./documents", text), encoding="utf-8")
    assert load_corpus_file(path).description == text


# --- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes,line,field,said",
    [
        ("  source: {uri: ./d}\n  chunk:\n    max_tokens: many\n", 5, "attributes.chunk.max_tokens", "valid integer"),
        ("  source: {uri: ./d}\n  chunk:\n    max_tokens: 3\n", 5, "attributes.chunk.max_tokens", "16"),
        ("  source: {uri: ./d}\n  chnk: {max_tokens: 3}\n", 4, "attributes.chnk", "not permitted"),
        ("  source:\n    url: ./d\n", 4, "attributes.source.url", "not permitted"),
        ("  source: {include: ['**']}\n", 3, "attributes.source.uri", "required"),
        ("  source: {uri: ./d}\n  owners: [data]\n", 4, "attributes.owners", "team:NAME"),
        ("  description: none\n", 2, "attributes.source", "required"),
        (
            "  source: {uri: ./d}\n  access:\n    - {prefix: a/, groups: [x]}\n    - {prefix: b/, group: [x]}\n",
            6,
            "attributes.access.1.group",
            "not permitted",
        ),
    ],
)
def test_a_wrong_field_is_reported_with_file_line_and_name(
    tmp_path: Path, attributes: str, line: int, field: str, said: str
) -> None:
    path = write(tmp_path, attributes)
    with pytest.raises(ConfigError) as caught:
        load_corpus_file(path)
    wanted = next(problem for problem in str(caught.value).splitlines() if f" {field}:" in problem)
    assert wanted.startswith(f"{path}:{line}: {field}:")
    assert said in wanted


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "  source: {uri: ./d}\n  quality: {min_words: -1}\n  dedup: {threshold: 2}\n")
    with pytest.raises(ConfigError) as caught:
        load_corpus_file(path)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["4", "5"]


def test_broken_yaml_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "  source: {uri: ./d\n  description: x\n")
    with pytest.raises(ConfigError, match=rf"{path}:\d+: not valid YAML"):
        load_corpus_file(path)


def test_yaml_that_goes_too_deep_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "  source: " + 2000 * "[" + 2000 * "]" + "\n")
    with pytest.raises(ConfigError, match=f"{path}: .* too deep"):
        load_corpus_file(path)


@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_a_number_without_end_is_none(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, f"  source: {{uri: ./d}}\n  watch:\n    quiet_seconds: {value}\n")
    with pytest.raises(ConfigError, match=f"{path}:5: .*quiet_seconds.*finite"):
        load_corpus_file(path)


@pytest.mark.parametrize(
    "attributes,line,key,first",
    [
        ("  access:\n    - {prefix: hr/, groups: [hr]}\n  source: {uri: ./d}\n  access: []\n", 6, "access", 3),
        ("  source: {uri: ./d, uri: ./e}\n", 3, "uri", 3),
        ("  source: {uri: ./d}\n  access:\n    - prefix: a/\n      groups: [x]\n      groups: ['*']\n", 7, "groups", 6),
    ],
)
def test_a_setting_that_is_there_twice_is_refused_with_both_lines(
    tmp_path: Path, attributes: str, line: int, key: str, first: int
) -> None:
    # YAML's parser would take the last one: access rules that stand above it would count for nothing.
    path = write(tmp_path, attributes)
    with pytest.raises(ConfigError, match=rf"{path}:{line}: '{key}' .* \(first in line {first}\)"):
        load_corpus_file(path)


def test_a_setting_may_be_named_and_used_again(tmp_path: Path) -> None:
    path = write(tmp_path, "  source: {uri: ./d}\n  owners: &us [a@b.org]\n  description: &text c\n")
    path.write_text(path.read_text() + "x-again: [*us, *us, *text]\n")
    assert load_corpus_file(path).owners == ["a@b.org"]


@pytest.mark.parametrize("text", ["", "[]", "attributes: {}", "type: other.Component\nattributes: {}\n"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"must start with 'type: {COMPONENT_TYPE}'"):
        load_corpus_file(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_corpus_file(tmp_path / "defs.yaml")


def test_a_file_that_is_not_utf_8_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "  source: {uri: ./d}\n")
    path.write_bytes(path.read_bytes() + "  # Größe\n".encode("latin-1"))
    line = len(path.read_bytes().splitlines())
    with pytest.raises(ConfigError, match=rf"{path}:{line}: the file is not UTF-8 text; save it as UTF-8"):
        load_corpus_file(path)


# --- environment and paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template", ["{{ env.BUCKET }}", "{{env.BUCKET}}", "{{ env('BUCKET') }}", "{{ env('BUCKET', 'x') }}"]
)
def test_environment_variables_fill_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setenv("BUCKET", "archive")
    path = write(tmp_path, f'  source:\n    uri: "s3://{template}/house"\n')
    assert load_corpus_file(path).source.uri == "s3://archive/house"


def test_a_template_may_have_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUCKET", raising=False)
    path = write(tmp_path, "  source:\n    uri: \"s3://{{ env('BUCKET', 'spare') }}/house\"\n")
    assert load_corpus_file(path).source.uri == "s3://spare/house"


def test_an_unset_variable_is_reported_with_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUCKET", raising=False)
    path = write(tmp_path, '  description: x\n  source:\n    uri: "s3://{{ env.BUCKET }}/house"\n')
    with pytest.raises(ConfigError, match=rf"{path}:5: the environment variable BUCKET is not set"):
        load_corpus_file(path)


def test_a_source_that_an_empty_variable_leaves_empty_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would be the folder of the file itself, and defs.yaml a document.
    monkeypatch.setenv("BUCKET", "")
    path = write(tmp_path, '  source:\n    uri: "{{ env.BUCKET }}"\n')
    with pytest.raises(ConfigError, match=rf"{path}:4: attributes.source.uri: .* at least 1 character"):
        load_corpus_file(path)


def test_paths_are_relative_to_the_file_not_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    path = write(tmp_path / "assets" / "house", "  source: {uri: ../../docs}\n  gate: {golden: golden.jsonl}\n")
    policy = load_corpus_file(path)
    assert policy.source.uri == (tmp_path / "docs").as_uri()
    assert policy.gate.golden == str(tmp_path / "assets" / "house" / "golden.jsonl")
