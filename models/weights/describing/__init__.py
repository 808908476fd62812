"""Entries for models that no catalogue has, from what their files and the hub say of them."""
