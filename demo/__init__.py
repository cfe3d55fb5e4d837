"""`make demo`: serve the network and segment a real and a synthetic image."""
