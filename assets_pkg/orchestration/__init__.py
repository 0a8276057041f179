"""The steps as Dagster knows them: partitioned assets, checks, jobs, schedules. No rule and no file format here."""
