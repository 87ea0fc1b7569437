"""The command line: a module per group of commands, one short function per command."""
