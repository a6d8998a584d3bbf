"""The controller, in one process."""
