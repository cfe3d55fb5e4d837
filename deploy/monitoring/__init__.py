"""Rules, alerts and a dashboard for Prometheus, Alertmanager and Grafana."""
