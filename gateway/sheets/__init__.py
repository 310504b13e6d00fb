"""Tables that people keep in Excel: XLSX and CSV files as rows of cells, and what the columns mean."""
