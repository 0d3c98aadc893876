"""The old versions that a bucket with versioning keeps of the lake's objects: an erasure has to reach them, too.

Deleting an object of such a bucket hides it and keeps its bytes. What is listed here is every version but the newest of
each object, and the marks that stand for deleted ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from headwater import aws
from headwater.errors import LakeError
from headwater.lake_folder import LakeFolder, LocalFolder

_BATCH = 1000
"""Objects per request: the most that S3 takes."""


def old_versions(folder: LakeFolder) -> list[tuple[str, str]]:
    """Return key and version of what is kept of replaced and deleted objects; nothing of a folder of this machine.

    Raises LakeError when the bucket does not say, as an erasure could not be proved then.
    """
    if isinstance(folder, LocalFolder):
        return []
    bucket, prefix = _place(folder)
    try:
        client = aws.client("s3", "Erasing from a lake in a bucket")
        if not client.get_bucket_versioning(Bucket=bucket).get("Status"):
            return []
        return list(_listed(client, bucket, prefix))
    except LakeError:
        raise
    except Exception as error:
        raise _refused(folder, "listed (s3:GetBucketVersioning, s3:ListBucketVersions)", error) from error


def delete_old_versions(folder: LakeFolder) -> int:
    """Delete what :func:`old_versions` gives; return how many there were. Raises LakeError when the bucket refuses."""
    found = old_versions(folder)
    if not found:
        return 0
    bucket, _ = _place(folder)
    client = aws.client("s3", "Erasing from a lake in a bucket")
    for start in range(0, len(found), _BATCH):
        objects = [{"Key": key, "VersionId": version} for key, version in found[start : start + _BATCH]]
        try:
            done = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        except Exception as error:
            raise _refused(folder, "deleted (s3:DeleteObjectVersion)", error) from error
        if errors := done.get("Errors"):
            raise _refused(folder, f"deleted (s3:DeleteObjectVersion; {errors[0].get('Code')})", None)
    return len(found)


def _listed(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for version in page.get("Versions", ()):
            if not version["IsLatest"]:
                yield version["Key"], version["VersionId"]
        for mark in page.get("DeleteMarkers", ()):
            yield mark["Key"], mark["VersionId"]


def _place(folder: LakeFolder) -> tuple[str, str]:
    parts = urlsplit(folder.uri)
    return parts.netloc, f"{parts.path.strip('/')}/"


def _refused(folder: LakeFolder, what: str, error: Exception | None) -> LakeError:
    meaning = aws.explain(error) if error is not None else None
    return LakeError(
        f"The old versions of objects in {folder.uri} could not be {what}, so an erasure can't be proved. "
        + (meaning or "Give these credentials the right to, and try again: what was begun is finished then.")
    )
