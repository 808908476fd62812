"""What stands in front of every address: keys, sites, addresses, sizes of uploads, open streams."""
