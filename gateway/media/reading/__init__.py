"""Images as they are uploaded: checked, decoded within a budget of memory, reduced to what a request takes."""
