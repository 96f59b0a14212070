"""What several parts of the package need: checks of arguments, logs, files, numbers as words."""
