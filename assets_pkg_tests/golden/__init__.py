"""Whole days of realistic size with numbers known beforehand."""
