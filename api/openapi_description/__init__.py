"""How the server's OpenAPI description is made: bodies, errors, headers, and what this server's models allow."""
