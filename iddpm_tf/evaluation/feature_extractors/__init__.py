"""Feature extractors, one module each; `base` says what a feature extractor is."""
