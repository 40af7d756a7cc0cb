"""What a device draws while something runs, from whatever sensor it has."""
