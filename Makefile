# The few things one does with this repository. Each installs what it needs
# first, if that is missing. `make` alone says what there is.

.PHONY: help demo test lint bench bench-analyze

help:
	@echo 'make demo   record real traffic on this machine and show what tcprec says of it (root)'
	@echo 'make test   run every test; those that need root are run with sudo, or shown as ignored'
	@echo 'make bench  what recording costs beside tcpdump and dumpcap (root, a quiet machine)'
	@echo 'make bench-analyze  what analyzing costs beside tcptrace, tshark and others (root, a quiet machine)'
	@echo 'make lint   formatting, clippy and documentation, warnings denied'

demo:
	@scripts/demo

test:
	@scripts/test

lint:
	@scripts/lint

bench:
	@scripts/bench record

bench-analyze:
	@scripts/bench analyze
