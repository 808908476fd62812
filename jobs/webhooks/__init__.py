"""Webhooks: clients are notified when a job ends."""
