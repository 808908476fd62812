"""What the contracts share: reading requests, errors, streams, documentation."""
