"""The CPU variant of the image, for machines without a GPU or without a way to NVIDIA's images."""
