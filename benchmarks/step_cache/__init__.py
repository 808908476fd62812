"""What a step cache saves, and costs in quality, compared with a control: the same model with fewer steps."""
