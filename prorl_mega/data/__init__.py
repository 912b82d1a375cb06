"""Data files: safe reading, published schemas, statistics, duplicates and overlap. Imports no torch."""
