"""From a catalogue entry to pipelines on a device. Here torch begins."""
