"""What a person reads: Markdown, terminal, HTML page, figures. Never loads torch."""
