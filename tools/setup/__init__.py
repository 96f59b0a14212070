"""What `make demo` and `make test` install before they start. Standard library only."""
