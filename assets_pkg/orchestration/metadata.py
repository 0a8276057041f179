"""Facts about partitions as Dagster metadata: numbers that plot, tables that show."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets_pkg.contracts.lineage import sources_of
from assets_pkg.contracts.tables import TABLES, Table
from assets_pkg.report.page import shortened

ROW_COUNT = "dagster/partition_row_count"


def table_schema(table: Table) -> dg.TableSchema:
    """The column schema the UI shows."""
    return dg.TableSchema(
        [
            dg.TableColumn(table.partition_by, "Date", description="the partition"),
            *(
                dg.TableColumn(name, str(column.dtype), description=column.meaning + _made_from(table, name))
                for name, column in table.columns.items()
            ),
        ]
    )


def asset_spec_metadata(name: str) -> dict[str, Any]:
    """What is true of all partitions of a table's asset."""
    lineage = {
        column: [dg.TableColumnDep(dg.AssetKey(source.table), source.column) for source in sources]
        for column, sources in sources_of(name).items()
    }
    return {
        "dagster/column_schema": table_schema(TABLES[name]),
        **({"dagster/column_lineage": dg.TableColumnLineage(lineage)} if lineage else {}),
    }


def _made_from(table: Table, column: str) -> str:
    sources = sources_of(table.name).get(column, ())
    return f" (from {', '.join(map(str, sources))})" if sources else ""


def records(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> dg.TableMetadataValue | dg.MarkdownMetadataValue:
    """Rows as a table; a sentence when there are none, which the UI would show as an error."""
    if not rows:
        return dg.MetadataValue.md("none")
    shown = [dg.TableRecord({name: _plain(row.get(name)) for name in columns}) for row in rows]
    return dg.MetadataValue.table(shown, schema=dg.TableSchema([dg.TableColumn(name) for name in columns]))


def frame(rows: pl.DataFrame) -> dg.TableMetadataValue | dg.MarkdownMetadataValue:
    """A small frame as a table."""
    return records(rows.to_dicts(), rows.columns)


def picture(svg: str, said: str) -> dg.MarkdownMetadataValue:
    """A small picture; `said`: what it shows, in words."""
    return dg.MetadataValue.md(f"![{said}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})")


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as it is, and a text as far as people read: a broken record may be megabytes long."""
    return value if isinstance(value, int | float | bool | None) else shortened(str(value))
