"""What can be known of the compose file, the chart and KServe's objects without a cluster."""
