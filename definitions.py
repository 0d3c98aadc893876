"""The code location: the assets, jobs, sensors and schedules of every corpus of one project.

The project is the checkout, or the folder that ``HEADWATER_PROJECT`` names (one made by ``headwater init``).
Loading reads the corpora's ``defs.yaml`` and nothing else: no bucket, lake, index, ledger or model.
"""

import os
from pathlib import Path

import dagster as dg

from headwater.project import Project, find_project, project_at
from jobs.answer_log import log_answers
from jobs.reindex import reindex
from jobs.releases import release_jobs
from resources.executor import executor
from resources.headwater import headwater_resource
from sensors.answer_log import log_answers_daily
from sensors.bucket import watch
from sensors.reconcile import reconcile
from sensors.run_failure import notify_run_failures

CHECKOUT = Path(__file__).resolve().parent


def corpora(project: Project) -> dg.Definitions:
    """Return the assets of the project's corpora."""
    if project.root == CHECKOUT:
        return dg.load_from_defs_folder(path_within_project=CHECKOUT)
    from assets.corpus import Corpus

    components = [Corpus.from_file(project.corpus_file(name)) for name in project.corpus_names()]
    return dg.Definitions.merge(*(dg.build_defs_for_component(component) for component in components))


@dg.definitions
def defs() -> dg.Definitions:
    """Build the code location."""
    project = find_project() if os.environ.get("HEADWATER_PROJECT") else project_at(CHECKOUT)
    names = project.corpus_names()
    return dg.Definitions.merge(
        corpora(project),
        dg.Definitions(
            jobs=[job for name in names for job in (reindex(name), log_answers(name), *release_jobs(name))],
            schedules=[schedule for name in names for schedule in (reconcile(name), log_answers_daily(project, name))],
            sensors=[*(watch(project, name) for name in names), notify_run_failures],
            resources={"headwater": headwater_resource(project.root)},
            executor=executor(),
        ),
    )
