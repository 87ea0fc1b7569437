"""Load on an HTTP server: a client in a process of its own, and the processes that it is pointed at."""
