"""The supply chain: licences of what is locked, known vulnerabilities of it, and what is in an image."""
