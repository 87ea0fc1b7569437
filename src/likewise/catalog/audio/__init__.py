"""Recordings from untrusted sources: finding, checking and decoding; downloads are those of pictures."""
