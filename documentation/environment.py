"""The page of environment variables. What each is for is written here; a test finds those that the code reads."""

from __future__ import annotations

from dataclasses import dataclass

from documentation.markdown import code, table

INTRODUCTION = """\
# Environment variables

Secrets and addresses come from the environment, and so do the few things that belong to a machine and not to a corpus.
Everything else is in [the corpus file](corpus.md), where `{{ env.NAME }}` takes any variable's value.
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: what it is for, and what holds without it."""

    name: str
    meaning: str
    without: str = ""


GROUPS: dict[str, tuple[Variable, ...]] = {
    "Where things are": (
        Variable("HEADWATER_PROJECT", "The project folder.", "the working directory or the first project above it"),
        Variable("HEADWATER_HOME", "Where lake, index, caches, ledger and logs go.", "`.headwater` in the project"),
        Variable(
            "HEADWATER_LAKE",
            "Where the stage tables of all corpora are: `s3://bucket/prefix` or a folder.",
            "in the home",
        ),
        Variable("HEADWATER_LEDGER_URL", "Database of the ledger, as SQLAlchemy writes it.", "SQLite in the home"),
    ),
    "The HTTP service": (
        Variable(
            "HEADWATER_API_TOKEN",
            "One bearer token for everything but `admin`; see [access](../access.md).",
            "API keys, or this machine alone",
        ),
        Variable("HEADWATER_OIDC_ISSUER", "The `iss` of the identity provider's tokens.", "`serving.oidc.issuer`"),
        Variable("HEADWATER_OIDC_AUDIENCE", "The `aud` that they have for this service.", "`serving.oidc.audience`"),
        Variable(
            "HEADWATER_OIDC_JWKS",
            "Address or file of the provider's public keys.",
            "`serving.oidc.jwks`, or what the issuer names",
        ),
        Variable(
            "HEADWATER_OIDC_ALGORITHMS", "Signatures that are accepted, with commas.", "`serving.oidc.algorithms`"
        ),
        Variable("HEADWATER_OIDC_GROUPS_CLAIM", "Claim with the user's groups.", "`serving.oidc.groups_claim`"),
        Variable(
            "HEADWATER_OIDC_SCOPES_CLAIM", "Claim with what a token may do besides.", "`serving.oidc.scopes_claim`"
        ),
    ),
    "Secrets of a corpus": (
        Variable(
            "HEADWATER_PRIVACY_KEY",
            "Key of the actions `hash`, `pseudonym` and `encrypt`, 16 characters or more; `privacy.key_env` names another variable.",
            "those actions are refused",
        ),
        Variable("QDRANT_API_KEY", "Key of the Qdrant server that `index.url` names.", "no key is sent"),
        Variable("QDRANT_CA_FILE", "PEM file of the authorities that vouch for it.", "those of the system"),
        Variable(
            "QDRANT_CA_FILE",
            "PEM file of the authorities that vouch for a Qdrant server at an https address.",
            "the system's authorities",
        ),
        Variable("EMBEDDINGS_API_KEY", "Key of the endpoint that `embed.url` names.", "no key is sent"),
        Variable(
            "LLM_API_KEY",
            "Key of the language model's server; `answer.llm.key_env` names another variable.",
            "no key is sent",
        ),
    ),
    "Dagster": (
        Variable(
            "HEADWATER_EXECUTOR",
            "How the steps of a run are executed: `in_process`, `multiprocess`, or `k8s`, a pod for each.",
            "`in_process`",
        ),
        Variable("DAGSTER_HOME", "Dagster's instance. `headwater up` sets it.", "a temporary instance"),
    ),
    "Notices": (
        Variable("HEADWATER_NOTIFY_WEBHOOK", "Gets a JSON notice of every failed run.", "the log alone"),
        Variable("HEADWATER_NOTIFY_SLACK", "Slack's incoming webhook for the same.", "the log alone"),
    ),
    "Testing prompts": (
        Variable("HEADWATER_PROMPT_TEST_URL", "Server on which `headwater prompts test` runs, too.", "without a model"),
        Variable("HEADWATER_PROMPT_TEST_MODEL", "Its model's name.", "the first that it has"),
    ),
    "Read by the libraries below": (
        Variable(
            "AWS_*, GOOGLE_*, AZURE_*", "Credentials, region and endpoint of a bucket.", "the machine's own identity"
        ),
        Variable(
            "RAY_ADDRESS",
            "The cluster, where `compute.address` names none; see [Ray](../ray.md).",
            "a Ray on this machine",
        ),
        Variable(
            "OTEL_*",
            "Traces: OpenTelemetry's own variables; see [observability](../observability.md).",
            "nothing is traced",
        ),
        Variable(
            "OMP_NUM_THREADS", "Threads of the embedding model in `headwater serve` and `headwater mcp`.", "1 and 2"
        ),
    ),
}


def environment_page() -> str:
    """Return the page of all variables."""
    parts = [INTRODUCTION]
    for title, variables in GROUPS.items():
        rows = [(", ".join(map(code, each.name.split(", "))), each.meaning, each.without) for each in variables]
        parts.append(f"\n## {title}\n\n{table(('variable', 'meaning', 'without it'), rows)}")
    return "".join(parts)


def documented() -> frozenset[str]:
    """Return the names of all variables on the page."""
    return frozenset(name for group in GROUPS.values() for each in group for name in each.name.split(", "))
