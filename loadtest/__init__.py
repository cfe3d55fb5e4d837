"""Locust load tests of the served ensemble."""
