"""How access to the service is configured: ``serving:`` in the project's ``headwater.yaml``, and the environment.

The single API token comes from the environment alone, because it is a secret. What the environment says of the identity
provider takes precedence over the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from headwater.api_keys import READING, KeyLimits, Scope
from headwater.errors import ConfigError
from headwater.project import Project
from headwater.yaml_files import read_yaml

TOKEN_VARIABLE = "HEADWATER_API_TOKEN"

Algorithm = Literal["RS256", "ES256", "EdDSA"]
Name = Annotated[str, Field(min_length=1, max_length=500)]

_OIDC_VARIABLES = {
    "HEADWATER_OIDC_ISSUER": "issuer",
    "HEADWATER_OIDC_AUDIENCE": "audience",
    "HEADWATER_OIDC_JWKS": "jwks",
    "HEADWATER_OIDC_ALGORITHMS": "algorithms",
    "HEADWATER_OIDC_GROUPS_CLAIM": "groups_claim",
    "HEADWATER_OIDC_SCOPES_CLAIM": "scopes_claim",
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OidcSettings(_Settings):
    """The identity provider whose tokens are accepted."""

    issuer: Name = Field(description="The `iss` of its tokens, exactly as they have it.")
    audience: Name = Field(description="The `aud` that its tokens for this service have.")
    jwks: Name | None = Field(
        default=None,
        description="Its public keys: an https address (http on this machine), or a file beside headwater.yaml. "
        "Default: what its /.well-known/openid-configuration names.",
    )
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "ES256", "EdDSA"), min_length=1, description="Signatures that are accepted."
    )
    groups_claim: Name = Field(
        default="groups", description="Claim with the user's groups; a path has dots (realm_access.roles)."
    )
    group_names: dict[str, Name] = Field(
        default_factory=dict, description="Groups of the provider that are called otherwise in the corpora's rules."
    )
    scopes: tuple[Scope, ...] = Field(default=tuple(sorted(READING)), description="What every valid token may do.")
    scopes_claim: Name | None = Field(
        default=None, description="Claim with what a token may do beyond `scopes`, such as scope; a path has dots."
    )
    scope_prefix: str = Field(
        default="headwater:", description="What our scopes start with in that claim (headwater:admin)."
    )
    leeway_seconds: int = Field(default=30, ge=0, le=300, description="By how much clocks may differ.")
    jwks_seconds: int = Field(
        default=600, ge=1, le=86_400, description="How long its keys are kept before they are read anew."
    )

    @field_validator("algorithms", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class AuditSettings(_Settings):
    """The audit log."""

    retention_days: int = Field(default=365, ge=1, le=36_500, description="Older entries are deleted.")


DEFAULT_LIMITS = KeyLimits(
    per_minute={
        "search": 600,
        "answer": 60,
        "documents": 600,
        "receipts": 300,
        "feedback": 300,
        "questions": 30,
        "admin": 60,
    }
)
"""Ten searches and one answer a second: far above what people do, and below what would starve other callers of a
process that gives tens of answers a second."""


class AccessSettings(_Settings):
    """Who may use the HTTP service, and how much."""

    oidc: OidcSettings | None = Field(default=None, description="An identity provider, if there is one.")
    limits: KeyLimits = Field(
        default=DEFAULT_LIMITS, description="Limits of API keys and users where they have none of their own."
    )
    audit: AuditSettings = Field(default_factory=AuditSettings, description="How long the audit log is kept.")

    @field_validator("limits", mode="after")
    @classmethod
    def _over_defaults(cls, value: KeyLimits) -> KeyLimits:
        return value.over(DEFAULT_LIMITS)


class _ProjectFile(_Settings):
    serving: AccessSettings = Field(default_factory=AccessSettings)


def load_settings(project: Project | None) -> AccessSettings:
    """Return the settings of a project; without one, or without ``headwater.yaml``, defaults and the environment's.

    Raises ConfigError naming the file and every wrong field, or the environment variable.
    """
    document = _read(project.settings_file) if project is not None else {}
    where = str(project.settings_file) if project is not None else "environment"
    serving = document.get("serving")
    section: dict[str, Any] = dict(serving) if isinstance(serving, dict) else {}
    given = {field: os.environ[name] for name, field in _OIDC_VARIABLES.items() if os.environ.get(name)}
    if given:
        oidc = section.get("oidc")
        section["oidc"] = {**(oidc if isinstance(oidc, dict) else {}), **given}
        where = f"{where} and {', '.join(name for name in _OIDC_VARIABLES if os.environ.get(name))}"
    if section or serving is None:
        document = {**document, "serving": section}
    try:
        settings = _ProjectFile.model_validate(document).serving
    except ValidationError as error:
        lines = [f"{where}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    return _with_absolute_jwks(settings, project)


def api_token() -> str | None:
    """Return the single API token of the environment, None when there is none."""
    return os.environ.get(TOKEN_VARIABLE) or None


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    document, _ = read_yaml(path)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: must hold sections, such as `serving:`.")
    return document


def _with_absolute_jwks(settings: AccessSettings, project: Project | None) -> AccessSettings:
    oidc = settings.oidc
    if oidc is None or oidc.jwks is None or "://" in oidc.jwks:
        return settings
    folder = project.root if project is not None else Path.cwd()
    path = (folder / Path(oidc.jwks).expanduser()).resolve()
    return settings.model_copy(update={"oidc": oidc.model_copy(update={"jwks": str(path)})})
