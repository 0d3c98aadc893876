"""``headwater keys``: who may call the HTTP service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.api_keys import SCOPES
from headwater.cli.options import AsJson
from headwater.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headwater.api_keys import KeyLimits
    from headwater.ledger import ApiKey, Ledger

app = typer.Typer(no_args_is_help=True, help="API keys of the HTTP service.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key's name or id.")]
_ENTERED = "Keep it now: it is not stored, and can't be shown again."


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The application that will hold it.")],
    scopes: Annotated[
        str, typer.Option("--scopes", help=f"What it may do, with commas: {', '.join(SCOPES)}.")
    ] = "search,answer,documents",
    groups: Annotated[
        str, typer.Option("--groups", help="Its own groups, with commas. Without: what everyone may read.")
    ] = "",
    corpora: Annotated[str | None, typer.Option("--corpora", help="Only these corpora, with commas.")] = None,
    expires: Annotated[str, typer.Option("--expires", metavar="PERIOD", help="Such as 12h or 90d; or never.")] = "90d",
    rate: Annotated[
        list[str] | None,
        typer.Option("--rate", metavar="SCOPE=N", help="At most N requests a minute in this scope; repeatable."),
    ] = None,
    requests_per_day: Annotated[
        int | None, typer.Option("--requests-per-day", min=0, help="All scopes together.")
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option("--tokens-per-day", min=0, help="Tokens of a language model for answers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and show it once.

    Its holder reads as a member of its groups. With the scope vouch, it says for each request which groups its own
    user has, whatever they are: give that to applications that have signed their users in.
    """
    from headwater.api_keys import check_scopes, parse_period
    from headwater.audit import audited, operator

    wanted = check_scopes(_parts(scopes))
    limits = _limits(rate or [], requests_per_day, tokens_per_day)
    expires_at = None if expires == "never" else datetime.now(UTC) + parse_period(expires)
    names = None if corpora is None else _known(_parts(corpora))
    with _Opened() as ledger, audited(ledger, "key.create") as noted:
        key, text = ledger.create_api_key(
            name,
            scopes=wanted,
            groups=_parts(groups),
            corpora=names,
            limits=limits,
            expires_at=expires_at,
            who=operator(),
        )
        noted.add(target=key.id)
    _show(key, text, as_json)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List every key that ever was, newest first; secrets are not stored."""
    with _Opened() as ledger:
        found = ledger.api_keys()
    if as_json:
        print_json([_shown(key) for key in found])
        return
    if not found:
        say("There are no keys. Make one with: headwater keys create NAME")
        return
    moment = datetime.now(UTC)
    rows = [
        (
            key.id,
            key.name,
            _state(key, moment),
            ", ".join(key.scopes),
            ", ".join(key.groups) or "-",
            "every" if key.corpora is None else ", ".join(key.corpora),
            _date(key.expires_at) or "never",
            _date(key.last_used_at) or "never",
        )
        for key in found
    ]
    print_table(("id", "name", "state", "scopes", "groups", "corpora", "expires", "last used"), rows)


@app.command()
def rotate(
    key: Key,
    grace: Annotated[
        str, typer.Option("--grace", metavar="PERIOD", help="How long the old secret still works; or none.")
    ] = "1d",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, and show it once; what the key may do stays."""
    from datetime import timedelta

    from headwater.api_keys import parse_period
    from headwater.audit import audited

    period = timedelta(0) if grace == "none" else parse_period(grace)
    with _Opened() as ledger, audited(ledger, "key.rotate") as noted:
        rotated, text = ledger.rotate_api_key(key, grace=period)
        noted.add(target=rotated.id)
    _show(rotated, text, as_json)


@app.command()
def revoke(key: Key, as_json: AsJson = False) -> None:
    """End a key for good: within a second no service accepts it any more."""
    from headwater.audit import audited

    with _Opened() as ledger, audited(ledger, "key.revoke") as noted:
        revoked = ledger.revoke_api_key(key)
        noted.add(target=revoked.id)
    if as_json:
        print_json(_shown(revoked))
    else:
        say(f"Revoked {revoked.name} ({revoked.id}).")


class _Opened:
    """The ledger of the project at hand, closed at the end."""

    def __enter__(self) -> Ledger:
        from headwater.ledger import Ledger
        from headwater.project import find_project

        project = find_project()
        project.make_home()
        self._ledger = Ledger(project.ledger_url)
        return self._ledger

    def __exit__(self, *_: object) -> None:
        self._ledger.close()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(names: list[str]) -> list[str]:
    from headwater.project import find_project

    project = find_project()
    for name in names:
        project.corpus_file(name)
    if not names:
        raise typer.BadParameter("name at least one corpus, or leave --corpora away for every corpus")
    return names


def _limits(rates: list[str], requests: int | None, tokens: int | None) -> KeyLimits:
    from headwater.api_keys import KeyLimits, check_scopes

    per_minute: dict[Any, int] = {}
    for rate in rates:
        scope, _, count = rate.partition("=")
        if not count.isdecimal():
            raise typer.BadParameter(f"--rate {rate}: write SCOPE=N, such as --rate search=300")
        (known,) = check_scopes([scope])
        per_minute[known] = int(count)
    return KeyLimits(per_minute=per_minute, requests_per_day=requests, answer_tokens_per_day=tokens)


def _show(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        print_json({**_shown(key), "key": text})
        return
    say(text, style="bold")
    say(_ENTERED)
    if key.previous_until is not None:
        say(f"The secret before it works until {key.previous_until:%Y-%m-%d %H:%M} UTC.")


def _shown(key: ApiKey) -> dict[str, Any]:
    fields = {name: getattr(key, name) for name in key.__dataclass_fields__}
    return {**fields, "limits": key.limits.model_dump(mode="json"), "state": _state(key, datetime.now(UTC))}


def _state(key: ApiKey, moment: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "works" if key.works(moment) else "expired"


def _date(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
