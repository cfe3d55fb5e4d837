"""Images to try things on: a synthetic field whose nuclei are known, and a real one."""
