"""What a study plans: every run of its grid composed, on equal terms, at what the person asks for."""
