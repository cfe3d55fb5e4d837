"""Annotated images: where they come from, what is held back, and the batches made of them."""
