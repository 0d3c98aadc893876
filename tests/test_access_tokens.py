"""Tokens of an identity provider: what is accepted, what is refused, and how its keys rotate.

The provider is real: a server on this machine that signs with keys of its own and publishes them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from headwater.errors import ConfigError
from headwater.ledger import Ledger
from headwater.project import Project
from serving.access import Access
from serving.access.jwks import KeysUnavailable, ProviderKeys
from serving.access.settings import AccessSettings, OidcSettings, load_settings
from serving.access.tokens import InvalidToken, ProviderTokens

AUDIENCE = "headwater"
_MAKERS = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


@dataclass
class Provider:
    """An identity provider: ``published`` are its public keys by id."""

    url: str = ""
    secrets: dict[str, tuple[str, Any]] = field(default_factory=dict)
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    fails: bool = False
    asked: int = 0
    hangs: threading.Event | None = None
    """Answers only when it is set."""

    def rotate(self, kid: str, algorithm: str = "ES256") -> None:
        make, kind = _MAKERS[algorithm]
        secret = make()
        self.secrets[kid] = (algorithm, secret)
        self.published[kid] = json.loads(kind.to_jwk(secret.public_key())) | {"kid": kid, "use": "sig"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "mira", "exp": int(time.time()) + 300} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        algorithm, secret = self.secrets[kid]
        return jwt.encode(self.claims(**changes), secret, algorithm, headers={"kid": kid} | (header or {}))

    def keys(self, _request: Request) -> Response:
        self.asked += 1
        if self.hangs is not None:
            self.hangs.wait(30)
        if self.fails:
            return Response("broken", 500)
        return JSONResponse({"keys": list(self.published.values())})

    def describe(self, _request: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    def settings(self, **changes: Any) -> OidcSettings:
        fields = {"issuer": self.url, "audience": AUDIENCE, "jwks": f"{self.url}/keys"} | changes
        return OidcSettings.model_validate(fields)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Provider, str]]:
    provider = Provider()
    app = Starlette(
        routes=[
            Route("/keys", lambda request: provider.keys(request)),
            Route("/.well-known/openid-configuration", lambda request: provider.describe(request)),
            Route("/moved", lambda _request: RedirectResponse("/keys")),
            Route("/text", lambda _request: Response("no json")),
            Route("/large", lambda _request: Response(b" " * 600_000)),
            Route("/empty", lambda _request: JSONResponse({"keys": []})),
            Route("/list", lambda _request: JSONResponse([])),
        ]
    )
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.started
    port = running.servers[0].sockets[0].getsockname()[1]
    provider.url = f"http://127.0.0.1:{port}"
    yield provider, provider.url
    running.should_exit = True
    thread.join(10)


@pytest.fixture
def provider(server: tuple[Provider, str]) -> Provider:
    provider, url = server
    provider.__init__(url)  # type: ignore[misc]
    for kid, algorithm in (("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")):
        provider.rotate(kid, algorithm)
    return provider


def reader(provider: Provider, clock: Any = time.monotonic, **changes: Any) -> ProviderTokens:
    oidc = provider.settings(**changes)
    return ProviderTokens(AccessSettings(oidc=oidc), oidc, clock=clock)


class Clock:
    def __init__(self) -> None:
        self.seconds = 5000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_token_of_the_provider_says_who_calls(provider: Provider, kid: str) -> None:
    token = provider.token(kid, groups=["staff", "crew"], exp=int(time.time()) + 100)
    found, expires = reader(provider, leeway_seconds=5).identity(token)
    assert found.id == "oidc:mira"
    assert found.groups == {"staff", "crew"}
    assert found.scopes == {"search", "answer", "documents", "receipts", "feedback"}
    assert found.corpora is None
    assert 90 < expires - time.time() <= 105


def test_keys_are_found_by_discovery_too(provider: Provider) -> None:
    assert reader(provider, jwks=None).identity(provider.token("ec"))[0].id == "oidc:mira"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "another service"}, "another audience"),
        ({"aud": ["one", "two"]}, "another audience"),
        ({"aud": None}, "lacks the claim aud"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "lacks the claim iss"),
        ({"exp": None}, "lacks the claim exp"),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": 7}, "malformed"),
        ({"sub": ""}, "sub is not"),
        ({"sub": "two\nlines"}, "sub is not"),
        ({"sub": "x" * 201}, "sub is not"),
        ({"exp": int(time.time()) - 3600}, "has expired"),
        ({"exp": "soon"}, "malformed"),
        ({"nbf": int(time.time()) + 3600}, "isn't valid yet"),
        ({"iat": int(time.time()) + 3600}, "isn't valid yet"),
        ({"groups": {"staff": True}}, "is not a list of group names"),
        ({"groups": ["staff", 7]}, "is not a list of group names"),
        ({"groups": [""]}, "is not a list of group names"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_and_not_repeated(
    provider: Provider, changes: dict[str, Any], reason: str
) -> None:
    token = provider.token("ec", **changes)
    with pytest.raises(InvalidToken, match=reason) as refused:
        reader(provider).identity(token)
    assert not any(part in str(refused.value) for part in (*token.split("."), "mira", "elsewhere"))


def test_one_of_several_audiences_is_enough(provider: Provider) -> None:
    assert reader(provider).identity(provider.token("ec", aud=["other", AUDIENCE]))[0].id == "oidc:mira"


@pytest.mark.parametrize(("age", "fine"), [(-10, True), (-40, False)])
def test_clocks_may_differ_by_the_leeway(provider: Provider, age: int, fine: bool) -> None:
    token = provider.token("ec", exp=int(time.time()) + age)
    if fine:
        reader(provider, leeway_seconds=20).identity(token)
    else:
        with pytest.raises(InvalidToken, match="expired"):
            reader(provider, leeway_seconds=20).identity(token)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_an_unsigned_token_is_refused(provider: Provider) -> None:
    for name in ("none", "None", "NONE", "nOnE", "", None):
        token = f"{part({'alg': name, 'typ': 'JWT', 'kid': 'ec'})}.{part(provider.claims())}."
        with pytest.raises(InvalidToken):
            reader(provider).identity(token)


def test_a_public_key_is_no_shared_secret(provider: Provider) -> None:
    """The classic confusion: the published key used as the secret of an HMAC."""
    public = provider.secrets["rsa"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (public, json.dumps(provider.published["rsa"]).encode()):
        signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{part(provider.claims())}"
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).decode().rstrip("=")
        with pytest.raises(InvalidToken, match="algorithm"):
            reader(provider).identity(f"{signed}.{mac}")


def test_a_shared_secret_among_the_published_keys_is_not_used(provider: Provider) -> None:
    secret = b"k" * 32
    encoded = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    provider.published["oct"] = {"kty": "oct", "k": encoded, "kid": "oct", "alg": "HS256"}
    token = jwt.encode(provider.claims(), secret, "HS256", headers={"kid": "oct"})
    with pytest.raises(InvalidToken, match="algorithm"):
        reader(provider).identity(token)
    assert ProviderKeys(provider.settings()).find("oct", "HS256") is None


def test_the_algorithm_of_the_header_must_be_that_of_the_key(provider: Provider) -> None:
    algorithm, secret = provider.secrets["ec"]
    token = jwt.encode(provider.claims(), secret, algorithm, headers={"kid": "rsa"})
    with pytest.raises(InvalidToken, match="doesn't list"):
        reader(provider).identity(token)


def test_an_algorithm_that_is_not_configured_is_refused(provider: Provider) -> None:
    with pytest.raises(InvalidToken, match=r"accepted: RS256\)"):
        reader(provider, algorithms="RS256").identity(provider.token("ec"))


def test_keys_that_the_token_brings_along_are_not_used(provider: Provider) -> None:
    other = Provider(provider.url)
    other.rotate("own")
    token = other.token("own", header={"jwk": other.published["own"], "jku": f"{provider.url}/text"})
    with pytest.raises(InvalidToken, match="doesn't list"):
        reader(provider).identity(token)


def test_another_keys_signature_is_wrong(provider: Provider) -> None:
    other = Provider(provider.url)
    other.rotate("ec")
    with pytest.raises(InvalidToken, match="signature"):
        reader(provider).identity(other.token("ec"))


def test_changed_claims_break_the_signature(provider: Provider) -> None:
    header, _, signature = provider.token("ec").split(".")
    with pytest.raises(InvalidToken, match="signature"):
        reader(provider).identity(f"{header}.{part(provider.claims(sub='root'))}.{signature}")


@pytest.mark.parametrize("token", ["..", "a.b.c", "é.é.é", "e30.e30.", "x" * 20_000 + ".y.z"])
def test_what_is_no_token_is_refused(provider: Provider, token: str) -> None:
    with pytest.raises(InvalidToken):
        reader(provider).identity(token)


# --- groups and scopes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "claims", "groups"),
    [
        ("groups", {}, set()),
        ("groups", {"groups": "staff"}, {"staff"}),
        ("groups", {"groups": []}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["staff"]}}, {"staff"}),
        ("realm_access.roles", {"realm_access": ["staff"]}, set()),
        ("https://id.example/groups", {"https://id.example/groups": ["staff"]}, {"staff"}),
        ("a.b", {"a.b": ["whole"], "a": {"b": ["path"]}}, {"whole"}),
    ],
)
def test_groups_come_from_the_configured_claim(
    provider: Provider, claim: str, claims: dict[str, Any], groups: set[str]
) -> None:
    found, _ = reader(provider, groups_claim=claim).identity(provider.token("ec", **claims))
    assert found.groups == groups


def test_the_providers_names_of_groups_become_the_corpora_s(provider: Provider) -> None:
    tokens = reader(provider, group_names={"4f1c-77": "staff"})
    assert tokens.identity(provider.token("ec", groups=["4f1c-77", "crew"]))[0].groups == {"staff", "crew"}


@pytest.mark.parametrize(
    ("granted", "more"),
    [
        ("openid headwater:admin headwater:vouch", {"admin", "vouch"}),
        (["headwater:admin"], {"admin"}),
        ("admin vouch headwater:everything", set()),
        (None, set()),
        ({"headwater:admin": True}, set()),
    ],
)
def test_scopes_beyond_the_usual_take_the_configured_claim(provider: Provider, granted: Any, more: set[str]) -> None:
    token = provider.token("ec", scope=granted)
    assert reader(provider).identity(token)[0].scopes == {"search", "answer", "documents", "receipts", "feedback"}
    found, _ = reader(provider, scopes=["search"], scopes_claim="scope").identity(token)
    assert found.scopes == {"search"} | more


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_accepted_at_once_and_a_withdrawn_one_refused_in_time(provider: Provider) -> None:
    clock = Clock()
    tokens = reader(provider, clock, jwks_seconds=600)
    old = provider.token("ec")
    tokens.identity(old)
    provider.rotate("ec-2")
    clock.seconds += 1
    tokens.identity(provider.token("ec-2"))
    del provider.published["ec"]
    clock.seconds += 601
    with pytest.raises(InvalidToken, match="doesn't list"):
        tokens.identity(old)
    tokens.identity(provider.token("ec-2"))


def test_made_up_key_ids_do_not_make_the_service_ask_at_will(provider: Provider) -> None:
    clock = Clock()
    tokens = reader(provider, clock)
    for number in range(30):
        clock.seconds += 0.1
        with pytest.raises(InvalidToken):
            tokens.identity(provider.token("ec", header={"kid": f"made up {number}"}))
    assert provider.asked == 2


def test_keys_are_read_once_for_many_tokens(provider: Provider) -> None:
    tokens = reader(provider)
    for number in range(20):
        tokens.identity(provider.token("ed", sub=f"user {number}"))
    assert provider.asked == 1


def test_while_the_provider_is_down_known_keys_count_for_an_hour(provider: Provider) -> None:
    clock = Clock()
    tokens = reader(provider, clock, jwks_seconds=600)
    token = provider.token("ec")
    tokens.identity(token)
    provider.fails = True
    clock.seconds += 1000
    tokens.identity(token)
    clock.seconds += 4000
    with pytest.raises(KeysUnavailable, match="status 500"):
        tokens.identity(token)
    provider.fails = False
    clock.seconds += 2
    tokens.identity(token)


def test_a_provider_that_is_down_is_asked_now_and_then_only(provider: Provider) -> None:
    clock = Clock()
    tokens = reader(provider, clock, jwks_seconds=600)
    token = provider.token("ec")
    tokens.identity(token)
    provider.fails = True
    clock.seconds += 1000
    for _ in range(19):
        tokens.identity(token)
        with pytest.raises(InvalidToken):
            tokens.identity(provider.token("ec", header={"kid": "made up"}))
        clock.seconds += 1
    assert provider.asked == 3  # at first, at 1000 s, at 1010 s


@contextmanager
def hanging(provider: Provider) -> Iterator[threading.Event]:
    provider.hangs = threading.Event()
    try:
        yield provider.hangs
    finally:
        provider.hangs.set()


def asks(provider: Provider, before: int) -> None:
    deadline = time.monotonic() + 20
    while provider.asked == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_one_thread_waits_for_the_provider_tokens_with_known_keys_do_not(provider: Provider) -> None:
    clock = Clock()
    tokens = reader(provider, clock, jwks_seconds=600)
    token = provider.token("ec")
    tokens.identity(token)
    clock.seconds += 1000
    with hanging(provider), ThreadPoolExecutor(1) as pool:
        waits = pool.submit(tokens.identity, token)
        asks(provider, 1)
        for _ in range(20):
            tokens.identity(token)
        assert not waits.done()
        assert provider.asked == 2
        provider.hangs.set()  # type: ignore[union-attr]
        assert waits.result()[0].id == "oidc:mira"


def test_tokens_that_come_while_the_first_keys_are_read_wait_for_them(provider: Provider) -> None:
    tokens = reader(provider)
    with hanging(provider) as answer, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(tokens.identity, provider.token("ec", sub=f"user {n}")) for n in range(4)]
        asks(provider, 0)
        answer.set()
        assert sorted(found.result()[0].id for found in waiting) == [f"oidc:user {n}" for n in range(4)]
    assert provider.asked == 1


def test_made_up_tokens_and_a_provider_that_hangs_keep_nobody_else_out(provider: Provider, tmp_path: Path) -> None:
    settings = AccessSettings(oidc=provider.settings())
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger, hanging(provider):
        _, key = ledger.create_api_key("app", scopes=["search"], who="test")
        access = Access(token="s3cret", settings=settings, ledger=ledger)

        async def let_in() -> list[str]:
            made_up = [
                asyncio.create_task(access.authenticate(f"Bearer {provider.token('ec', sub=f'user {n}')}"))
                for n in range(50)
            ]
            await asyncio.to_thread(asks, provider, 0)
            found = [(await access.authenticate(f"Bearer {sent}")).id for sent in ("s3cret", key)]
            assert not all(task.done() for task in made_up)
            provider.hangs.set()  # type: ignore[union-attr]
            await asyncio.gather(*made_up, return_exceptions=True)
            return found

        found = asyncio.run(asyncio.wait_for(let_in(), 25))
    assert found[0] == "token" and found[1].startswith("key:")


def test_a_token_without_a_key_id_goes_with_the_only_fitting_key(provider: Provider) -> None:
    algorithm, secret = provider.secrets["ec"]
    token = jwt.encode(provider.claims(), secret, algorithm)
    reader(provider).identity(token)
    provider.rotate("ec-2")
    with pytest.raises(InvalidToken, match="doesn't list"):
        reader(provider).identity(token)


def test_a_private_key_among_the_published_ones_is_not_used(provider: Provider) -> None:
    kind, secret = _MAKERS["ES256"][1], provider.secrets["ec"][1]
    provider.published["ec"] = json.loads(kind.to_jwk(secret)) | {"kid": "ec"}
    with pytest.raises(InvalidToken, match="doesn't list"):
        reader(provider).identity(provider.token("ec"))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/moved", "status 307"),
        ("/text", "no JSON"),
        ("/large", "more than"),
        ("/empty", "no public key"),
        ("/list", "no JSON Web Key Set"),
        ("/nothing", "status 404"),
    ],
)
def test_what_is_no_key_set_says_so(provider: Provider, path: str, problem: str) -> None:
    with pytest.raises(KeysUnavailable, match=problem):
        reader(provider, jwks=f"{provider.url}{path}").identity(provider.token("ec"))


def test_an_unreachable_provider_says_so(provider: Provider) -> None:
    with pytest.raises(KeysUnavailable, match="can't be reached"):
        reader(provider, jwks="http://127.0.0.1:1/keys").identity(provider.token("ec"))


def test_discovery_must_name_the_issuer_that_is_trusted(provider: Provider) -> None:
    with pytest.raises(KeysUnavailable, match="another issuer"):
        reader(provider, jwks=None, issuer=f"{provider.url}/").identity(provider.token("ec"))


def test_keys_from_a_file_are_read(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": list(provider.published.values())}))
    assert reader(provider, jwks=str(file)).identity(provider.token("rsa"))[0].id == "oidc:mira"
    assert provider.asked == 0
    with pytest.raises(KeysUnavailable, match="can't be read"):
        reader(provider, jwks=str(tmp_path / "none.json")).identity(provider.token("rsa"))


@pytest.mark.parametrize(
    "address", ["http://id.example/keys", "ftp://id.example/keys", "http://127.0.0.1.id.example/k"]
)
def test_keys_never_come_over_an_open_network(address: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        ProviderKeys(OidcSettings(issuer="https://id.example", audience="x", jwks=address))
    with pytest.raises(ConfigError, match="https"):
        ProviderKeys(OidcSettings(issuer=address, audience="x"))


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ISSUER", "AUDIENCE", "JWKS", "ALGORITHMS", "GROUPS_CLAIM", "SCOPES_CLAIM"):
        monkeypatch.delenv(f"HEADWATER_OIDC_{name}", raising=False)
    return monkeypatch


def test_the_project_file_configures_and_the_environment_takes_precedence(
    project: Project, clean: pytest.MonkeyPatch
) -> None:
    project.settings_file.write_text(
        "serving:\n  oidc: {issuer: https://id.example, audience: hw, jwks: keys.json}\n"
        "  limits: {per_minute: {search: 5}}\n  audit: {retention_days: 30}\n"
    )
    clean.setenv("HEADWATER_OIDC_AUDIENCE", "other")
    clean.setenv("HEADWATER_OIDC_ALGORITHMS", "ES256, EdDSA")
    found = load_settings(project)
    assert found.oidc is not None
    assert (found.oidc.audience, found.oidc.algorithms) == ("other", ("ES256", "EdDSA"))
    assert found.oidc.jwks == str(project.root / "keys.json")
    assert (found.limits.per_minute["search"], found.audit.retention_days) == (5, 30)
    assert found.limits.per_minute["answer"] > 0  # what is not set keeps its default


def test_without_configuration_there_is_no_provider(project: Project, clean: pytest.MonkeyPatch) -> None:
    assert load_settings(project).oidc is None
    assert load_settings(None).oidc is None
    project.settings_file.write_text("# nothing yet\n")
    assert load_settings(project) == AccessSettings()
    project.settings_file.write_text("serving:\n")
    assert load_settings(project) == AccessSettings()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("serving: {oidc: {issuer: https://id.example}}", r"serving\.oidc\.audience"),
        ("serving: {oidc: {issuer: https://i.example, audience: x, algorithms: [HS256]}}", r"oidc\.algorithms"),
        ("serving: {oidc: {issuer: https://i.example, audience: x, algorithms: [none]}}", r"oidc\.algorithms"),
        ("serving: {oidc: {issuer: https://i.example, audience: x, algorithms: []}}", r"oidc\.algorithms"),
        ("serving: {limits: {per_minute: {reading: 5}}}", r"limits\.per_minute"),
        ("serving: {limits: {requests_per_day: -1}}", "requests_per_day"),
        ("serving: {tokens: abc}", r"serving\.tokens"),
        ("servng: {}", "servng"),
        ("serving: [1]", "serving"),
        ("- 1", "must hold sections"),
        ("serving: {", "not valid YAML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    project: Project, clean: pytest.MonkeyPatch, text: str, field: str
) -> None:
    project.settings_file.write_text(text)
    with pytest.raises(ConfigError, match=field) as wrong:
        load_settings(project)
    assert str(project.settings_file) in str(wrong.value)


def test_half_a_provider_in_the_environment_names_the_variable(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("HEADWATER_OIDC_ISSUER", "https://id.example")
    with pytest.raises(ConfigError, match=r"HEADWATER_OIDC_ISSUER.*audience"):
        load_settings(None)
