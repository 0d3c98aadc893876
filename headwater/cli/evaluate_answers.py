"""``headwater evaluate NAME --answers``: how good answers are, and which of two ways of answering is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.cli.output import busy, print_json, print_table, say
from headwater.cli.progress import stage_progress

if TYPE_CHECKING:
    from headwater.answer_evaluation import Comparison, SideResult


def evaluate_answers(name: str, a: str | None, b: str | None, as_json: bool) -> None:
    """Measure one side (neither given), or two; a side that is not given is the corpus as it is configured."""
    with busy("Loading"):
        from headwater import answer_evaluation
        from headwater.corpus import open_corpus

    one, other = (answer_evaluation.parse_side(side or "") for side in (a, b))
    with open_corpus(name) as corpus:
        if a is None and b is None:
            with stage_progress(f"answers of {name}", 1) as progress:
                measured = answer_evaluation.measure(corpus, one, progress)
            if as_json:
                print_json({"corpus": name, "metrics": answer_evaluation.METRICS, "side": measured})
            else:
                _print_side(name, measured)
            return
        with stage_progress(f"answers of {name}", 1) as progress:
            first, second, comparison = answer_evaluation.evaluate_answers(corpus, one, other, progress)
    if as_json:
        sides = {"a": first, "b": second}
        print_json({"corpus": name, "metrics": answer_evaluation.METRICS, "sides": sides, "comparison": comparison})
    else:
        _print_comparison(name, first, second, comparison)


def _print_side(name: str, result: SideResult) -> None:
    say(f"Corpus {name}, {len(result.outcomes)} golden questions, {_used(result)}", style="bold")
    _warn("", result)
    rows = [(label, _number(value)) for label, value in result.figures.items() if value is not None]
    print_table(("figure", "mean"), rows, right=("mean",))


def _print_comparison(name: str, a: SideResult, b: SideResult, comparison: Comparison) -> None:
    say(f"Corpus {name}, {comparison.questions} golden questions", style="bold")
    for label, side in (("a", a), ("b", b)):
        say(f"{label}: {_used(side)}")
        _warn(f"{label}: ", side)
    headers = ("figure", "questions", "a", "b", "b - a", "95 % interval", "")
    print_table(
        headers,
        [
            (
                one.metric,
                one.pairs,
                _number(one.a),
                _number(one.b),
                f"{one.difference:+.4f}",
                f"{one.low:+.4f} .. {one.high:+.4f}" if one.low is not None else "too few",
                "differs" if one.shown else "",
            )
            for one in comparison.differences
        ],
        right=headers[1:-1],
    )
    say(
        f"Right on both {comparison.both_right}, on a alone {comparison.only_a}, on b alone {comparison.only_b}, "
        f"on neither {comparison.neither}."
    )
    if comparison.changed:
        say(f"Changed: {', '.join(comparison.changed)}")
    say(comparison.verdict, style="bold")


def _used(result: SideResult) -> str:
    parts = [f"release {result.release}", *result.methods, *result.prompts, *result.models]
    return ", ".join(parts)


def _warn(label: str, result: SideResult) -> None:
    if result.fallbacks:
        say(f"{label}{result.fallbacks} answers were quoted because the model failed: they say nothing about it.")


def _number(value: Any) -> str:
    return f"{value:.4f}"
