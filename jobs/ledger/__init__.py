"""Where job records are kept, so that they outlive every process."""
