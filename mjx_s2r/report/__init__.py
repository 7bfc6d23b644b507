"""Reports: self-contained HTML pages, charts of training logs, mosaics and animations."""
