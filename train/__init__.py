"""Programs: `python -m train VERB`; one file a verb, each a Config dataclass and a main."""
