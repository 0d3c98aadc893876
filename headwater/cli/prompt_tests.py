"""Running prompt tests from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.output import busy
from headwater.cli.progress import stage_progress
from headwater.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from headwater.prompts import PromptRegistry
    from headwater.prompts.testing import CaseResult


def run_tests(
    registry: PromptRegistry,
    folder: Path | None,
    own: Path,
    wanted: Sequence[str],
    url: str | None,
    model: str | None,
) -> list[CaseResult]:
    """Return what became of the cases in ``folder``; without one, of the packaged cases and of those in ``own``.

    ``wanted`` names versions to test in the place of the live ones. Raises ConfigError for half a server, NotFoundError
    for a folder without cases or a prompt without a case.
    """
    with busy("Loading"):
        from headwater.answering.generation import open_client
        from headwater.embedding import open_embedder
        from headwater.policies import EmbedPolicy, LlmPolicy
        from headwater.prompts.testing import packaged_cases, read_cases, run_case, ways_of

    if (url is None) != (model is None):
        raise ConfigError("A model needs both --url and --model.")
    cases = read_cases(folder) if folder is not None else packaged_cases() + read_cases(own)
    if not cases:
        raise NotFoundError(f"{folder}: there is no prompt test (<prompt>.yaml) in this folder.")
    prompts = {name: registry.find(name) for name in dict.fromkeys(name for name, _ in cases)}
    for reference in wanted:
        prompt = registry.find(reference)
        if prompt.name not in prompts:
            raise NotFoundError(f"There is no case of prompt {prompt.name!r} to test {reference} with.")
        prompts[prompt.name] = prompt
    client = open_client(LlmPolicy(url=url, model=model)) if url is not None and model is not None else None
    encoder = open_embedder(EmbedPolicy())
    runs = [(name, case, way) for name, case in cases for way in ways_of(case, model=client is not None)]
    results = []
    with stage_progress("prompt tests", 1) as progress:
        progress.start("cases", len(runs))
        for name, case, way in runs:
            results.append(run_case(case, way, prompts[name], encoder=encoder, client=client))
            progress.advance("cases", 1)
    return results
