"""The page of ``assets/<corpus>/defs.yaml`` and of ``headwater.yaml``, from the models that check them."""

from __future__ import annotations

from pydantic import BaseModel

from documentation.markdown import docstring, text
from documentation.models import fields_table, inner_models, models_in

CORPUS_INTRODUCTION = """\
# The corpus file

`assets/<corpus>/defs.yaml` is the whole configuration of a corpus, and the same file is its Dagster component.
`headwater corpus add` writes one in which every setting stands with its default and its meaning. Unknown fields are
errors; every command, and `dg check yaml`, names file, line and field of a mistake.

```yaml
type: assets.corpus.Corpus
attributes:
  source:
    uri: s3://handbook/published
  gate:
    golden: golden.jsonl
```

- `{{ env.NAME }}` and `{{ env('NAME', 'default') }}` take a value from the environment.
- Paths are relative to the file.
- A field belongs to the fingerprint of its stage: change it, and the next reindex computes the rows of that stage and
  of those after it, and no others ([why](../explanation/convergence.md)).
"""

PROJECT_INTRODUCTION = """\
# The project file

`headwater.yaml`, beside `workspace.yaml`, holds what all corpora share: who may call the HTTP service, and how often.
It need not exist. Secrets don't stand in it; they come from the [environment](environment.md).
[Who may use the HTTP service](../access.md) explains it.
"""


def corpus_page() -> str:
    """Return the page of the corpus file."""
    from headwater.policies import CorpusPolicy

    return CORPUS_INTRODUCTION + _sections(CorpusPolicy, "attributes")


def project_page() -> str:
    """Return the page of the project file."""
    from serving.access.settings import AccessSettings

    return PROJECT_INTRODUCTION + _sections(AccessSettings, "serving")


def anchor(model: type[BaseModel]) -> str:
    """Return the address of a model's section within its page."""
    return f"#{model.__name__.lower()}"


def paths(model: type[BaseModel], prefix: str = "") -> dict[type[BaseModel], list[str]]:
    """Return where in the file each model stands, as dotted paths."""
    found: dict[type[BaseModel], list[str]] = {}
    for name, field in model.model_fields.items():
        for inner in dict.fromkeys(models_in(field.annotation)):
            path = f"{prefix}{name}"
            found.setdefault(inner, []).append(path)
            for deeper, where in paths(inner, f"{path}.").items():
                found.setdefault(deeper, []).extend(where)
    return found


def _sections(model: type[BaseModel], top: str) -> str:
    where = paths(model)
    parts = [f"\n## {top} {{ {anchor(model)} }}\n\n{text(docstring(model))}\n\n{fields_table(model, anchor)}"]
    for inner in inner_models(model):
        named = ", ".join(dict.fromkeys(where[inner]))
        parts.append(f"\n## {named} {{ {anchor(inner)} }}\n\n{text(docstring(inner))}\n\n{fields_table(inner, anchor)}")
    return "".join(parts)
