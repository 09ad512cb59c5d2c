"""What the tests of the package for Python share."""
pytest_plugins = ["shmif.pytest_plugin", "pytester"]
