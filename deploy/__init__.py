"""Running Triton: the embedded CPU server and its private environment."""
