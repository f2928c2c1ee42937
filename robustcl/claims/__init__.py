"""Claims of papers: a sentence, a test over a study's own numbers, and what it came to."""
