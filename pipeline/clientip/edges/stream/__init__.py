"""Readers, answerers and their supervisor."""
