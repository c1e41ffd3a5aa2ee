# ./run histories [...]: sourced by ./run. The arguments go to tests/histories/main.py.
# shellcheck shell=bash
base
apt_need redis-server libmongoc-dev "${APT_SIM[@]}" # the C client is built with the other tests
node_need
python_package
node_package
histories_need
step "histories"
exec "$VENV/bin/python" -B tests/histories/main.py "$@"
