"""What operators and clients add to models: files of LoRAs and of new words."""
