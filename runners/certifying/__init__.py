"""Which modules of an undeclared pipeline may share passes: found out by trying, when it is first loaded."""
