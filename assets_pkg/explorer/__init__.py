"""Pages to look at tables and at a single file, in a browser (Streamlit, the extra `explorer`). Nothing is written."""
