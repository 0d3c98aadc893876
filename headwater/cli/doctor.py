"""``headwater doctor``: what is installed, what is missing, and what that means."""

from __future__ import annotations

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import busy, print_json, print_table


def doctor(as_json: AsJson = False) -> None:
    """Look at the installation and the project; the exit code is 1 when something is a problem."""
    from headwater.doctor import examine

    with busy("Looking around"):
        findings = examine()
    if as_json:
        print_json(findings)
    else:
        print_table(
            ("what", "state", "found", "what it means"),
            [(finding.name, finding.state, finding.found, finding.meaning) for finding in findings],
        )
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
