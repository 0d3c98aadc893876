"""S3 and its kin: endpoint, region and credentials from the environment, the same for every client that Headwater uses.

What AWS' own tools read is read here: ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, else a profile of
``~/.aws`` (which needs boto3), else web identity, container and instance roles. ``AWS_ENDPOINT_URL_S3`` or
``AWS_ENDPOINT_URL`` names another S3-compatible server; buckets are then part of the path unless
``AWS_VIRTUAL_HOSTED_STYLE_REQUEST`` is true.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headwater.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECT_SECONDS, _ANSWER_SECONDS, _TRIES = 3, 10, 2
"""How long is waited for a server that does not answer; a sensor's tick has more to do."""

_NEEDS = "needs boto3, which is not installed: pip install 'headwater[s3]'."


def is_s3(uri: str) -> bool:
    """Return whether ``uri`` has the form s3://bucket/prefix."""
    return urlsplit(uri).scheme in ("s3", "s3a")


def client(service: str, purpose: str) -> Any:
    """Return a boto3 client; endpoint, region and credentials come from the environment.

    Raises ConfigError when boto3 is not installed; ``purpose`` says what it is needed for.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError(f"{purpose} {_NEEDS}") from error
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        # Left to itself, boto3 puts the bucket before the name of a server of one's own, which has no such name.
        s3={"addressing_style": "path"} if _endpoint() and not _virtual_hosts() else None,
    )
    return boto3.client(service, region_name=_region(), config=config)


def store_settings() -> dict[str, str]:
    """Return the settings that obstore and Delta share (object_store's names), without credentials.

    Writes are conditional on the ETag (``If-None-Match``): of two writers of one version of a table, one fails.
    """
    settings = {"aws_conditional_put": "etag"}
    if region := _region():
        settings["aws_region"] = region
    if endpoint := _endpoint():
        settings["aws_endpoint_url"] = endpoint
        settings["aws_virtual_hosted_style_request"] = str(_virtual_hosts()).lower()
    return settings


def plain_http() -> bool:
    """Return whether the endpoint is one without TLS, which the clients refuse unless they are told."""
    return urlsplit(_endpoint() or "").scheme == "http"


def table_options() -> dict[str, str]:
    """Return Delta's storage options: the settings, and credentials where Delta would not find them by itself.

    Raises ConfigError for a profile that can't be used.
    """
    options = store_settings()
    if plain_http():
        options["aws_allow_http"] = "true"
    session = _session()
    if session is not None:
        frozen = session.get_credentials().get_frozen_credentials()
        options |= {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
        if frozen.token:
            options["aws_session_token"] = frozen.token
    return options


def store_credentials() -> Callable[[], Any] | None:
    """Return obstore's credential provider for a profile; None where obstore finds credentials by itself."""
    session = _session()
    if session is None:
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider(session)


def explain(error: BaseException) -> str | None:
    """Return what an error of an S3 client means and what to do, None when it says nothing known.

    The client libraries share one vocabulary: S3's error codes, in the answer that they quote.
    """
    text = str(error)
    return next((meaning for signs, meaning in _MEANINGS if any(sign in text for sign in signs)), None)


_MEANINGS = (
    (
        ("NoSuchBucket",),
        "There is no such bucket: check its name, and that AWS_ENDPOINT_URL names the server that has it.",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"),
        "The access key or its secret is wrong: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    ),
    (
        ("ExpiredToken", "TokenRefreshRequired", "RequestExpired"),
        "The credentials have expired: renew them (for a profile: aws sso login), or use a role.",
    ),
    (
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "301 Moved"),
        "The bucket is in another region: set AWS_REGION to the bucket's.",
    ),
    (
        ("AccessDenied", "403 Forbidden", "lacked the necessary privileges"),
        "These credentials may not do this: the rights that are needed are listed in docs/storage.md.",
    ),
    (
        ("169.254.169.254", "instance metadata", "no credentials", "No credentials", "CredentialsNotLoaded"),
        "No credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine "
        "a role.",
    ),
    (
        ("dns error", "failed to lookup address", "error sending request", "Connection refused", "EndpointConnection"),
        "The server does not answer: check AWS_ENDPOINT_URL (or AWS_REGION) and the network.",
    ),
)


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _virtual_hosts() -> bool:
    return os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in ("1", "true", "yes")


def _region() -> str | None:
    # obstore reads AWS_REGION, boto3 does not.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        return region
    session = _session()
    return session.region_name if session is not None else None


def _session() -> Any:
    """Return the boto3 session of the profile at hand; None when the environment has keys, or there is no profile."""
    profile = os.environ.get("AWS_PROFILE")
    if profile is None and (os.environ.get("AWS_ACCESS_KEY_ID") or not _shared_files()):
        return None
    return _profile(profile)


def _shared_files() -> bool:
    """Return whether there is a file of credentials, as AWS' tools look for it."""
    named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named or "~/.aws/credentials").expanduser().is_file()


@lru_cache(maxsize=8)
def _profile(name: str | None) -> Any:
    """Return a session that has credentials, kept because it renews those that expire."""
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound
    except ImportError as error:
        if name is None:
            return None  # a file that nobody asked for; roles may do
        raise ConfigError(f"AWS_PROFILE {_NEEDS}") from error
    try:
        session = boto3.Session(profile_name=name)
        found = session.get_credentials()
    except ProfileNotFound as error:
        raise ConfigError(f"AWS_PROFILE names the profile {name!r}, which ~/.aws does not have.") from error
    if found is None:
        if name is None:
            return None
        raise ConfigError(f"The profile {name!r} (AWS_PROFILE) has no credentials. Log in, or set keys.")
    return session
