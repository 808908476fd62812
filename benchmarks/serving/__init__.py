"""Jubako compared with other servers under the same loads: `make benchmark`."""
