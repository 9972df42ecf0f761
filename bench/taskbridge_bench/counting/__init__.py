"""Counts the queries of workers; a Django app."""
