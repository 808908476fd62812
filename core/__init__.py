"""The nouns that everything here speaks: requests, events, errors. No torch, no HTTP."""
