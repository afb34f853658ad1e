# Every habit has a target; `make help` lists them. Needed are make, Go (the version in go.mod or later) and, for the race
# detector, a C compiler.

GO            ?= go
GOBIN         := $(shell $(GO) env GOPATH 2>/dev/null)/bin
GOLANGCI_LINT ?= $(shell command -v golangci-lint 2>/dev/null || echo $(GOBIN)/golangci-lint)
# The version that .ci/run installs.
LINT_VERSION  := v2.15.0
FUZZTIME      ?= 10s
MANDIR        ?= man
# The modules of this repository; examples with dependencies are modules of their own.
MODULES       := $(dir $(shell find . -name go.mod -not -path '*/testdata/*'))
# Where pictures are written. Those of the documentation: make demo bench-peers PICTURES=docs
PICTURES      ?= pictures
# What compiles but cannot upgrade.
OTHERS        := darwin/arm64 windows/amd64

.DEFAULT_GOAL := help
.PHONY: help build demo test test-kernel lint lint-install fuzz bench bench-peers cover cross examples man tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

tools:
	@command -v $(GO) >/dev/null || { echo "missing: go; see https://go.dev/doc/install" >&2; exit 1; }
	@command -v "$$($(GO) env CC)" >/dev/null || { \
		echo "missing: a C compiler, which the race detector needs; for example: apt-get install gcc libc6-dev" >&2; exit 1; }

build: ## compile everything, into the build cache
	@set -e; for m in $(MODULES); do (cd $$m && $(GO) build -o /dev/null ./...); done

# Draws a picture from measurements. Whether that is possible is no matter of what was measured, hence no failure.
define draw
	if [ -s "$$measured" ]; then \
		mkdir -p "$(PICTURES)" && (cd integration/plot && $(GO) run . $(1) "$$measured" "$(abspath $(PICTURES))/$(1)") || \
		echo "no picture: integration/plot could not be fetched, built or run (see above)" >&2; \
	fi
endef

demo: ## upgrade an HTTP and a chat server ten times under load, and show what their clients noticed, also as a picture
	@measured=$$(mktemp) && trap 'rm -f "$$measured"' EXIT && failed=0 && \
	{ $(GO) run ./integration/demo -measured "$$measured" || failed=$$?; } && \
	{ $(call draw,demo) } && exit $$failed

bench-peers: ## the same load on servers with segue, tableflip, overseer, endless, grace, a held socket and a plain restart; two minutes
	@measured=$$(mktemp) && trap 'rm -f "$$measured"' EXIT && \
	(cd integration/peers && $(GO) run . -measured "$$measured" $(PEERS_FLAGS)) && { $(call draw,peers) }

test: tools ## all tests, with the race detector, shuffled; then whether they went through each row of the tables in docs/protocol.md
	@set -e; decisions=$$(mktemp -d); trap 'rm -rf "$$decisions"' EXIT; export SEGUE_DECISIONS="$$decisions"; \
	for m in $(MODULES); do (cd $$m && echo "$$m" && $(GO) test -race -shuffle=on -timeout 30m ./...); done; \
	$(GO) run ./integration/conform

test-kernel: ## tests on Linux 6.1 and 6.12, in qemu; KERNEL_FLAGS such as -kernels 6.1, -quick, -run NAME, -log DIRECTORY
	$(GO) run ./integration/kernel $(KERNEL_FLAGS)

lint: ## golangci-lint, of the version that make lint-install installs
	@test -x "$(GOLANGCI_LINT)" || { echo "missing: golangci-lint; see https://golangci-lint.run, or: make lint-install" >&2; exit 1; }
	@set -e; for m in $(MODULES); do (cd $$m && $(GOLANGCI_LINT) run ./...); done

lint-install: ## install that version of golangci-lint into GOPATH/bin
	$(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

fuzz: ## each fuzz target for FUZZTIME (10s)
	@set -e; grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]*' . | \
	while IFS=: read -r file _ name; do \
		(cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(FUZZTIME) . </dev/null); \
	done

bench: ## what segue costs, and moving descriptors, each figure beside its floor in the same run
	$(GO) run ./integration/bench
	$(GO) run ./integration/fdbench

cover: ## test coverage, per function and as coverage.html
	$(GO) test -coverpkg=./... -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out
	$(GO) tool cover -html=coverage.out -o coverage.html

cross: ## vet everything, tests included, for the systems on which upgrades do not work
	@set -e; for t in $(OTHERS); do for m in $(MODULES); do \
		echo "$$t $$m"; (cd $$m && GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0 sh -c '$(GO) build -o /dev/null ./... && $(GO) vet ./...'); \
	done; done

man: ## manual pages of the command, into MANDIR (man)
	@mkdir -p $(MANDIR)
	$(GO) test ./cmd/segue -run '^TestMan$$' -count 1 -man $(abspath $(MANDIR))

examples: ## build the examples, and upgrade each in its test
	$(GO) build ./examples/... && $(GO) test ./examples/...
	@set -e; for m in $(filter ./examples/%,$(MODULES)); do (cd $$m && $(GO) build -o /dev/null ./... && $(GO) test ./...); done
