"""Speed of training, losses, data and retrieval."""
