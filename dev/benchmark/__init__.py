"""Latency of models in runtimes: contestants, rounds, tables and figures."""
