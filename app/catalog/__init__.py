"""The tables and all SQL, one module per noun. Functions take a connection; no other package writes SQL."""
