"""Journals: the records of rolls that survive a restart."""
