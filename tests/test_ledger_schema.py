"""``headwater ledger``: what an upgrade and a downgrade of the ledger's schema keep, refuse and say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from headwater.audit import operator
from headwater.cli import app
from headwater.errors import ConfigError, LeaseError
from headwater.ledger import Ledger
from headwater.ledger.downgrade import downgrade
from headwater.ledger.engine import create_engine, write
from headwater.ledger.migrate import migrations, status, upgrade
from headwater.ledger.schema import HEAD, metadata
from headwater.scaffold import make_project

REVISIONS = [step.revision for step in migrations()]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    made = create_engine(url)
    yield made
    made.dispose()


@pytest.fixture
def project(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path / "project")
    monkeypatch.setenv("HEADWATER_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("HEADWATER_LEDGER_URL", url)
    return tmp_path / "project"


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["ledger", *arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.output


def fill(engine: sa.Engine) -> None:
    """Put one row into every table, with a value in every column."""
    upgrade(engine)
    with write(engine) as connection:
        for table in metadata.sorted_tables:
            row = {column.name: value(column) for column in table.columns}
            # A lease that ran out: nobody is at work.
            if table.name == "leases":
                row["expires_at"] = NOW
            connection.execute(table.insert().values(row))


def value(column: sa.Column[Any]) -> Any:
    """Return something that the column can hold; the same for the same name, so that foreign keys hold."""
    if column.name == "answer_id":
        return "id"
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Integer):
        return 7
    if isinstance(kind, sa.Float):
        return 0.5
    if isinstance(kind, sa.JSON):
        return {"name": column.name}
    if isinstance(kind, sa.String):
        return column.name
    return NOW


def contents(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    """Return all rows by table, as the database itself describes them."""
    found = sa.MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }


@pytest.mark.parametrize("revision", REVISIONS)
def test_going_back_keeps_every_value_that_the_older_version_knows(engine: sa.Engine, url: str, revision: str) -> None:
    fill(engine)
    before = contents(engine)
    assert all(before.values()), "a table that the test puts no row into proves nothing"
    if revision != HEAD:
        with pytest.raises(ConfigError, match="Nothing was changed"):
            downgrade(engine, revision)
        assert (contents(engine), status(engine).revision) == (before, HEAD)
    loss = downgrade(engine, revision, force=True)
    kept = contents(engine)
    assert "releases" in kept
    for table, rows in kept.items():
        assert rows == [{column: row[column] for column in rows[0]} for row in before[table]]
    assert set(loss.rows) == before.keys() - kept.keys()
    assert len(loss.columns) == sum(len(before[table][0]) - len(rows[0]) for table, rows in kept.items())
    with closing(Ledger(url)) as ledger:  # and forth again
        assert ledger.release("corpus", 7).spec == "spec"
    assert status(engine).state == "current"
    after = contents(engine)
    assert after.keys() == before.keys()
    for table, rows in kept.items():
        assert [{column: row[column] for column in rows[0]} for row in after[table]] == rows


def test_an_empty_ledger_goes_back_without_force(engine: sa.Engine) -> None:
    upgrade(engine)
    loss = downgrade(engine, REVISIONS[0])
    assert (loss.rows, loss.columns, str(loss)) == ({}, (), "")
    assert status(engine).revision == REVISIONS[0]


def test_a_ledger_in_which_a_reindex_is_at_work_does_not_go_back(engine: sa.Engine, url: str) -> None:
    with closing(Ledger(url)) as ledger:
        ledger.acquire_lease("handbook", "worker", 300)
    with pytest.raises(LeaseError, match="handbook"):
        downgrade(engine, "0001", force=True)
    assert status(engine).revision == HEAD


def test_revisions_that_cannot_be_reached_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(ConfigError, match="headwater ledger upgrade"):
        downgrade(engine, HEAD)
    upgrade(engine)
    with pytest.raises(ConfigError, match="There is no schema revision '0815'"):
        downgrade(engine, "0815")
    downgrade(engine, "0002")
    with pytest.raises(ConfigError, match="older than 0004: use headwater ledger upgrade"):
        downgrade(engine, "0004")


def test_an_older_ledger_is_brought_up_to_date_by_the_command(project: Path, engine: sa.Engine) -> None:
    upgrade(engine)
    downgrade(engine, "0003")
    told = json.loads(run("status", "--json"))
    assert (told["state"], told["revision"], told["head"]) == ("behind", "0003", HEAD)
    assert [step["revision"] for step in told["pending"]] == REVISIONS[REVISIONS.index("0003") + 1 :]
    assert "0004" in run("status", "--check", code=1)
    assert f"from schema revision 0003 to {HEAD}" in run("upgrade")
    assert status(engine).state == "current"
    assert "already" in run("upgrade")
    run("status", "--check")


def test_a_new_database_gets_its_schema_from_the_command(project: Path, engine: sa.Engine) -> None:
    assert json.loads(run("status", "--json"))["state"] == "empty"
    assert sa.inspect(engine).get_table_names() == []
    told = json.loads(run("upgrade", "--json"))
    assert (told["before"], told["after"]) == (None, HEAD)
    assert [step["revision"] for step in told["ran"]] == REVISIONS
    assert all(step["brings"] for step in told["ran"])
    assert metadata.tables.keys() <= set(sa.inspect(engine).get_table_names())


def test_the_ledger_of_a_newer_version_is_refused_by_every_command_that_would_write(
    project: Path, engine: sa.Engine
) -> None:
    fill(engine)
    with write(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    before = contents(engine)
    assert json.loads(run("status", "--json"))["state"] == "ahead"
    for arguments in (("upgrade",), ("downgrade", "0001", "--force")):
        message = run(*arguments, code=1)
        assert "schema revision 9999" in message
        assert f"headwater ledger downgrade {HEAD}" in message
    assert contents(engine) == before


def test_going_back_by_the_command_says_what_went(project: Path, engine: sa.Engine) -> None:
    fill(engine)
    assert "1 rows of audit" in run("downgrade", "0005", code=1)
    assert status(engine).revision == HEAD
    told = json.loads(run("downgrade", "0005", "--force", "--json"))
    assert told["rows"]["api_keys"] == 1
    assert "schema revision 0004 now" in run("downgrade", "0004", "--force")
    assert status(engine).revision == "0004"


def entered(url: str) -> list[tuple[str, str | None, str, dict[str, int]]]:
    with closing(Ledger(url)) as ledger:
        found = sorted(ledger.audit_entries(action="ledger"), key=lambda entry: entry.at)
    assert all(entry.who == operator() for entry in found)
    return [(entry.action, entry.target, entry.outcome, dict(entry.counts)) for entry in found]


def test_changes_of_the_schema_are_entered_in_the_audit_log_done_or_refused(
    project: Path, engine: sa.Engine, url: str
) -> None:
    run("upgrade")
    run("upgrade")  # there is nothing to do, so nobody did anything
    steps = ("ledger.upgrade", HEAD, "ok", {"migrations": len(REVISIONS)})
    assert entered(url) == [steps]
    run("downgrade", "0815", code=1)
    assert entered(url) == [steps, ("ledger.downgrade", "0815", "refused", {})]
    run("downgrade", "0006")
    run("upgrade")
    assert entered(url)[2:] == [
        ("ledger.downgrade", "0006", "ok", {"rows": 0, "columns": 0}),
        ("ledger.upgrade", HEAD, "ok", {"migrations": len(REVISIONS) - REVISIONS.index("0006") - 1}),
    ]


@pytest.mark.parametrize("revision", REVISIONS)
def test_going_back_by_the_command_is_entered_wherever_the_older_schema_has_an_audit_log(
    project: Path, engine: sa.Engine, url: str, revision: str
) -> None:
    upgrade(engine)
    run("downgrade", revision, "--force")
    kept = sa.inspect(engine).has_table("audit")
    assert [entry[:3] for entry in entered(url)] == [("ledger.downgrade", revision, "ok")] * kept
