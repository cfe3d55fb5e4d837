"""How well nuclei are found: predictions, scores, tables and the report."""
