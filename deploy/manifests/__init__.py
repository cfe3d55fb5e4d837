"""Checks of the compose file, the chart and KServe's objects that need no cluster."""
