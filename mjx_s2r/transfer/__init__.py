"""From logs back to parameters: identification, evaluation over the table, the gap, the report."""
