"""TSFD-Net: network, data, losses, training, evaluation and export."""
