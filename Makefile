# The few things one does with this repository. Each installs what it needs
# first, if that is missing. `make` alone says what there is.

.PHONY: help test lint

help:
	@echo 'make test   run every test; those that need root are run with sudo, or shown as ignored'
	@echo 'make lint   formatting, clippy and documentation, warnings denied'

test:
	@scripts/test

lint:
	@scripts/lint
