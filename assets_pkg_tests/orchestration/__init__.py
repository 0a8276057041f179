"""The pipeline as Dagster runs it: definitions, runs, backfills, checks, two runs at once, the command line."""
