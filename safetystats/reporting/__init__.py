"""Floor 5: tables into pages: document, methods text, figures, writers."""
