"""`/ui`, the page to play with: a process of its own (`ui/`), started at the first visit, and the way to it."""
