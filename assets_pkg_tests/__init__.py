"""Tests: `unit` (cases in tables), `properties` (random days), `golden` (whole days known beforehand)."""
