"""The network: what happens to a tile before it, its layers and its weights."""
