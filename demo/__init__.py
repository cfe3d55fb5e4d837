"""`make demo`: sample images, a synthetic field with known nuclei, and the run over them."""
