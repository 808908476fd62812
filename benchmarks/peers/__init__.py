"""The servers that Jubako is compared with, each around the same plain pipelines."""
