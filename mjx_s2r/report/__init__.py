"""Reports and plots: self-contained HTML pages, charts and films."""
