"""Dagster on PostgreSQL: the instance that docs/storage.md describes, running a reindex whose ledger is there, too."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from headwater.ledger import Ledger
from tests.conftest import MakeCorpus
from tests.postgres import database
from tests.test_dagster import CHECKOUT, SUBJECTS, load_project

DOCUMENTED = re.compile(r"```yaml\n(storage:\n.*?)```", re.DOTALL)


def test_a_reindex_runs_and_everything_it_records_is_in_postgresql(
    postgres_server: str, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_corpus("manuals", {f"{name}.md": f"# About {name}\n\n{text}\n" for name, text in SUBJECTS.items()})
    block = DOCUMENTED.search((CHECKOUT / "docs" / "storage.md").read_text())
    assert block is not None
    home = tmp_path / "dagster"
    home.mkdir()
    settings = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text()) | yaml.safe_load(block[1])
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with database(postgres_server) as runs, database(postgres_server) as ledger:
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", runs.replace("+psycopg:", "+psycopg2:"))
        monkeypatch.setenv("HEADWATER_LEDGER_URL", ledger)
        job = load_project(folder.parent.parent).resolve_job_def("reindex_manuals")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            result = job.execute_in_process(instance=instance)
            assert result.success
            assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
            key = dg.AssetKey(["manuals", "live_release"])
            assert instance.get_latest_materialization_event(key) is not None
        engine = sa.create_engine(runs, poolclass=sa.NullPool)
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM runs WHERE status = 'SUCCESS'")).scalar_one() == 1
            assert connection.execute(sa.text("SELECT count(*) FROM event_logs")).scalar_one() > 20
        opened = Ledger(ledger)
        assert opened.live("manuals") == 1
        opened.close()
    assert not list(home.rglob("*.db")) and not list(folder.parent.parent.rglob("ledger.db"))
