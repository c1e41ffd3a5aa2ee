# ./run bench [...]: sourced by ./run. The arguments go to tests/bench/main.py.
# shellcheck shell=bash
base
apt_need redis-server
case " $* " in
*writes* | *invalidate* | *get-p999* | *pages-* | *fetch-many*) # Python alone
    python_package
    ;;
*queries* | *-find-* | *page-hit*) # Python alone, and MongoDB
    apt_need libmongoc-dev
    python_package
    pip_need bench -r tests/bench/requirements.txt
    ;;
*)
    case " $* " in *behind* | *drain-* | *bullmq* | *hot-key* | *accept-*) apt_need libmongoc-dev ;; esac # before the packages are built
    node_need
    python_package
    node_package
    pip_need bench -r tests/bench/requirements.txt
    npm_need bench tests/bench "$(sha256sum tests/bench/package.json)-$(node --version)"
    step "the C client"
    c_build bench-c
    export MILLPOND_BENCH_C=$BUILD/bench-c/bin/bench_link
    ;;
esac
step "bench"
exec "$VENV/bin/python" tests/bench/main.py "$@"
