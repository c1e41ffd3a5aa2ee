# ./run sim [...]: sourced by ./run. The arguments go to tests/sim; --cross-check [ROUNDS] compares its Redis with a real one.
# shellcheck shell=bash
base
apt_need "${APT_SIM[@]}"
step "the simulator"
quiet cmake-dev cmake --preset dev -DPython3_EXECUTABLE="$VENV/bin/python"
quiet build-sim cmake --build build/dev --parallel --target sim sim_cross_check sim_clock
step "sim"
if [ "${1:-}" = --cross-check ]; then
    apt_need redis-server
    exec "$VENV/bin/python" -B tests/sim/cross_check/cross_check.py build/dev/bin "${2:-1000}"
fi
exec build/dev/bin/sim "$@"
