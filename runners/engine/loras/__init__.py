"""LoRAs of requests that share passes."""
