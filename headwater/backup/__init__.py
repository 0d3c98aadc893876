"""Backup and restore of what Headwater keeps: ledger, lake and index. How and why: docs/backup.md."""

from headwater.backup.restoring import RestoreReport, check, restore
from headwater.backup.saving import BackupReport, backup

__all__ = ["BackupReport", "RestoreReport", "backup", "check", "restore"]
