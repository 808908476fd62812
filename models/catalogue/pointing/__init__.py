"""Models that no catalogue has, which an operator points at: repositories, folders, files, addresses. No torch here."""
