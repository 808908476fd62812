"""What models need of a device, and what an entry trades for memory or speed."""
