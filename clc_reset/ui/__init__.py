"""All that a user sees: results, tables, live displays, lines of progress, and prompts."""
