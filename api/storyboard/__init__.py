"""The contract of the storyboard server."""
