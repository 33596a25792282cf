"""How a run is told: one report, as text, JSON, Markdown and a page with charts."""
