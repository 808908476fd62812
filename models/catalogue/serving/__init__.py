"""Which of the catalogue's models a server has, and which of them a request means."""
