"""Bulk intake: where pictures come from, and how many of them go in."""
