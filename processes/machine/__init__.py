"""What the machine has: its cards, without torch, and its cores."""
