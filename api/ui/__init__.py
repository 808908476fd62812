"""`/ui`, the page to play with: starts its process (`ui/`) at the first visit and forwards requests to it."""
