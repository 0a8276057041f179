"""The day report for people: tables in, a page out. Pure: no Dagster, no files, no clock."""
