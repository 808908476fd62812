"""What a step cache saves, and what it costs in quality, beside the control: the same model with fewer steps."""
