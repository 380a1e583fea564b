"""From photographs to uint8 batches."""
