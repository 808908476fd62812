"""Measurements that end in one line of JSON and compare everything in one run, on the same weights."""
