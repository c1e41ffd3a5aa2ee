# ./run demo [--json]: sourced by ./run.
# shellcheck shell=bash
base
python_package
step "demo"
exec "$VENV/bin/python" examples/demo/demo.py "$@"
