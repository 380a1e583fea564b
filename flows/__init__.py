"""Orchestration: when and where sr_core runs. One tool per module."""
