"""How much memory models need, and the options that trade speed for memory or the reverse."""
