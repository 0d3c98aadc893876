"""Dagster resources that open objects of the library."""
