# The repository's commands. On a bare machine, `python3 deploy/dev.py VERB` prepares it and calls
# them. Tools run as modules: the first line of a console script breaks in a path with a space.

set positional-arguments

python := ".venv/bin/python"
code := "libs services deploy tests"
migrations := "libs/*/src/drivewake/*/sql/migrations/*.sql services/*/src/drivewake/*/sql/migrations/*.sql"

# Where the command was typed: relative paths among a verb's arguments are meant from there.
export DRIVEWAKE_INVOKED_FROM := invocation_directory()

[private]
default:
    @exec "{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

# run it all, here and now: a git history as Drive activity, through real servers, checked
[no-exit-message]
demo *ARGS:
    @exec {{ python }} -m drivewake.lab.demo "$@"

# check, then run every test: in random order, on two workers, with branch coverage
[no-exit-message]
test *ARGS: check
    @exec {{ python }} -m pytest -n 2 --cov --cov-report=term:skip-covered "$@"

# everything that can be said without running the code
check: lint types imports dependencies sql

# style and suspicious code
[no-exit-message]
lint:
    @{{ python }} -m ruff check {{ code }}
    @{{ python }} -m ruff format --check {{ code }}

# types, strictly
[no-exit-message]
types:
    @{{ python }} -m mypy {{ code }}

# who may import whom
[no-exit-message]
imports:
    @{{ python }} -c "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"

# To deptry, all our distributions bring one module, `drivewake`; which of them a package really
# needs is held by tests/unit/deploy/test_distributions.py.

# each distribution declares what it imports, and no more
[no-exit-message]
dependencies:
    @ours=$(for package in libs/*/ services/*/; do \
        printf 'drivewake-%s=drivewake,' "$(basename "$package")"; done); \
    failed=0; for package in libs/*/ services/*/; do \
        echo "$package"; \
        (cd "$package" && ../../{{ python }} -m deptry --known-first-party drivewake \
            --package-module-name-map "${ours%,}" src) || failed=1; \
    done; exit $failed

# migrations that would stop a running system, or break the version that runs
[no-exit-message]
sql:
    @.venv/bin/squawk --config .squawk.toml {{ migrations }}

# measure ours and its anchors: `just bench NAME [--json FILE]`
[no-exit-message]
bench NAME *ARGS:
    @test -f "tests/bench/$1.py" || { echo "no such bench; there are:" tests/bench/*.py; exit 2; }
    @bench="tests/bench/$1.py"; shift; exec {{ python }} "$bench" "$@"

# write every file as the formatter wants it
fmt:
    @{{ python }} -m ruff format {{ code }}
    @{{ python }} -m ruff check --fix --exit-zero {{ code }}

# write the AsyncAPI document anew from the contracts
contracts:
    @exec {{ python }} -m drivewake.contracts.asyncapi

# remove what runs and tests left behind (installed packages stay)
clean:
    @rm -rf .run dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
        .import_linter_cache .hypothesis
    @find libs services tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
