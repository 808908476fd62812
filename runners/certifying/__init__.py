"""Tests which modules of an undeclared pipeline may share passes, when it is first loaded."""
