"""HTTP as every process of a server speaks it: connections, routes, limits, and their metrics."""
