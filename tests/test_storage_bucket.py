"""Documents in an S3 bucket: credentials as AWS' tools find them, connections that break, and errors that say what to do."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest

from headwater import aws
from headwater.errors import ConfigError, SourceError
from headwater.lake_folder import RemoteFolder
from headwater.source import KeyFilter, list_objects, open_store, read_object
from tests.object_store import s3_client, server, use_server

EVERYTHING = KeyFilter(["**"], [])
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
LARGE = bytes(range(256)) * 60_000  # 15 MB: several pieces


def test_a_large_object_put_in_parts_is_read_whole(s3: str) -> None:
    store = open_store(f"s3://{s3}/in")
    obstore.put(store, "large.bin", LARGE, use_multipart=True, chunk_size=5 * 2**20)
    assert s3_client().head_object(Bucket=s3, Key="in/large.bin")["ETag"].endswith('-3"')
    assert read_object(store, "large.bin") == LARGE


class Breaking(BaseHTTPRequestHandler):
    """Serves one object, and breaks every connection after six megabytes."""

    content = LARGE
    replaced = False
    """Whether the object is another one from the second request on."""

    asked: list[str | None]

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.asked.append(span)
        again = self.replaced and len(self.asked) > 1
        start = int(re.match(r"bytes=(\d+)-", span)[1]) if span else 0  # type: ignore[index]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("ETag", '"second"' if again else '"first"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
        self.end_headers()
        self.wfile.write(self.content[start : start + 6 * 2**20])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Breaking]]:
    handler = type("OneBreaking", (Breaking,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        use_server(f"http://127.0.0.1:{http.server_address[1]}", monkeypatch)
        yield handler
        http.shutdown()


def test_an_object_whose_connection_breaks_is_read_on_from_there(breaking: type[Breaking]) -> None:
    found = read_object(open_store("s3://papers/in"), "large.bin")
    assert hashlib.sha256(found).digest() == hashlib.sha256(LARGE).digest()
    assert breaking.asked[0] is None and len(breaking.asked) == 3 and all(breaking.asked[1:])


def test_an_object_that_is_replaced_while_its_connection_breaks_is_not_mixed(
    breaking: type[Breaking], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking.replaced = True
    with pytest.raises(SourceError, match=r"large\.bin: "):
        read_object(open_store("s3://papers/in"), "large.bin")


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that checks credentials."""
    with server(INITIAL_NO_AUTH_ACTION_COUNT="0") as url:
        yield url


def test_wrong_credentials_are_named_by_the_bucket_and_the_lake(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(guarded, monkeypatch)
    with pytest.raises(SourceError, match="nothing was changed: The access key or its secret is wrong"):
        list(list_objects("s3://papers/in", EVERYTHING))
    with pytest.raises(Exception, match="The access key or its secret is wrong"):
        list(RemoteFolder("s3://papers/lake", tmp_path).files())


def test_a_missing_bucket_is_named(s3: str) -> None:
    with pytest.raises(SourceError, match="There is no such bucket"):
        list(list_objects("s3://headwater-nowhere/in", EVERYTHING))


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("<Code>PermanentRedirect</Code>", "AWS_REGION"),
        (
            "<Code>AuthorizationHeaderMalformed</Code> the region 'us-east-1' is wrong; expecting 'eu-north-1'",
            "AWS_REGION",
        ),
        ("<Code>ExpiredToken</Code>", "expired"),
        ("<Code>AccessDenied</Code>", "docs/storage.md"),
        ("error sending request for url (http://10.0.0.1/): operation timed out", "does not answer"),
    ],
)
def test_what_s3_answers_is_said_in_words_that_help(answer: str, meaning: str) -> None:
    assert meaning in (aws.explain(OSError(answer)) or "")


def test_an_unknown_error_is_not_explained_away() -> None:
    assert aws.explain(OSError("the disk is full")) is None


def test_keys_of_a_profile_reach_every_client(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_client().put_object(Bucket=s3, Key="in/a.txt", Body=b"text")
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    shared = tmp_path / "credentials"
    shared.write_text("[pipeline]\naws_access_key_id = of-a-profile\naws_secret_access_key = hidden\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    monkeypatch.setenv("AWS_PROFILE", "pipeline")
    options = aws.table_options()
    assert (options["aws_access_key_id"], options["aws_secret_access_key"]) == ("of-a-profile", "hidden")
    assert options["aws_conditional_put"] == "etag"
    assert read_object(open_store(f"s3://{s3}/in"), "a.txt") == b"text"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        aws.table_options()


def test_keys_of_the_environment_go_before_files(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "credentials"
    shared.write_text("[default]\naws_access_key_id = of-a-file\naws_secret_access_key = hidden\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    assert "aws_access_key_id" not in aws.table_options()


def test_buckets_are_in_the_path_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    use_server("http://storage.internal:9000", monkeypatch)
    assert aws.store_settings()["aws_virtual_hosted_style_request"] == "false"
    assert aws.client("s3", "A test").meta.config.s3["addressing_style"] == "path"
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    assert aws.store_settings()["aws_virtual_hosted_style_request"] == "true"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://only-s3.internal")
    assert aws.store_settings()["aws_endpoint_url"] == "https://only-s3.internal" and not aws.plain_http()
