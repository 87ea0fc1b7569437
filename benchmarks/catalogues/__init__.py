"""The catalogues that systems are compared on, as CSV files with a column that says who may learn from which row."""
