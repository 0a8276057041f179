"""One module per step of a day: it reads partitions, calls transforms, replaces partitions. No Dagster here."""
