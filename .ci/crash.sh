# ./run crash [...]: sourced by ./run. The arguments go to tests/crash/main.py.
# shellcheck shell=bash
base
apt_need redis-server libmongoc-dev "${APT_SIM[@]}" # the C client is built with the other tests
node_need
python_package
node_package
pip_need crash 'redis>=5' # the textbook's client
quiet cmake-dev cmake --preset dev -DPython3_EXECUTABLE="$VENV/bin/python"
quiet build-crash cmake --build build/dev --parallel --target tool_crash millpond_mongodb
step "crash"
exec "$VENV/bin/python" -B tests/crash/main.py "$@"
