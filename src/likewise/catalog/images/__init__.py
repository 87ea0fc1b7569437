"""Pictures from untrusted sources: downloading, caching and decoding."""
