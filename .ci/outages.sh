# ./run outages [...]: sourced by ./run. The arguments go to tests/outages/main.py.
# shellcheck shell=bash
base
apt_need "${APT_OUTAGES[@]}"
node_need
python_package
node_package
pip_need outages -r tests/outages/requirements.txt
npm_need outages tests/outages "$(sha256sum tests/outages/package.json)-$(node --version)"
step "outages"
exec "$VENV/bin/python" -B tests/outages/main.py "$@"
