"""Where item vectors live and are searched, one file for each engine."""
