"""API keys: made once, stored as hashes, rotated with a grace period, revoked for good, and never shown again."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.api_keys import SCOPES, KeyLimits, check_scopes, parse_period, split_key
from headwater.cli import app
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger import ApiKey, Ledger
from headwater.ledger.schema import api_keys
from headwater.project import Project

runner = CliRunner()


@pytest.fixture
def ledger(tmp_path: Path):
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as opened:
        yield opened


def make(ledger: Ledger, name: str = "intranet", **options) -> tuple[ApiKey, str]:
    return ledger.create_api_key(name, scopes=options.pop("scopes", ["search"]), who="os:mira", **options)


def sent(ledger: Ledger, text: str) -> ApiKey | None:
    parts = split_key(text)
    return None if parts is None else ledger.api_key_of(*parts)


@pytest.mark.parametrize("group", ["b\udcfcro", "a\0b"])
def test_a_group_that_is_no_text_is_refused(ledger: Ledger, group: str) -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        make(ledger, groups=[group])
    assert ledger.api_keys() == []


def test_a_key_is_known_by_its_secret_and_by_nothing_else(ledger: Ledger) -> None:
    key, text = make(ledger, groups=["staff", "crew", "staff"], corpora=["works"])
    other, _ = make(ledger, "other")
    assert sent(ledger, text) == key
    assert (key.groups, key.corpora, key.created_by) == (("crew", "staff"), ("works",), "os:mira")
    secret = text.rpartition(f"{key.id}_")[2]
    assert len(secret) == 43  # 256 bits in base64
    for wrong in (
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text.replace(key.id, other.id),
        text.swapcase(),
        f"hw_{key.id}_",
        f"hw_{key.id}",
        text + "A",
        f" {text}",
        "",
    ):
        assert sent(ledger, wrong) is None


def test_the_ledger_holds_no_secret(ledger: Ledger) -> None:
    key, text = make(ledger)
    _, rotated = ledger.rotate_api_key(key.id, grace=timedelta(days=1))
    secrets = [part[1] for part in map(split_key, (text, rotated)) if part is not None]
    with ledger._engine.connect() as connection:
        stored = str(connection.execute(sa.select(api_keys)).all())
    assert len(secrets) == 2
    assert not any(secret in stored for secret in secrets)
    files = b"".join(path.read_bytes() for path in ledger.files())
    assert not any(secret.encode() in files for secret in secrets)


def test_secrets_are_never_the_same_twice(ledger: Ledger) -> None:
    texts = {make(ledger, f"app {number}")[1] for number in range(20)}
    assert len({split_key(text) for text in texts}) == 20


def test_an_expired_key_is_not_known(ledger: Ledger) -> None:
    soon, past = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)
    assert sent(ledger, make(ledger, "a", expires_at=soon)[1]) is not None
    assert sent(ledger, make(ledger, "b", expires_at=past)[1]) is None


def test_a_revoked_key_is_not_known_and_stays_in_the_list(ledger: Ledger) -> None:
    key, text = make(ledger)
    ledger.rotate_api_key(key.id, grace=timedelta(days=1))
    revoked = ledger.revoke_api_key("intranet")
    assert revoked.id == key.id and revoked.revoked_at is not None
    assert sent(ledger, text) is None  # not by the secret in its grace period either
    assert [one.id for one in ledger.api_keys()] == [key.id]
    assert ledger.has_api_keys()
    with pytest.raises(NotFoundError, match="was revoked or has expired"):
        ledger.revoke_api_key(key.id)
    with pytest.raises(NotFoundError, match="headwater keys list"):
        ledger.revoke_api_key("nobody's")


def test_after_a_rotation_both_secrets_work_until_the_grace_period_is_over(ledger: Ledger) -> None:
    key, first = make(ledger, groups=["staff"])
    rotated, second = ledger.rotate_api_key("intranet", grace=timedelta(hours=2))
    assert rotated.id == key.id and rotated.groups == ("staff",)
    assert sent(ledger, first) is not None and sent(ledger, second) is not None
    _, third = ledger.rotate_api_key("intranet", grace=timedelta(0))
    assert sent(ledger, first) is None  # two rotations ago
    assert sent(ledger, second) is None  # without grace
    assert sent(ledger, third) is not None


def test_two_working_keys_never_share_a_name(ledger: Ledger) -> None:
    make(ledger)
    with pytest.raises(ConfigError, match="already"):
        make(ledger)
    ledger.revoke_api_key("intranet")
    _, text = make(ledger)
    assert sent(ledger, text) is not None


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 201, "bell\x07"])
def test_a_key_needs_a_printable_name(ledger: Ledger, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        make(ledger, name)


def test_the_last_use_only_moves_forward(ledger: Ledger) -> None:
    key, _ = make(ledger)
    late, early = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    ledger.note_api_key_use({key.id: late, "0" * 24: late})
    ledger.note_api_key_use({key.id: early})
    assert ledger.api_keys()[0].last_used_at == late


def test_limits_of_a_key_stand_over_the_defaults() -> None:
    defaults = KeyLimits(per_minute={"search": 10, "answer": 2}, requests_per_day=100)
    own = KeyLimits(per_minute={"answer": 0}, answer_tokens_per_day=50)
    assert own.over(defaults) == KeyLimits(
        per_minute={"search": 10, "answer": 0}, requests_per_day=100, answer_tokens_per_day=50
    )


@given(st.text(max_size=90))
def test_no_text_but_a_key_is_taken_for_one(text: str) -> None:
    assert split_key(text) is None


def test_unknown_scopes_and_periods_are_refused_by_name() -> None:
    assert check_scopes(["vouch", "search", "search"]) == ["search", "vouch"]
    with pytest.raises(ConfigError, match=r"'serach'.*search, answer"):
        check_scopes(["serach", "answer"])
    with pytest.raises(ConfigError, match="at least one"):
        check_scopes([])
    assert parse_period("36h") == timedelta(hours=36)
    for wrong in ("0d", "-1d", "1", "d", "1y", "1.5h", ""):
        with pytest.raises(ConfigError, match="no period"):
            parse_period(wrong)


# --- commands ---------------------------------------------------------------------------------------------------------


def run(*arguments: str, fails: bool = False) -> str:
    result = runner.invoke(app, arguments)
    assert (result.exit_code != 0) == fails, result.output
    return result.output


def test_the_command_shows_a_key_once_and_lists_it_without_its_secret(project: Project) -> None:
    made = json.loads(
        run(
            "keys",
            "create",
            "kiosk",
            "--scopes",
            "search,answer",
            "--groups",
            "staff, crew",
            "--rate",
            "search=30",
            "--requests-per-day",
            "500",
            "--expires",
            "2w",
            "--json",
        )
    )
    parts = split_key(made["key"])
    assert parts is not None and parts[0] == made["id"]
    assert (made["scopes"], made["groups"], made["state"]) == (["search", "answer"], ["crew", "staff"], "works")
    assert made["limits"] == {
        "per_minute": {"search": 30},
        "requests_per_day": 500,
        "answer_tokens_per_day": None,
    }
    for listed in (run("keys", "list"), run("keys", "list", "--json")):
        assert made["id"] in listed and parts[1] not in listed
    expires = datetime.fromisoformat(made["expires_at"])
    assert timedelta(days=13) < expires - datetime.now(UTC) < timedelta(days=15)


def test_rotating_and_revoking_by_command_reach_the_ledger(project: Project) -> None:
    first = json.loads(run("keys", "create", "kiosk", "--expires", "never", "--json"))
    second = json.loads(run("keys", "rotate", "kiosk", "--grace", "none", "--json"))
    with closing(Ledger(project.ledger_url)) as ledger:
        assert sent(ledger, first["key"]) is None
        assert sent(ledger, second["key"]) is not None
        run("keys", "revoke", first["id"])
        assert sent(ledger, second["key"]) is None
        done = [(entry.action, entry.target, entry.outcome) for entry in ledger.audit_entries()]
    assert done == [(f"key.{what}", first["id"], "ok") for what in ("revoke", "rotate", "create")]
    assert "revoked" in run("keys", "list")
    assert "revoked or has expired" in run("keys", "rotate", "kiosk", fails=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scopes", "everything"], "There is no scope 'everything'"),
        (["--scopes", ","], "at least one scope"),
        (["--expires", "soon"], "no period"),
        (["--corpora", "nowhere"], "There is no corpus 'nowhere'"),
        (["--corpora", ","], "at least one corpus"),
        (["--rate", "search"], "SCOPE=N"),
        (["--rate", "reading=3"], "There is no scope 'reading'"),
    ],
)
def test_a_wrong_option_makes_no_key(project: Project, arguments: list[str], message: str) -> None:
    shown = " ".join(run("keys", "create", "kiosk", *arguments, fails=True).replace("│", " ").split())
    assert message in shown
    with closing(Ledger(project.ledger_url)) as ledger:
        assert ledger.api_keys() == []


def test_every_scope_can_be_given(project: Project) -> None:
    made = json.loads(run("keys", "create", "all", "--scopes", ",".join(reversed(SCOPES)), "--json"))
    assert made["scopes"] == list(SCOPES)
