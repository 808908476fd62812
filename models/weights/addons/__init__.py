"""What requests add to a loaded model: LoRAs, ControlNets, IP-Adapters."""
