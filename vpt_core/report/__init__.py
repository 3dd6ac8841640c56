"""A run as one HTML file: its numbers and pictures, with nothing to fetch and nothing to run."""

from vpt_core.report.run_report import report, write_report

__all__ = ["report", "write_report"]
