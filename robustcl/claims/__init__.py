"""Claims of papers: a sentence, a test over a study's own numbers, what it came to, and the ledger of all of them."""
