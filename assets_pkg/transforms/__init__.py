"""Pure polars: frames and frozen policy values in, frames out. Nothing here knows Dagster, files or clocks."""
