"""Latency of models in runtimes: cases, rounds, tables and figures."""
